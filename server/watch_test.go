package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
)

// replyUntil is the same for all, for what takes a watch back must have the same reply address.
var replyUntil = time.Now().Add(time.Hour)

func replyAddress(t testing.TB, m Mailbox, ref string) string {
	t.Helper()
	a, err := m.Address.Attenuate(address.Only(address.Send|address.Link), address.Expires(replyUntil), address.Reply(ref))
	if err != nil {
		t.Fatal(err)
	}
	return a.String()
}

// ask posts what is asked of the server, with a reply address of the watcher's.
func ask(t testing.TB, s *Server, kind mailbox.Kind, ref string, watcher Mailbox, target address.Address) {
	t.Helper()
	l := &Letter{Body: []byte("null"), Meta: mailbox.Meta{Kind: kind, Ref: ref}}
	if kind != mailbox.KindExit {
		l.Reply = replyAddress(t, watcher, ref)
	}
	err := again(t, s, func() error {
		posted, err := s.Post(target.String(), l)
		if err == nil {
			_, err = posted.Wait()
		}
		return err
	})
	if err != nil {
		t.Fatalf("%v of %v: %v", kind, target, err)
	}
}

func closeBox(t testing.TB, s *Server, m Mailbox) {
	t.Helper()
	if err := again(t, s, func() error { return s.Close(grant(t, s, m.Key.Reveal())) }); err != nil {
		t.Fatal(err)
	}
}

// expectTold waits until a mailbox holds these, each as its kind, ref and body.
func expectTold(t testing.TB, s *Server, m Mailbox, want ...string) {
	t.Helper()
	sub, r := subscribeSoon(t, s, m)
	defer func() { sub.Close() }()
	var got []string
	for timeout := time.After(15 * time.Second); ; {
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
		if fmt.Sprint(got) == fmt.Sprint(want) {
			return
		}
		if len(got) >= len(want) {
			t.Fatalf("told %q, want %q", got, want)
		}
		select {
		case <-r.woken:
		case <-r.ended: // another node has the mailbox now, or this one could store nothing for a moment
			sub.Close()
			sub, r = subscribeSoon(t, s, m)
			got = nil
		case <-timeout:
			t.Fatalf("told %q, want %q", got, want)
		}
	}
}

// TestWatchesGoOn holds that monitors, links and calls that wait are known after a restart, and those that were taken
// back are not.
func TestWatchesGoOn(t *testing.T) {
	for how, end := range endings {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := startDurable(t, dir, Options{})
			watcher, target := open(t, s.Server), open(t, s.Server)
			ask(t, s.Server, mailbox.KindMonitor, "m", watcher, target.Address)
			ask(t, s.Server, mailbox.KindLink, "l", watcher, target.Address)
			ask(t, s.Server, mailbox.KindMonitor, "taken-back", watcher, target.Address)
			ask(t, s.Server, mailbox.KindDemonitor, "taken-back", watcher, target.Address)
			ask(t, s.Server, mailbox.KindCall, "c", watcher, target.Address)
			end(t, s)
			s = startDurable(t, dir, Options{})
			closeBox(t, s.Server, target)
			expectTold(t, s.Server, watcher, `down m {"reason":"closed"}`, `exited l {"reason":"closed"}`,
				`failure c {"type":"urn:gen-browser:closed","title":"The mailbox was closed","status":410}`)
			end(t, s)
			s = startDurable(t, dir, Options{})
			expectTold(t, s.Server, watcher, `down m {"reason":"closed"}`, `exited l {"reason":"closed"}`,
				`failure c {"type":"urn:gen-browser:closed","title":"The mailbox was closed","status":410}`)
		})
	}
}

// TestAcrossNodes holds that where a mailbox or process is does not matter to who calls it, watches it, ends it or
// looks for it.
func TestAcrossNodes(t *testing.T) {
	nodes := startNodes(t, 3, Options{})
	a, b, c := nodes[0], nodes[1], nodes[2]
	watcher, target, linked := farMailbox(t, a, b, c), farMailbox(t, b, a, c), farMailbox(t, c, a, b)
	ask(t, c.Server, mailbox.KindMonitor, "m", watcher, target.Address)
	ask(t, c.Server, mailbox.KindLink, "l", watcher, linked.Address)
	ask(t, c.Server, mailbox.KindMonitor, "back", watcher, target.Address)
	ask(t, a.Server, mailbox.KindDemonitor, "back", watcher, target.Address)
	mayExit, err := target.Key.AddressFor(address.Exit)
	if err != nil {
		t.Fatal(err)
	}
	ask(t, a.Server, mailbox.KindExit, "", watcher, mayExit)
	expectTold(t, c.Server, watcher, `down m {"reason":"exit","detail":null}`)
	ask(t, a.Server, mailbox.KindMonitor, "late", watcher, target.Address)
	expectTold(t, c.Server, watcher, `down m {"reason":"exit","detail":null}`, `down late {"reason":"exit"}`)
	closeBox(t, b.Server, watcher)
	expectTold(t, b.Server, linked, `exited l {"reason":"closed"}`)

	// a process of b's that answers, asked by a
	answers := handle(t, b.Server, "answers", HandlerFunc(func(ctx context.Context, m Message) error {
		return m.Answer(ctx, "yes")
	}))
	if err := b.Export("answers"); err != nil {
		t.Fatal(err)
	}
	await(t, 5*time.Second, "the name is known everywhere", func() bool {
		_, ok := a.Whereis("answers")
		return ok
	})
	var got json.RawMessage
	await(t, 5*time.Second, "the process answers", func() bool { // once b knows where a's callers are
		within, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		got, err = a.Call(within, answers, "?")
		return err == nil
	})
	if string(got) != `"yes"` {
		t.Errorf("the reply is %s", got)
	}
	last := farMailbox(t, c, a, b)
	ask(t, a.Server, mailbox.KindMonitor, "p", last, answers)
	ask(t, a.Server, mailbox.KindMonitor, "never", last, mustProcess(t, a.Server, "never"))
	expectTold(t, b.Server, last, `down never {"reason":"gone"}`)
	b.ended("answers", Down{Reason: "crashed"})
	expectTold(t, b.Server, last, `down never {"reason":"gone"}`, `down p {"reason":"crashed"}`)
}

func mustProcess(t testing.TB, s *Server, name string) address.Address {
	t.Helper()
	a, err := s.keys.Process(name)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestCallInProcess holds what a call of Go code's ends with.
func TestCallInProcess(t *testing.T) {
	s := newServer(t, Options{})
	echo := handle(t, s, "echo", HandlerFunc(func(ctx context.Context, m Message) error {
		switch string(m.Body) {
		case `"fail"`:
			s.fail(&m, fmt.Errorf("%w: not today", ErrRefused))
		case `"nothing"`:
		default:
			return m.Answer(ctx, m.Body)
		}
		return nil
	}))
	if got, err := s.Call(ctx, echo, map[string]int{"n": 1}); err != nil || string(got) != `{"n":1}` {
		t.Errorf("Call = %s, %v", got, err)
	}
	var f *Failure
	if _, err := s.Call(ctx, echo, "fail"); !errors.Is(err, ErrRefused) || !errors.As(err, &f) || f.Status != 422 {
		t.Errorf("a call that is refused: %v", err)
	}
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if _, err := s.Call(short, echo, "nothing"); !errors.Is(err, ErrCallTimeout) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a call without a reply: %v", err)
	}
	given, giveUp := context.WithCancel(ctx)
	time.AfterFunc(20*time.Millisecond, giveUp)
	if _, err := s.Call(given, echo, "nothing"); !errors.Is(err, context.Canceled) {
		t.Errorf("a call that was given up: %v", err)
	}
	if _, err := s.Call(ctx, mustProcess(t, s, "nobody"), 1); !errors.Is(err, ErrGone) {
		t.Errorf("a call of nobody: %v", err)
	}
	if n := len(s.callers.waiting); n != 0 {
		t.Errorf("%d callers are left behind", n)
	}
}

// TestToldWhenThereIsRoom holds that a watcher whose mailbox is full is told once there is room.
func TestToldWhenThereIsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Options{Limits: mailbox.Limits{Backlog: 1}})
		watcher, target := open(t, s), open(t, s)
		ask(t, s, mailbox.KindMonitor, "m", watcher, target.Address)
		mustPost(t, s, watcher.Address, "1")
		closeBox(t, s, target)
		synctest.Wait() // it was tried
		sub, _ := subscribe(t, s, watcher, Subscribing{})
		expectRead(t, sub, "1")
		if err := s.Ack(grant(t, s, watcher.Key.Reveal()), sub.Cursor()); err != nil {
			t.Fatal(err)
		}
		sub.Close()
		expectTold(t, s, watcher, `down m {"reason":"closed"}`)
	})
}

// exits notes how its process ended.
type exits struct{ ended chan Down }

func (e *exits) Call(*Context, Message) (any, error) { return "here", nil }
func (e *exits) Cast(*Context, Message) error        { return nil }
func (e *exits) Terminate(why Down)                  { e.ended <- why }

// TestExitOfAProcess ends a service and a keyed one, with the right and without, and tells who watches.
func TestExitOfAProcess(t *testing.T) {
	s := newServer(t, Options{})
	ended := make(chan Down, 2)
	service := func() Service { return &exits{ended} }
	till, err := s.Serve("till", service, ProcessOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Keyed("order", func(string) Service { return service() }, KeyedOptions{}); err != nil {
		t.Fatal(err)
	}
	order, err := s.KeyedAddress("order", "42")
	if err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]address.Address{"till": till, "order/42": order} {
		watcher := open(t, s)
		if got, err := s.Call(ctx, to, "?"); err != nil || string(got) != `"here"` {
			t.Fatalf("%s: %s, %v", name, got, err)
		}
		ask(t, s, mailbox.KindMonitor, "m", watcher, to)
		if _, err := s.Post(to.String(), &Letter{Body: []byte(`"why"`), Meta: mailbox.Meta{Kind: mailbox.KindExit}}); !errors.Is(err, address.ErrRight) {
			t.Errorf("%s: an exit without the right: %v", name, err)
		}
		mayExit, err := s.keys.ProcessFor(name, address.Exit)
		if err != nil {
			t.Fatal(err)
		}
		long := fmt.Appendf(nil, "%q", strings.Repeat("w", 1023)) // 1,025 bytes
		if _, err := s.Post(mayExit.String(), &Letter{Body: long, Meta: mailbox.Meta{Kind: mailbox.KindExit}}); !errors.Is(err, ErrEnvelope) {
			t.Errorf("%s: an exit with %d bytes: %v", name, len(long), err)
		}
		if _, err := s.Post(mayExit.String(), &Letter{Body: []byte(`"why"`), Meta: mailbox.Meta{Kind: mailbox.KindExit}}); err != nil {
			t.Fatal(err)
		}
		if why := <-ended; why.Reason != "exit" {
			t.Errorf("%s terminates with %+v", name, why)
		}
		expectTold(t, s, watcher, `down m {"reason":"exit","detail":"why"}`)
	}
	await(t, 10*time.Second, "one that sleeps can't be ended", func() bool { // it sleeps soon after it told of its end
		exit := mailbox.Message{Body: []byte("1"), Meta: &mailbox.Meta{Kind: mailbox.KindExit}}
		_, err := s.forProcess(ctx, "order/42", exit, mailbox.NameHash{})
		return errors.Is(err, ErrGone)
	})
}

// TestGoneWatchersMakeRoom fills a mailbox's monitors, and lets some of who made them end.
func TestGoneWatchersMakeRoom(t *testing.T) {
	s := newServer(t, Options{})
	target, stays, gone := open(t, s), open(t, s), open(t, s)
	for i := range 999 {
		ask(t, s, mailbox.KindMonitor, fmt.Sprint(i), stays, target.Address)
	}
	ask(t, s, mailbox.KindMonitor, "gone", gone, target.Address)
	monitor := func() error {
		l := &Letter{Body: []byte("null"), Meta: mailbox.Meta{Kind: mailbox.KindMonitor, Ref: "more", Reply: replyAddress(t, stays, "more")}}
		_, err := s.Post(target.Address.String(), l)
		return err
	}
	if err := monitor(); !errors.Is(err, mailbox.ErrWatched) {
		t.Errorf("one more than fits: %v, want %v", err, mailbox.ErrWatched)
	}
	closeBox(t, s, gone)
	if err := monitor(); err != nil {
		t.Errorf("one more, once a watcher is gone: %v", err)
	}
	b, err := s.box(grant(t, s, target.Key.Reveal()).Mailbox())
	if err != nil || len(b.mail.Watches()) != 1000 {
		t.Errorf("%d watches, %v; want 1000", len(b.mail.Watches()), err)
	}
}

// TestGoneWatchersOfAProcess does so with a process.
func TestGoneWatchersOfAProcess(t *testing.T) {
	s := newServer(t, Options{})
	target, err := s.Handle("shop", HandlerFunc(nothing))
	if err != nil {
		t.Fatal(err)
	}
	stays, gone := open(t, s), open(t, s)
	for i := range 999 {
		ask(t, s, mailbox.KindMonitor, fmt.Sprint(i), stays, target)
	}
	ask(t, s, mailbox.KindLink, "gone", gone, target)
	monitor := func(ref string) error {
		l := &Letter{Body: []byte("null"), Meta: mailbox.Meta{Kind: mailbox.KindMonitor, Ref: ref, Reply: replyAddress(t, stays, ref)}}
		_, err := s.Post(target.String(), l)
		return err
	}
	if err := monitor("more"); !errors.Is(err, mailbox.ErrWatched) {
		t.Errorf("one more than fits: %v, want %v", err, mailbox.ErrWatched)
	}
	closeBox(t, s, gone)
	if err := monitor("more"); err != nil {
		t.Errorf("one more, once a watcher is gone: %v", err)
	}
	if err := monitor("another"); !errors.Is(err, mailbox.ErrWatched) {
		t.Errorf("one more than fits again: %v, want %v", err, mailbox.ErrWatched)
	}
}

// TestNoticesAreBounded: who asks again and again to be told, and takes nothing, is refused at last, and others are told.
func TestNoticesAreBounded(t *testing.T) {
	s := newServer(t, Options{Limits: mailbox.Limits{Backlog: 1}})
	full, gone := open(t, s), open(t, s)
	mustPost(t, s, full.Address, "1")
	closeBox(t, s, gone)
	monitor := func(watcher Mailbox, ref string) error {
		l := &Letter{Body: []byte("null"), Meta: mailbox.Meta{Kind: mailbox.KindMonitor, Ref: ref, Reply: replyAddress(t, watcher, ref)}}
		_, err := s.Post(gone.Address.String(), l)
		return err
	}
	for i := range maxNotices {
		if err := monitor(full, fmt.Sprint(i)); err != nil {
			t.Fatalf("monitor %d: %v", i, err)
		}
		if i == maxNotices-10 {
			other := open(t, s)
			if err := monitor(other, "other"); err != nil {
				t.Fatal(err)
			}
			expectTold(t, s, other, `down other {"reason":"closed"}`)
		}
	}
	until(t, "one more is refused", func() bool { return errors.Is(monitor(full, "more"), ErrOverloaded) })
}

// TestLinksBothWays: who may only send to a mailbox can't link it to another one, whose end it would be told, and may
// end by.
func TestLinksBothWays(t *testing.T) {
	s := newServer(t, Options{})
	own, victim := open(t, s), open(t, s)
	for rights, want := range map[address.Rights]error{address.Send: address.ErrRight, address.Send | address.Link: nil} {
		reply, err := victim.Address.Attenuate(address.Only(rights), address.Reply("l"))
		if err != nil {
			t.Fatal(err)
		}
		for _, kind := range []mailbox.Kind{mailbox.KindLink, mailbox.KindUnlink} {
			_, err = s.Post(own.Address.String(), &Letter{Body: []byte("null"), Meta: mailbox.Meta{Kind: kind, Ref: "l", Reply: reply.String()}})
			if !errors.Is(err, want) {
				t.Errorf("%v with a reply address with the rights %v: %v, want %v", kind, rights, err, want)
			}
		}
	}
}

// TestToldWithinTheCapability: what the server tells through an address is bound by it, as what others send is.
func TestToldWithinTheCapability(t *testing.T) {
	s := newServer(t, Options{})
	watcher, target := open(t, s), open(t, s)
	through := func(ref string, caveats ...address.Caveat) mailbox.Meta {
		a, err := watcher.Address.Attenuate(append(caveats, address.Only(address.Send), address.Expires(replyUntil), address.Reply(ref))...)
		if err != nil {
			t.Fatal(err)
		}
		return mailbox.Meta{Kind: mailbox.KindMonitor, Ref: ref, Reply: a.String()}
	}
	monitor := func(m mailbox.Meta) error {
		_, err := s.Post(target.Address.String(), &Letter{Body: []byte("null"), Meta: m})
		return err
	}
	if err := monitor(through("t", address.Types("order"))); !errors.Is(err, address.ErrType) {
		t.Errorf("a monitor that tells through an address for another type: %v, want ErrType", err)
	}
	for _, m := range []mailbox.Meta{through("short", address.MaxBytes(10)), through("l", address.Label("shop"))} {
		if err := monitor(m); err != nil {
			t.Fatal(err)
		}
	}
	closeBox(t, s, target)
	sub, _ := subscribe(t, s, watcher, Subscribing{Hold: true})
	defer sub.Close()
	await(t, 5*time.Second, "it is told", func() bool { return s.notices.isIdle() })
	var via []string
	count := 0
	sub.Read(func(m *mailbox.Message, _ error) bool {
		count++
		via = m.Meta.Via
		return true
	})
	if count != 1 || len(via) != 1 || via[0] != "shop" {
		t.Errorf("told %d times, by %v; want once, by shop", count, via)
	}
}

// TestWaitingCallsAreBounded lets as many calls wait as may, and one more; from outside there may be fewer.
func TestWaitingCallsAreBounded(t *testing.T) {
	const most = 4
	s := newServer(t, Options{Calls: most})
	m := open(t, s)
	within, cancel := context.WithCancel(ctx)
	ended := make(chan error, most)
	own := func() error { _, err := s.Call(within, m.Address, 1); return err }
	strangers := func() error {
		_, err := s.PostCall(within, m.Address.String(), &Letter{Body: []byte("1")})
		return err
	}
	wait := func(count int, call func() error) {
		go func() { ended <- call() }()
		until(t, fmt.Sprint(count, " calls wait"), func() bool {
			s.callers.mu.Lock()
			defer s.callers.mu.Unlock()
			return len(s.callers.waiting) == count
		})
	}
	for i := range 3 {
		wait(i+1, strangers)
	}
	if err := strangers(); !errors.Is(err, ErrOverloaded) {
		t.Errorf("a fourth call from outside: %v, want %v", err, ErrOverloaded)
	}
	wait(most, own)
	if err := own(); !errors.Is(err, ErrOverloaded) {
		t.Errorf("a fifth call: %v, want %v", err, ErrOverloaded)
	}
	cancel()
	for range most {
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	if _, err := s.Call(short, m.Address, 1); !errors.Is(err, ErrCallTimeout) {
		t.Errorf("a call once there is room: %v, want %v", err, ErrCallTimeout)
	}
}

// TestLinkIsWholeOrNot: a link for whose way back there is no room takes none at its target.
func TestLinkIsWholeOrNot(t *testing.T) {
	s := newServer(t, Options{})
	full, other, target := open(t, s), open(t, s), open(t, s)
	process := handle(t, s, "p", HandlerFunc(nothing))
	for i := range 1000 {
		ask(t, s, mailbox.KindMonitor, fmt.Sprint(i), other, full.Address)
	}
	for name, to := range map[string]address.Address{"mailbox": target.Address, "process": process} {
		l := &Letter{Body: []byte("null"), Meta: mailbox.Meta{Kind: mailbox.KindLink, Ref: "l", Reply: replyAddress(t, full, "l")}}
		if _, err := s.Post(to.String(), l); !errors.Is(err, mailbox.ErrWatched) {
			t.Errorf("link with a %s: %v, want %v", name, err, mailbox.ErrWatched)
		}
		d, err := address.Inspect(to.String())
		if err != nil {
			t.Fatal(err)
		}
		if left := s.watchesOf(&d); len(left) != 0 {
			t.Errorf("the %s is watched by %+v", name, left)
		}
	}
}
