package server

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
)

// askMonitor monitors with a body.
func askMonitor(t testing.TB, s *Server, ref, body string, watcher, target Mailbox) {
	t.Helper()
	if err := again(t, s, func() error { return monitorWith(t, s, ref, body, watcher, target) }); err != nil {
		t.Fatalf("a monitor with %s: %v", body, err)
	}
}

func monitorWith(t testing.TB, s *Server, ref, body string, watcher, target Mailbox) error {
	t.Helper()
	l := &Letter{Body: []byte(body), Meta: mailbox.Meta{Kind: mailbox.KindMonitor, Ref: ref, Reply: replyAddress(t, watcher, ref)}}
	posted, err := s.Post(target.Address.String(), l)
	if err == nil {
		_, err = posted.Wait()
	}
	return err
}

// told reads what came to a mailbox, each as its kind, ref and body.
func told(t testing.TB, sub *Subscription) (got []string) {
	t.Helper()
	synctest.Wait()
	last := sub.Cursor().Seq
	sub.Read(func(m *mailbox.Message, err error) bool {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%v %s %s", m.Meta.Kind, m.Meta.Ref, m.Body))
		last = m.Seq
		return true
	})
	sub.Delivered(last)
	return got
}

func expectStates(t testing.TB, sub *Subscription, when string, want ...string) {
	t.Helper()
	if got := told(t, sub); !slices.Equal(got, want) {
		t.Errorf("%s: told %q, want %q", when, got, want)
	}
}

const (
	isConnected = `state s {"state":"connected"}`
	isAsleep    = `state s {"state":"asleep"}`
)

// TestStates: the present state is told at once, then each that lasts, and nothing once the mailbox ended or the monitor
// was taken back.
func TestStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Options{})
		watcher, target := open(t, s), open(t, s)
		sub, _ := subscribe(t, s, watcher, Subscribing{})
		askMonitor(t, s, "s", `{"states":true}`, watcher, target)
		askMonitor(t, s, "s", `{"states":true}`, watcher, target) // again changes nothing
		expectStates(t, sub, "at first", isAsleep)
		time.Sleep(2 * stateEvery)
		reader, _ := subscribe(t, s, target, Subscribing{})
		expectStates(t, sub, "a reader came", isConnected)
		time.Sleep(2 * stateEvery)
		reader.Close()
		expectStates(t, sub, "it has just left")
		reader, _ = subscribe(t, s, target, Subscribing{})
		time.Sleep(2 * stateEvery)
		expectStates(t, sub, "it was back at once")
		reader.Close()
		time.Sleep(2 * stateEvery)
		expectStates(t, sub, "it left", isAsleep)
		time.Sleep(2 * stateEvery)
		subscribe(t, s, target, Subscribing{})
		expectStates(t, sub, "it is back", isConnected)
		ask(t, s, mailbox.KindMonitor, "end", watcher, target.Address)
		closeBox(t, s, target)
		expectStates(t, sub, "it ended", `down s {"reason":"closed"}`, `down end {"reason":"closed"}`)
		time.Sleep(time.Minute)
		expectStates(t, sub, "long after")

		last := open(t, s)
		askMonitor(t, s, "l", `{"states":true}`, watcher, last)
		expectStates(t, sub, "another one, at first", `state l {"state":"asleep"}`)
		subscribe(t, s, last, Subscribing{}) // that would be told in a second
		closeBox(t, s, last)
		expectStates(t, sub, "it ended", `down l {"reason":"closed"}`)
		time.Sleep(time.Minute)
		expectStates(t, sub, "long after that one")

		other := open(t, s)
		askMonitor(t, s, "s", `{"states":true}`, watcher, other)
		ask(t, s, mailbox.KindDemonitor, "s", watcher, other.Address)
		subscribe(t, s, other, Subscribing{})
		time.Sleep(time.Minute)
		if got := told(t, sub); len(got) > 1 {
			t.Errorf("told after it was taken back: %q", got)
		}
		if b := mustBox(t, s, other); b.watched != nil {
			t.Error("the mailbox keeps in mind that it is watched")
		}
		shutDown(t, s)
	})
}

func mustBox(t testing.TB, s *Server, m Mailbox) *box {
	t.Helper()
	b, err := s.box(grant(t, s, m.Key.Reveal()).Mailbox())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestStatesOfOneThatFlaps: a client that comes and goes all the time is told of once a second at most, and truly in
// the end.
func TestStatesOfOneThatFlaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Options{})
		watcher, target := open(t, s), open(t, s)
		sub, _ := subscribe(t, s, watcher, Subscribing{})
		askMonitor(t, s, "s", `{"states":true}`, watcher, target)
		told(t, sub)
		const flaps, stays, goes = 1000, 150 * time.Millisecond, 1150 * time.Millisecond
		began := time.Now()
		count := 0
		for range flaps {
			reader, _ := subscribe(t, s, target, Subscribing{})
			time.Sleep(stays)
			reader.Close()
			time.Sleep(goes)
			count += len(told(t, sub))
		}
		if most := int(time.Since(began)/stateEvery) + 1; count > most || count == 0 {
			t.Errorf("told %d times in %v, want %d at most", count, time.Since(began), most)
		}
		subscribe(t, s, target, Subscribing{})
		time.Sleep(3 * stateEvery)
		if got := told(t, sub); len(got) == 0 || got[len(got)-1] != isConnected {
			t.Errorf("told %q in the end, want connected", got)
		}
		shutDown(t, s)
	})
}

// TestOneStateIsPending: a watcher that can't be told is not owed more than one state.
func TestOneStateIsPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Options{Limits: mailbox.Limits{Backlog: 1}})
		watcher, target := open(t, s), open(t, s)
		mustPost(t, s, watcher.Address, "1")
		askMonitor(t, s, "s", `{"states":true}`, watcher, target)
		for range 2 {
			reader, _ := subscribe(t, s, target, Subscribing{})
			time.Sleep(2 * stateEvery)
			reader.Close()
			time.Sleep(2 * stateEvery)
			s.notices.mu.Lock()
			if waiting := len(s.notices.queue); waiting > 1 {
				t.Errorf("%d wait to be told", waiting)
			}
			s.notices.mu.Unlock()
		}
		ask(t, s, mailbox.KindDemonitor, "s", watcher, target.Address)
		sub, _ := subscribe(t, s, watcher, Subscribing{})
		expectRead(t, sub, "1")
		if err := s.Ack(grant(t, s, watcher.Key.Reveal()), sub.Cursor()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(stateEvery)
		expectStates(t, sub, "it was taken back, and there is room")
		shutDown(t, s)
	})
}

// TestExpiredMonitorsLeaveNothing: monitors that are made again and again, and expire, make room for each other.
func TestExpiredMonitorsLeaveNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Options{})
		watcher, target := open(t, s), open(t, s)
		b := mustBox(t, s, target)
		for round := range 3 {
			for i := range 700 {
				ref := fmt.Sprint(round, "/", i)
				reply, err := watcher.Address.Attenuate(address.Only(address.Send), address.Reply(ref), address.Expires(time.Now().Add(10*time.Second)))
				if err != nil {
					t.Fatal(err)
				}
				meta := mailbox.Meta{Kind: mailbox.KindMonitor, Ref: ref, Reply: reply.String()}
				if _, err := s.Post(target.Address.String(), &Letter{Body: []byte(`{"grace":3600}`), Meta: meta}); err != nil {
					t.Fatalf("monitor %s: %v", ref, err)
				}
			}
			time.Sleep(time.Minute)
		}
		if watches, present := len(b.mail.Watches()), len(b.watched.watches); watches > 1000 || present != watches {
			t.Errorf("%d watches, of which %d look for a reader; want at most 1000, and as many", watches, present)
		}
		shutDown(t, s)
	})
}

// TestGraceIsToldLater: who has no room for a long time is told, once it has, that the grace was over.
func TestGraceIsToldLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Options{Limits: mailbox.Limits{Backlog: 1}})
		watcher, target := open(t, s), open(t, s)
		mustPost(t, s, watcher.Address, "1")
		askMonitor(t, s, "g", `{"grace":1}`, watcher, target)
		time.Sleep(3 * tellPatience)
		sub, _ := subscribe(t, s, watcher, Subscribing{})
		expectRead(t, sub, "1")
		if err := s.Ack(grant(t, s, watcher.Key.Reveal()), sub.Cursor()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * tellPatience)
		expectStates(t, sub, "there is room", `down g {"reason":"disconnected"}`)
		if b := mustBox(t, s, target); b.watched != nil || len(b.mail.Watches()) > 0 {
			t.Error("the monitor is not over")
		}
		shutDown(t, s)
	})
}

// TestGrace: a mailbox that has no reader for as long as a monitor allows is down for it, once, and lives on.
func TestGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Options{})
		watcher, target := open(t, s), open(t, s)
		sub, _ := subscribe(t, s, watcher, Subscribing{})
		reader, _ := subscribe(t, s, target, Subscribing{})
		askMonitor(t, s, "g", `{"grace":30}`, watcher, target)
		ask(t, s, mailbox.KindMonitor, "end", watcher, target.Address)
		time.Sleep(time.Hour)
		reader.Close()
		time.Sleep(29 * time.Second)
		reader, _ = subscribe(t, s, target, Subscribing{})
		time.Sleep(time.Hour)
		expectStates(t, sub, "it was away for less")
		reader.Close()
		time.Sleep(30 * time.Second)
		expectStates(t, sub, "it is not away for longer")
		time.Sleep(time.Second)
		expectStates(t, sub, "it is away for longer", `down g {"reason":"disconnected"}`)
		askMonitor(t, s, "late", `{"grace":5,"states":true}`, watcher, target)
		expectStates(t, sub, "it is away for long", `down late {"reason":"disconnected"}`)
		if watches := mustBox(t, s, target).mail.Watches(); len(watches) != 1 || watches[0].Ref != "end" {
			t.Errorf("%d watches are left, want that of the end", len(watches))
		}
		mustPost(t, s, target.Address, "1")
		closeBox(t, s, target)
		expectStates(t, sub, "it ended", `down end {"reason":"closed"}`)
		shutDown(t, s)
	})
}

// TestMonitorBody holds what a monitor may ask for.
func TestMonitorBody(t *testing.T) {
	s := newServer(t, Options{})
	watcher, target := open(t, s), open(t, s)
	process, err := s.Handle("p", HandlerFunc(nothing))
	if err != nil {
		t.Fatal(err)
	}
	for i, tt := range []struct {
		body string
		want error
	}{
		{`null`, nil},
		{`{}`, nil},
		{`{"states":false}`, nil},
		{`{"states":true,"grace":1}`, nil},
		{`{"grace":86400}`, nil},
		{`{"grace":86401}`, ErrEnvelope},
		{`{"grace":0}`, ErrEnvelope},
		{`{"grace":-1}`, ErrEnvelope},
		{`{"grace":1.5}`, ErrEnvelope},
		{`{"grace":"1"}`, ErrEnvelope},
		{`{"states":1}`, ErrEnvelope},
		{`{"state":true}`, ErrEnvelope},
		{`[]`, ErrEnvelope},
		{`"states"`, ErrEnvelope},
	} {
		if err := monitorWith(t, s, fmt.Sprint(i), tt.body, watcher, target); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.body, err, tt.want)
		}
	}
	if err := monitorWith(t, s, "p", `{"states":true}`, watcher, Mailbox{Address: process}); !errors.Is(err, ErrEnvelope) {
		t.Errorf("the states of a process: %v, want %v", err, ErrEnvelope)
	}
	l := &Letter{Body: []byte(`{"state":"asleep"}`), Meta: mailbox.Meta{Kind: mailbox.KindState, Ref: "1"}}
	if _, err := s.Post(replyAddress(t, watcher, "1"), l); !errors.Is(err, ErrEnvelope) {
		t.Errorf("a state that a client made up: %v, want %v", err, ErrEnvelope)
	}
	if _, err := (MonitorOptions{Grace: maxGrace}).asks(); err != nil {
		t.Error(err)
	}
	for _, grace := range []time.Duration{maxGrace + time.Second, -time.Second, time.Millisecond} {
		if _, err := (MonitorOptions{Grace: grace}).asks(); err == nil {
			t.Errorf("a grace of %v is taken", grace)
		}
	}
}

// TestStatesGoOn: after a restart, states and graces are told on.
func TestStatesGoOn(t *testing.T) {
	for how, end := range endings {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := startDurable(t, dir, Options{})
			watcher, target := open(t, s.Server), open(t, s.Server)
			askMonitor(t, s.Server, "s", `{"states":true}`, watcher, target)
			expectTold(t, s.Server, watcher, isAsleep)
			askMonitor(t, s.Server, "g", `{"grace":4}`, watcher, target)
			askMonitor(t, s.Server, "back", `{"states":true,"grace":4}`, watcher, target)
			expectTold(t, s.Server, watcher, isAsleep, `state back {"state":"asleep"}`)
			ask(t, s.Server, mailbox.KindDemonitor, "back", watcher, target.Address)
			if err := s.member.current().flush(ctx); err != nil {
				t.Fatal(err)
			}
			end(t, s)
			s = startDurable(t, dir, Options{})
			expectTold(t, s.Server, watcher, isAsleep, `state back {"state":"asleep"}`, isAsleep, `down g {"reason":"disconnected"}`)
			sub, _ := subscribe(t, s.Server, target, Subscribing{})
			expectTold(t, s.Server, watcher, isAsleep, `state back {"state":"asleep"}`, isAsleep, `down g {"reason":"disconnected"}`, isConnected)
			sub.Close()
			if err := s.member.current().flush(ctx); err != nil {
				t.Fatal(err)
			}
			end(t, s)
			s = startDurable(t, dir, Options{})
			if watches := mustBox(t, s.Server, target).mail.Watches(); len(watches) != 1 || watches[0].Ref != "s" {
				t.Errorf("%d watches are left, want that of the states", len(watches))
			}
		})
	}
}

// TestStatesAcrossNodes: where the mailbox is, its reader and who watches it does not matter.
func TestStatesAcrossNodes(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2, Options{})
	a, b := nodes[0], nodes[1]
	watcher, target := farMailbox(t, a, b), farMailbox(t, b, a)
	askMonitor(t, a.Server, "s", `{"states":true}`, watcher, target)
	expectTold(t, a.Server, watcher, isAsleep)
	sub, _ := subscribe(t, a.Server, target, Subscribing{})
	expectTold(t, a.Server, watcher, isAsleep, isConnected)
	sub.Close()
	expectTold(t, a.Server, watcher, isAsleep, isConnected, isAsleep)
	ask(t, a.Server, mailbox.KindDemonitor, "s", watcher, target.Address)
	askMonitor(t, a.Server, "g", `{"grace":1}`, watcher, target)
	expectTold(t, a.Server, watcher, isAsleep, isConnected, isAsleep, `down g {"reason":"disconnected"}`)
}

// TestServiceWatchesStates lets a service ask for states and a grace.
func TestServiceWatchesStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Options{})
		target := open(t, s)
		w := &statesWatcher{target, make(chan string, 10)}
		if _, err := s.Serve("watcher", func() Service { return w }, ProcessOptions{}); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{`state {"state":"asleep"}`, `down {"reason":"disconnected"}`} {
			if got := <-w.informed; got != want {
				t.Errorf("informed of %s, want %s", got, want)
			}
		}
		shutDown(t, s)
	})
}

type statesWatcher struct {
	target   Mailbox
	informed chan string
}

func (w *statesWatcher) Init(c *Context) error {
	_, err := c.Monitor(w.target.Address, MonitorOptions{States: true, Grace: 30 * time.Second})
	return err
}
func (w *statesWatcher) Call(*Context, Message) (any, error) { return nil, nil }
func (w *statesWatcher) Cast(*Context, Message) error        { return nil }
func (w *statesWatcher) Info(_ *Context, m Message) error {
	w.informed <- fmt.Sprintf("%v %s", m.Kind, m.Body)
	return nil
}
