package server

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/genbrowser/genbrowser/internal/pack"
	"github.com/genbrowser/genbrowser/mailbox"
)

// expectDisconnected waits until a reader is told to come back after retry.
func expectDisconnected(t testing.TB, r *reader, retry time.Duration) {
	t.Helper()
	select {
	case why := <-r.ended:
		var d *DisconnectedError
		if !errors.As(why, &d) || !errors.Is(why, ErrDisconnected) || d.Retry != retry {
			t.Errorf("the reader was ended with %v (%#v), want a disconnection for %v", why, why, retry)
		}
	case <-time.After(5 * time.Second):
		t.Error("the reader was not ended")
	}
}

func TestDisconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Options{Limits: mailbox.Limits{Asleep: time.Minute}})
		m, watcher := open(t, s), open(t, s)
		id := grant(t, s, m.Key.Reveal()).Mailbox()
		disconnect := func(want error) {
			t.Helper()
			if err := s.Disconnect(id, 0); !errors.Is(err, want) {
				t.Errorf("Disconnect = %v, want %v", err, want)
			}
		}
		disconnect(ErrNotConnected)
		watching, _ := subscribe(t, s, watcher, Subscribing{})
		askMonitor(t, s, "s", `{"states":true}`, watcher, m)
		sub, r := subscribe(t, s, m, Subscribing{})
		mustPost(t, s, m.Address, "1")
		disconnect(nil)
		expectDisconnected(t, r, 0)
		disconnect(ErrNotConnected)
		expectRead(t, sub, "") // it waits for the next reader
		sub.Close()
		time.Sleep(2 * stateEvery)
		expectStates(t, watching, "nobody came back", isAsleep)

		mustPost(t, s, m.Address, "2")
		old := sub
		sub, r = subscribe(t, s, m, Subscribing{})
		old.Close() // must not put the mailbox to sleep under the new one
		expectRead(t, sub, "1 2")
		disconnect(nil)
		expectDisconnected(t, r, 0)
		time.Sleep(2 * time.Minute)
		if err := post(s, m.Address, "3"); !errors.Is(err, ErrExpired) {
			t.Errorf("Post = %v, want ErrExpired: it slept too long", err)
		}
		disconnect(ErrNotConnected)
		id = uuid.New()
		disconnect(ErrNotConnected)
		shutDown(t, s)
	})
}

func TestDisconnectTimes(t *testing.T) {
	s := newServer(t, Options{})
	m := open(t, s)
	id := grant(t, s, m.Key.Reveal()).Mailbox()
	for retry, want := range map[time.Duration]time.Duration{
		0: 0, 1: time.Millisecond, 1500 * time.Microsecond: 2 * time.Millisecond, MaxDisconnect: MaxDisconnect,
	} {
		_, r := subscribe(t, s, m, Subscribing{})
		if err := s.Disconnect(id, retry); err != nil {
			t.Errorf("Disconnect for %v = %v", retry, err)
			continue
		}
		expectDisconnected(t, r, want)
	}
	_, r := subscribe(t, s, m, Subscribing{})
	for _, retry := range []time.Duration{-1, MaxDisconnect + 1} {
		if err := s.Disconnect(id, retry); err == nil || errors.Is(err, ErrNotConnected) {
			t.Errorf("Disconnect for %v = %v", retry, err)
		}
	}
	select {
	case why := <-r.ended:
		t.Errorf("the reader was ended with %v", why)
	default:
	}
}

// TestDisconnectAnywhere: whichever node has the mailbox, and whichever its reader, any node can end it.
func TestDisconnectAnywhere(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 3, Options{})
	m := farMailbox(t, nodes[0], nodes[1], nodes[2])
	id := grant(t, nodes[0].Server, m.Key.Reveal()).Mailbox()
	sent := 0
	for i, at := range nodes {
		for j, by := range nodes {
			what := fmt.Sprintf("the reader at node %d, ended by node %d", i, j)
			sub, r := subscribe(t, at.Server, m, Subscribing{After: &mailbox.Cursor{Epoch: m.Cursor.Epoch, Seq: uint64(sent)}})
			retry := time.Duration(sent) * time.Second
			if err := by.Disconnect(id, retry); err != nil {
				t.Fatalf("%s: Disconnect = %v", what, err)
			}
			expectDisconnected(t, r, retry)
			if err := by.Disconnect(id, retry); !errors.Is(err, ErrNotConnected) {
				t.Errorf("%s: Disconnect again = %v, want ErrNotConnected", what, err)
			}
			mustPost(t, by.Server, m.Address, fmt.Sprint(sent))
			sent++
			if got := read(sub); got != "" {
				t.Errorf("%s: it still read %s", what, got)
			}
			sub.Close()
		}
	}
	sub, r := subscribe(t, nodes[1].Server, m, Subscribing{After: &mailbox.Cursor{Epoch: m.Cursor.Epoch, Seq: uint64(sent - 1)}})
	defer sub.Close()
	if got := collect(t, sub, r, 1); got[0] != fmt.Sprint(sent-1) {
		t.Errorf("read %v, want what came last", got)
	}
	if err := nodes[2].Server.Disconnect(uuid.New(), 0); !errors.Is(err, ErrNotConnected) {
		t.Errorf("Disconnect of nobody = %v, want ErrNotConnected", err)
	}
	if err := nodes[0].Close(grant(t, nodes[0].Server, m.Key.Reveal())); err != nil {
		t.Fatal(err)
	}
	if err := nodes[2].Disconnect(id, 0); !errors.Is(err, ErrNotConnected) {
		t.Errorf("Disconnect of a closed mailbox = %v, want ErrNotConnected", err)
	}
}

// TestEnds: why a reader on another node is ended arrives there as it is.
func TestEnds(t *testing.T) {
	for _, why := range []error{ErrTakenOver, &DisconnectedError{}, &DisconnectedError{MaxDisconnect}} {
		r := pack.Reader{Rest: append(appendEnd(nil, why), "next"...)}
		got := readEnd(&r)
		if r.Failed || string(r.Rest) != "next" {
			t.Errorf("%#v is followed by %q", why, r.Rest)
		}
		var want, d *DisconnectedError
		if errors.As(why, &want) != errors.As(got, &d) || want != nil && *d != *want || want == nil && !errors.Is(got, why) {
			t.Errorf("%#v becomes %#v", why, got)
		}
	}
	for name, frame := range map[string][]byte{
		"cut":      appendEnd(nil, &DisconnectedError{MaxDisconnect})[:20],
		"too long": appendRetry(appendError(nil, ErrDisconnected), MaxDisconnect+time.Millisecond),
	} {
		r := pack.Reader{Rest: frame}
		if readEnd(&r); !r.Failed {
			t.Errorf("%s: is taken", name)
		}
	}
}
