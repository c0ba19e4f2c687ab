package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/genbrowser/genbrowser/internal/wheel"
	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/mailbox/jetstream"
)

// jumped is the clock of a server that started just now, when the system's clock was wrong by d; since then it was
// set right, which is a jump by -d for the server that runs.
func jumped(t testing.TB, d time.Duration) clock {
	t.Helper()
	start := time.Now()
	// a Time that has a monotonic reading keeps the seconds of the wall clock above 30 bits of nanoseconds; there
	// is no other way to have the two disagree than to set the system's clock
	*(*uint64)(unsafe.Pointer(&start)) += uint64(int64(d/time.Second)) << 30
	if wall, elapsed := time.Until(start.Round(0)), time.Until(start); (wall-d).Abs() > time.Minute || elapsed.Abs() > time.Minute {
		t.Fatalf("the wall clock is set by %v, and the monotonic one by %v: want %v and 0", wall, elapsed, d)
	}
	return clock{start}
}

// durable is a server on a directory. Its Cleanup, or stop, ends it as SIGTERM does.
type durable struct {
	*Server
	log     mailbox.Log
	stopped bool
}

func startDurable(t testing.TB, dir string, o Options) *durable {
	t.Helper()
	opening, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var told logged
	l, err := jetstream.Open(opening, jetstream.Options{Dir: dir, Logger: told.logger()})
	if err != nil {
		t.Fatal(err)
	}
	o.Log, o.Logger = l, told.logger()
	o.Keys = testRing(t)
	s, err := New(o)
	if err != nil {
		l.Close()
		t.Fatal(err)
	}
	d := &durable{Server: s, log: l}
	t.Cleanup(func() { d.stop(t) })
	return d
}

func (d *durable) stop(t testing.TB) {
	t.Helper()
	if d.stopped {
		return
	}
	d.stopped = true
	shutDown(t, d.Server)
	end, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := d.Stop(end); err != nil {
		t.Errorf("Stop = %v", err)
	}
}

// crash ends the server with no goodbye: its lane is not sealed. What it does afterwards is not stored.
func (d *durable) crash(t testing.TB) {
	t.Helper()
	d.stopped = true
	j := d.member.current()
	j.cancel()
	<-j.done
	shutDown(t, d.Server)
	if err := d.log.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
}

// named sends a message with an idempotency key.
func named(t testing.TB, s *Server, m Mailbox, name, body string, ttl time.Duration) {
	t.Helper()
	posted, err := s.Post(m.Address.String(), &Letter{Body: []byte(body), Name: name, TTL: ttl})
	if err == nil {
		_, err = posted.Wait()
	}
	if err != nil {
		t.Fatalf("Post(%s) = %v", body, err)
	}
}

func expectHolds(t testing.TB, s *Server, m Mailbox, want ...string) {
	t.Helper()
	sub, _ := subscribe(t, s, m, Subscribing{Hold: true})
	defer sub.Close()
	expectRead(t, sub, strings.Join(want, " "))
}

// expectSleeps expects that a mailbox will sleep on for a time within bounds.
func expectSleeps(t testing.TB, s *Server, m Mailbox, least, most time.Duration) {
	t.Helper()
	b, err := s.box(grant(t, s, m.Key.Reveal()).Mailbox())
	if err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	deadline, asleep := b.mail.Deadline()
	b.mu.Unlock()
	if left := deadline.Sub(s.clock.now().Round(0)); !asleep || left < least || left > most {
		t.Errorf("the mailbox sleeps for another %v (%v), want %v to %v", left, asleep, least, most)
	}
}

// until waits for what the server does by itself.
func until(t testing.TB, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(10 * time.Second); !f(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// TestClockJumps lets the system's clock jump by an hour either way between the runs of a server, and while it runs.
// Nothing expires early, nor late; names stay, and nothing is lost.
func TestClockJumps(t *testing.T) {
	for _, jumps := range [][]time.Duration{
		{0, time.Hour, 0},
		{0, -time.Hour, 0},
		{time.Hour, -time.Hour, time.Hour},
		{-time.Hour, 0, time.Hour},
	} {
		for _, how := range []string{"stop", "crash", "snapshot"} {
			t.Run(fmt.Sprint(jumps, " ", how), func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				limits := mailbox.Limits{Asleep: 20 * time.Minute, NameWindow: 20 * time.Minute}
				var m, unread Mailbox
				var want []string
				for run, d := range jumps {
					s := startDurable(t, dir, Options{Limits: limits, clock: jumped(t, d)})
					if run == 0 {
						m, unread = open(t, s.Server), open(t, s.Server)
						named(t, s.Server, m, "first", `"first"`, 0)
						named(t, s.Server, m, "day", `"for a day"`, 24*time.Hour)
						want = []string{`"first"`, `"for a day"`}
					}
					named(t, s.Server, m, "first", `"again"`, 0)
					body := fmt.Sprintf(`"run-%d"`, run)
					named(t, s.Server, m, body, body, 0)
					named(t, s.Server, m, body, `"again"`, 0)
					want = append(want, body)
					s.wheel.Turn(s.clock.now().Add(time.Minute))
					expectHolds(t, s.Server, m, want...)
					expectSleeps(t, s.Server, unread, limits.Asleep-time.Minute, limits.Asleep)
					switch how {
					case "stop":
						s.stop(t)
					case "crash":
						s.crash(t)
					case "snapshot":
						if err := s.Snapshot(ctx); err != nil {
							t.Fatal(err)
						}
						s.crash(t)
					}
				}
				limits.Asleep = 200 * time.Millisecond
				s := startDurable(t, dir, Options{Limits: limits, clock: jumped(t, jumps[1])})
				until(t, "both mailboxes expire after the jumps", func() bool {
					return errors.Is(post(s.Server, m.Address, `1`), ErrExpired) && errors.Is(post(s.Server, unread.Address, `1`), ErrExpired)
				})
			})
		}
	}
}

// flag is a timer that says whether it fired.
type flag struct {
	wheel.Entry
	fired atomic.Bool
}

func (f *flag) Fire() { f.fired.Store(true) }

// TestTimersAfterAJump holds that timers are due when they should be after the system's clock jumped, whether they are set
// by a time of that, as heartbeats are, or by one of the server's that was stored.
func TestTimersAfterAJump(t *testing.T) {
	for _, d := range []time.Duration{time.Hour, -time.Hour} {
		s := newServer(t, Options{clock: jumped(t, d)})
		for what, now := range map[string]time.Time{"the system's": time.Now(), "a stored": s.clock.now().Round(0)} {
			var soon, later flag
			s.wheel.Set(&soon, now.Add(time.Second))
			s.wheel.Set(&later, now.Add(59*time.Minute))
			s.wheel.Turn(time.Now().Add(time.Minute))
			if !soon.fired.Load() || later.fired.Load() {
				t.Errorf("a jump by %v, %s time: within a minute, what was due in a second fired: %v, and in an hour: %v",
					-d, what, soon.fired.Load(), later.fired.Load())
			}
			s.wheel.Stop(&later)
		}
		shutDown(t, s)
	}
}

// TestClock holds that the clock does not follow the system's when that jumps.
func TestClock(t *testing.T) {
	for _, d := range []time.Duration{time.Hour, -time.Hour} {
		if ahead := time.Until(jumped(t, d).now().Round(0)); (ahead - d).Abs() > time.Minute {
			t.Errorf("the clock of a server that started with %v is ahead by %v", d, ahead)
		}
	}
}
