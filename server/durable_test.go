package server

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
)

// endings are the ways in which a server may end between two runs on one directory.
var endings = map[string]func(t *testing.T, s *durable){
	"stop":  func(t *testing.T, s *durable) { s.stop(t) },
	"crash": func(t *testing.T, s *durable) { s.crash(t) },
	"snapshot, crash": func(t *testing.T, s *durable) {
		if err := s.Snapshot(ctx); err != nil {
			t.Fatal(err)
		}
		s.crash(t)
	},
	"snapshot, stop": func(t *testing.T, s *durable) {
		if err := s.Snapshot(ctx); err != nil {
			t.Fatal(err)
		}
		s.stop(t)
	},
}

// TestAsleepGoesOn holds that a mailbox which slept for a while sleeps on after a restart, and not anew; the time that
// nobody ran does not count.
func TestAsleepGoesOn(t *testing.T) {
	for how, end := range endings {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			const slept = 300 * time.Millisecond
			dir := t.TempDir()
			o := Options{Limits: mailbox.Limits{Asleep: time.Hour}}
			s := startDurable(t, dir, o)
			began := time.Now()
			m := open(t, s.Server)
			for run := 1; run <= 3; run++ {
				up := time.Now()
				until(t, "the mailbox slept for a while", func() bool { return time.Since(up) > slept })
				s.member.current().renew(0) // the log sees how late it is
				if err := s.member.current().flush(ctx); err != nil {
					t.Fatal(err)
				}
				end(t, s)
				o.clock = jumped(t, time.Duration(run)*24*time.Hour)
				s = startDurable(t, dir, o)
				expectSleeps(t, s.Server, m, time.Hour-time.Since(began), time.Hour-time.Duration(run)*slept)
			}
		})
	}
}

// TestTTLGoesOn holds that a message expires at the time that its sender meant.
func TestTTLGoesOn(t *testing.T) {
	for how, end := range endings {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := startDurable(t, dir, Options{})
			m := open(t, s.Server)
			named(t, s.Server, m, "1", `"hour"`, time.Hour)
			named(t, s.Server, m, "2", `"day"`, 24*time.Hour)
			named(t, s.Server, m, "3", `"for ever"`, 0)
			end(t, s)
			s = startDurable(t, dir, Options{clock: jumped(t, 59*time.Minute)})
			expectHolds(t, s.Server, m, `"hour"`, `"day"`, `"for ever"`)
			end(t, s)
			s = startDurable(t, dir, Options{clock: jumped(t, 61*time.Minute)})
			expectHolds(t, s.Server, m, `"day"`, `"for ever"`)
		})
	}
}

// TestStateGoesOn holds that what is known of a mailbox, and of one that is no more, is known after restarts.
func TestStateGoesOn(t *testing.T) {
	for how, end := range endings {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := startDurable(t, dir, Options{Limits: mailbox.Limits{Asleep: 100 * time.Millisecond}})
			expired := open(t, s.Server)
			until(t, "a mailbox expires", func() bool { return errors.Is(post(s.Server, expired.Address, `1`), ErrExpired) })
			end(t, s)

			limits := mailbox.Limits{Names: 3}
			s = startDurable(t, dir, Options{Limits: limits})
			s.SetConfig("the server's")
			plain, closed := open(t, s.Server), open(t, s.Server)
			own, err := s.Open(json.RawMessage(`{"its":"own"}`))
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Close(grant(t, s.Server, closed.Key.Reveal())); err != nil {
				t.Fatal(err)
			}
			for _, n := range []string{"1", "2", "3", "4"} {
				named(t, s.Server, own, n, n, 0)
			}
			if err := s.Ack(grant(t, s.Server, own.Key.Reveal()), mailbox.Cursor{Epoch: own.Cursor.Epoch, Seq: 2}); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				end(t, s)
				s = startDurable(t, dir, Options{Limits: limits})
				s.SetConfig("the next server's")
				for m, want := range map[*Mailbox]error{&expired: ErrExpired, &closed: ErrClosed} {
					if err := post(s.Server, m.Address, `1`); !errors.Is(err, want) {
						t.Errorf("Post = %v, want %v", err, want)
					}
				}
				expectDescribed(t, s.Server, plain, `"the next server's"`, 0)
				expectDescribed(t, s.Server, own, `{"its":"own"}`, 2)
				named(t, s.Server, own, "2", `"again"`, 0) // the last 3 names are known
				named(t, s.Server, own, "4", `"again"`, 0)
				expectHolds(t, s.Server, own, "3", "4")
			}
			named(t, s.Server, own, "1", `"1, new"`, 0)
			expectHolds(t, s.Server, own, "3", "4", `"1, new"`)
			expectStats(t, s.Server, 2, int64(len(`34"1, new"`)))
		})
	}
}

func expectDescribed(t testing.TB, s *Server, m Mailbox, config string, start uint64) {
	t.Helper()
	got, err := s.Describe(grant(t, s, m.Key.Reveal()))
	want := mailbox.Cursor{Epoch: m.Cursor.Epoch, Seq: start}
	if err != nil || string(got.Config) != config || got.Cursor != want || got.Address != m.Address {
		t.Errorf("Describe = %+v, %v; want config %s, cursor %v", got, err, config, want)
	}
	if got.Key != (address.Key{}) {
		t.Error("Describe shows a key")
	}
}
