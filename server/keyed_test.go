package server

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/mailbox/jetstream"
)

func keyedAddress(t testing.TB, s *Server, prefix, key string) address.Address {
	t.Helper()
	a, err := s.KeyedAddress(prefix, key)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// awake returns how many processes of a prefix are.
func (p *processes) awake(prefix string) int {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return len(p.keyed[prefix].awake)
}

// orders are keyed services that count their messages and say what they do.
func orders(n *notes) func(key string) Service {
	return func(key string) Service {
		count := 0
		return scripted{
			init: func(*Context) error { n.add("init %s", key); return nil },
			call: func(ctx *Context, m Message) (any, error) {
				count++
				switch string(m.Body) {
				case `"panic"`:
					panic("oh")
				case `"stop"`:
					ctx.Stop(Down{})
				case `"timer"`:
					ctx.After(5*time.Minute, "x")
				case `"later"`:
					l := ctx.Later()
					time.AfterFunc(5500*time.Millisecond, func() { l.Reply(ctx, "late") })
					return NoReply, nil
				}
				return count, nil
			},
			terminate: func(reason Down) { n.add("terminated %s %s", key, reason.Reason) },
		}
	}
}

func expectCall(t *testing.T, s *Server, to address.Address, body any, want string) {
	t.Helper()
	if got, err := s.Call(ctx, to, body); string(got) != want || err != nil {
		t.Errorf("Call(%v) = %s, %v; want %s", body, got, err, want)
	}
}

// bereft is a service that links with mailboxes, and ends with them.
type bereft struct {
	with  []address.Address
	began chan struct{}
}

func (b *bereft) Init(c *Context) (err error) {
	b.began <- struct{}{}
	for _, a := range b.with {
		if _, e := c.Link(a); e != nil {
			err = e
		}
	}
	return err
}
func (b *bereft) Call(*Context, Message) (any, error) { return nil, nil }
func (b *bereft) Cast(*Context, Message) error        { return nil }

// A keyed process that links with what is gone does not begin again with what an earlier one is told of that.
func TestKeyedLinkedWithTheGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Options{})
		var gone []address.Address
		for range 2 {
			m := open(t, s)
			if err := s.Close(grant(t, s, m.Key.Reveal())); err != nil {
				t.Fatal(err)
			}
			gone = append(gone, m.Address)
		}
		began := make(chan struct{}, 100)
		if err := s.Keyed("order", func(string) Service { return &bereft{gone, began} }, KeyedOptions{}); err != nil {
			t.Fatal(err)
		}
		to := keyedAddress(t, s, "order", "42")
		for i := range 3 {
			mustPost(t, s, to, "1")
			<-time.After(10 * time.Minute)
			if len(began) != i+1 {
				t.Errorf("after message %d it has begun %d times", i+1, len(began))
			}
		}
	})
}

// A keyed process starts with its first message, keeps its state while there are more, and ends when it was idle.
func TestKeyed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Options{})
		var n notes
		if err := s.Keyed("order", orders(&n), KeyedOptions{}); err != nil {
			t.Fatal(err)
		}
		a, b := keyedAddress(t, s, "order", "42"), keyedAddress(t, s, "order", "43/x")
		synctest.Wait()
		if got := n.take(); got != "" {
			t.Errorf("before the first message: %s", got)
		}
		expectCall(t, s, a, 0, "1")
		expectCall(t, s, a, 0, "2")
		expectCall(t, s, b, 0, "1")
		time.Sleep(40 * time.Second)
		expectCall(t, s, a, 0, "3") // a minute begins anew
		if got, want := n.take(), "init 42, init 43/x"; got != want {
			t.Errorf("it did %q, want %q", got, want)
		}
		time.Sleep(40 * time.Second)
		if got, want := n.take(), "terminated 43/x normal"; got != want {
			t.Errorf("it did %q, want %q", got, want)
		}
		time.Sleep(time.Minute)
		if got, want := n.take(), "terminated 42 normal"; got != want {
			t.Errorf("it did %q, want %q", got, want)
		}
		if got := s.processes.awake("order"); got != 0 {
			t.Errorf("%d processes are kept while asleep", got)
		}
		expectCall(t, s, a, 0, "1")
		shutDown(t, s)
		if got, want := n.take(), "init 42, terminated 42 normal"; got != want {
			t.Errorf("it did %q, want %q", got, want)
		}
		expectStats(t, s, 0, 0)
	})
}

// Those who watch a keyed process are told when it goes to sleep.
func TestKeyedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Options{})
		var n notes
		if err := s.Keyed("order", orders(&n), KeyedOptions{Idle: time.Second}); err != nil {
			t.Fatal(err)
		}
		a := keyedAddress(t, s, "order", "42")
		expectCall(t, s, a, 0, "1")
		w := mailbox.Watch{Ref: "w", Reply: a.String()}
		if _, err := s.watchProcess("order/42", &w, false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if left := s.watchers.take("order/42"); len(left) != 0 {
			t.Error("nobody was told")
		}
		shutDown(t, s)
	})
}

// A process that waits for a timer, or owes an answer, is not idle.
func TestKeyedIsBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Options{})
		var n notes
		if err := s.Keyed("order", orders(&n), KeyedOptions{Idle: time.Second}); err != nil {
			t.Fatal(err)
		}
		a := keyedAddress(t, s, "order", "42")
		expectCall(t, s, a, "later", `"late"`)
		if got, want := n.take(), "init 42"; got != want {
			t.Errorf("it did %q, want %q", got, want)
		}
		time.Sleep(2 * time.Second)
		if got, want := n.take(), "terminated 42 normal"; got != want {
			t.Errorf("it did %q, want %q", got, want)
		}
		expectCall(t, s, a, "timer", "1")
		time.Sleep(4 * time.Minute)
		if got, want := n.take(), "init 42"; got != want {
			t.Errorf("it did %q, want %q", got, want)
		}
		time.Sleep(2 * time.Minute)
		if got, want := n.take(), "terminated 42 normal"; got != want {
			t.Errorf("it did %q, want %q", got, want)
		}
		shutDown(t, s)
	})
}

// A keyed process that crashed or stopped begins anew with the next message, be it one that waits.
func TestKeyedRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Options{})
		var n notes
		if err := s.Keyed("order", orders(&n), KeyedOptions{ProcessOptions: ProcessOptions{MaxRestarts: 2}}); err != nil {
			t.Fatal(err)
		}
		a := keyedAddress(t, s, "order", "42")
		expectCall(t, s, a, "stop", "1")
		expectCall(t, s, a, 0, "1")
		for range 5 {
			if _, err := s.Call(ctx, a, "panic"); !errors.Is(err, ErrCallFailed) {
				t.Errorf("Call = %v, want ErrCallFailed", err)
			}
			synctest.Wait()
			expectCall(t, s, a, 0, "1")
		}
		shutDown(t, s)
	})
}

// As many are awake as may be; one that ends makes room.
func TestKeyedLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Options{})
		var n notes
		if err := s.Keyed("order", orders(&n), KeyedOptions{Max: 2}); err != nil {
			t.Fatal(err)
		}
		a, b, c := keyedAddress(t, s, "order", "a"), keyedAddress(t, s, "order", "b"), keyedAddress(t, s, "order", "c")
		expectCall(t, s, a, 0, "1")
		expectCall(t, s, b, 0, "1")
		if err := post(s, c, "1"); !errors.Is(err, ErrOverloaded) {
			t.Errorf("Post to one more = %v, want ErrOverloaded", err)
		}
		expectCall(t, s, a, "stop", "2")
		synctest.Wait()
		expectCall(t, s, c, 0, "1")
		shutDown(t, s)
	})
}

// bubbled returns how many goroutines there are in the test's bubble: what other tests left may come and go.
func bubbled(t *testing.T) int {
	t.Helper()
	all := make([]byte, 4<<20)
	all = all[:runtime.Stack(all, true)]
	bubble := regexp.MustCompile(`synctest bubble \d+`).Find(all) // this goroutine is the first
	if bubble == nil || len(all) == cap(all) {
		t.Fatal("the goroutines of the bubble can't be told")
	}
	return bytes.Count(all, append(bubble, ']')) + bytes.Count(all, append(bubble, ','))
}

// Ten thousand processes that sleep cost no goroutine, and nothing else that stays.
func TestKeyedSleepersCostNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Options{})
		before := bubbled(t)
		if err := s.Keyed("order", func(string) Service { return bare{&scripted{}} }, KeyedOptions{}); err != nil {
			t.Fatal(err)
		}
		for i := range 10_000 {
			mustPost(t, s, keyedAddress(t, s, "order", fmt.Sprint(i)), "1")
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := bubbled(t); got > before {
			t.Errorf("%d goroutines while idle, %d before", got, before)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if got := s.processes.awake("order"); got != 0 {
			t.Errorf("%d are awake", got)
		}
		shutDown(t, s)
	})
}

// However messages and ends meet, each message is handled once, and never by two incarnations of a key at a time.
func TestKeyedStress(t *testing.T) {
	s := newServer(t, Options{})
	const senders, each, keys = 4, 300, 3
	var mu sync.Mutex
	alive, handled := map[string]int{}, 0
	change := func(key string, by int) {
		mu.Lock()
		defer mu.Unlock()
		if alive[key] += by; alive[key] < 0 || alive[key] > 1 {
			t.Errorf("%d incarnations of %s", alive[key], key)
		}
	}
	err := s.Keyed("k", func(key string) Service {
		return scripted{
			init: func(*Context) error { change(key, 1); return nil },
			cast: func(ctx *Context, m Message) error {
				mu.Lock()
				handled++
				stop := handled%7 == 0
				mu.Unlock()
				if stop {
					ctx.Stop(Down{})
				}
				return nil
			},
			terminate: func(Down) { change(key, -1) },
		}
	}, KeyedOptions{Idle: 50 * time.Microsecond})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range senders {
		wg.Go(func() {
			for j := range each {
				a, err := s.KeyedAddress("k", fmt.Sprint((i+j)%keys))
				if err != nil {
					t.Error(err)
				}
				if err := s.Send(ctx, a, j); err != nil {
					t.Errorf("Send = %v", err)
				}
			}
		})
	}
	wg.Wait()
	shutDown(t, s)
	if handled != senders*each {
		t.Errorf("%d handled, want %d", handled, senders*each)
	}
	expectStats(t, s, 0, 0)
}

func TestKeyedNames(t *testing.T) {
	s := newServer(t, Options{})
	var n notes
	handle(t, s, "taken/42", newReceived())
	for _, prefix := range []string{"", "a/b", "not a name", "taken"} {
		if err := s.Keyed(prefix, orders(&n), KeyedOptions{}); err == nil {
			t.Errorf("Keyed(%q) = nil error", prefix)
		}
	}
	for _, o := range []KeyedOptions{{Idle: -1}, {Max: -1}, {ProcessOptions: ProcessOptions{Queue: -1}}} {
		if err := s.Keyed("order", orders(&n), o); err == nil {
			t.Errorf("Keyed with %+v = nil error", o)
		}
	}
	refuse := func(m *Message) error { return errors.New("refused to start") }
	if err := s.Keyed("order", orders(&n), KeyedOptions{ProcessOptions: ProcessOptions{Validate: refuse}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Keyed("order", orders(&n), KeyedOptions{}); !errors.Is(err, ErrNameTaken) {
		t.Errorf("second Keyed = %v, want ErrNameTaken", err)
	}
	if _, err := s.Handle("order/1", newReceived()); !errors.Is(err, ErrNameTaken) {
		t.Errorf("Handle of a keyed name = %v, want ErrNameTaken", err)
	}
	handle(t, s, "order", newReceived()) // has no key
	if _, err := s.KeyedAddress("order", ""); err == nil {
		t.Error("KeyedAddress with no key = nil error")
	}
	if _, err := s.KeyedAddress("order", strings.Repeat("x", 300)); err == nil {
		t.Error("KeyedAddress of 300 bytes = nil error")
	}
	a := keyedAddress(t, s, "order", "1")
	if err := post(s, a, "1"); !errors.Is(err, ErrRefused) {
		t.Errorf("Post = %v, want ErrRefused", err)
	}
	if got := s.processes.awake("order"); got != 0 {
		t.Error("a message that was refused started a process")
	}
	for name, want := range map[string]bool{"order/1": true, "order/1/2": true, "order/": false, "order": false, "taken/42": false} {
		if got := s.processes.isOne(name); got != want {
			t.Errorf("isOne(%q) = %v", name, got)
		}
	}
	if !s.processes.knows("order/1") || !s.processes.knows("order") || s.processes.knows("other/1") {
		t.Error("knows does not")
	}
	s.Release("order")
	if err := post(s, a, "1"); !errors.Is(err, ErrGone) {
		t.Errorf("Post after Release = %v, want ErrGone", err)
	}
}

// Release ends the keyed processes that are awake, once they have handled what waits, and tells who watches the others.
func TestKeyedRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Options{})
		var n notes
		if err := s.Keyed("order", orders(&n), KeyedOptions{}); err != nil {
			t.Fatal(err)
		}
		a := keyedAddress(t, s, "order", "42")
		expectCall(t, s, a, 0, "1")
		ofSleeper, ofAwake := open(t, s), open(t, s) // each their own: the two ends have no order
		ask(t, s, mailbox.KindMonitor, "m", ofSleeper, keyedAddress(t, s, "order", "43"))
		if _, err := s.processes.keyed["order"].awaken("44"); err != nil { // it has not begun
			t.Fatal(err)
		}
		ask(t, s, mailbox.KindMonitor, "n", ofAwake, keyedAddress(t, s, "order", "44"))
		s.Release("order")
		expectTold(t, s, ofSleeper, `down m {"reason":"normal"}`)
		expectTold(t, s, ofAwake, `down n {"reason":"normal"}`)
		synctest.Wait()
		if got, want := n.take(), "init 42, terminated 42 normal"; got != want {
			t.Errorf("it did %q, want %q", got, want)
		}
		shutDown(t, s)
	})
}

// Who watches processes that never wake, and ends, is forgotten before many are left.
func TestWatchesOfSleepersAreSwept(t *testing.T) {
	s := newServer(t, Options{})
	var n notes
	if err := s.Keyed("order", orders(&n), KeyedOptions{}); err != nil {
		t.Fatal(err)
	}
	lasting := open(t, s)
	ask(t, s, mailbox.KindMonitor, "m", lasting, keyedAddress(t, s, "order", "0"))
	brief := open(t, s)
	for i := range sweepWatches - 1 {
		ask(t, s, mailbox.KindMonitor, "m", brief, keyedAddress(t, s, "order", fmt.Sprint(i+1)))
	}
	if n := s.watchers.count; n != sweepWatches {
		t.Errorf("%d watches, want %d", n, sweepWatches)
	}
	closeBox(t, s, brief)
	ask(t, s, mailbox.KindMonitor, "m", lasting, keyedAddress(t, s, "order", "last"))
	if n := s.watchers.count; n != 2 || len(s.watchers.byName) != 2 {
		t.Errorf("%d watches of %d processes are left, want 2", n, len(s.watchers.byName))
	}

	// a node's most, whoever watches
	s.watchers.count += maxWatches - 3
	ask(t, s, mailbox.KindMonitor, "m", lasting, keyedAddress(t, s, "order", "most"))
	l := &Letter{Body: []byte("null"), Meta: mailbox.Meta{Kind: mailbox.KindMonitor, Ref: "m", Reply: replyAddress(t, lasting, "m")}}
	if _, err := s.Post(keyedAddress(t, s, "order", "more").String(), l); !errors.Is(err, ErrOverloaded) {
		t.Errorf("one more: %v, want %v", err, ErrOverloaded)
	}
}

// TestPerClientStalled: what came for a client's process while nothing could be stored, and was taken, is handled when that is over.
func TestPerClientStalled(t *testing.T) {
	log := &stalling{Log: openLog(t, jetstream.Options{Dir: t.TempDir()})}
	s := newServer(t, Options{Log: log})
	handled := make(chan string, 10)
	if _, err := s.PerClient("cart", func(address.Address) Service {
		return scripted{cast: func(_ *Context, m Message) error { handled <- string(m.Body); return nil }}
	}, KeyedOptions{}); err != nil {
		t.Fatal(err)
	}
	var links atomic.Int64
	k := s.processes.keyed["cart"]
	linked := k.linked
	k.linked = func(key string) address.Address { links.Add(1); return linked(key) }
	client := open(t, s)
	own := keyedAddress(t, s, "cart", grant(t, s, client.Key.Reveal()).Mailbox().String())
	log.full.Store(true)
	j := s.member.current()
	j.renew(0)
	await(t, 5*time.Second, "nothing can be stored", j.stalled.Load)
	mustPost(t, s, own, `"buy"`)
	await(t, 5*time.Second, "it is tried on", func() bool { return links.Load() >= 2 })
	log.full.Store(false)
	if got := expectOne(t, "what was taken", handled); got != `"buy"` {
		t.Errorf("it handled %s", got)
	}
	stopServer(t, s)
}
