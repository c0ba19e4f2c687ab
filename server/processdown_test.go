package server

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
)

// watch has a mailbox be told when the process ends, and returns what it is told.
func watch(t *testing.T, s *Server, to address.Address) func() string {
	t.Helper()
	m := open(t, s)
	sub, _ := subscribe(t, s, m, Subscribing{})
	refs := 0
	monitor := func() {
		refs++
		ref := fmt.Sprint("watch", refs)
		reply, err := m.Key.Address(address.Only(address.Send), address.Reply(ref))
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Post(to.String(), &Letter{Body: []byte("null"), Meta: mailbox.Meta{Kind: mailbox.KindMonitor, Ref: ref, Reply: reply.String()}})
		if err != nil {
			t.Errorf("monitor = %v", err)
		}
	}
	monitor()
	return func() string {
		synctest.Wait()
		down := read(sub)
		if down != "" && !s.ShuttingDown() {
			monitor()
		}
		return down
	}
}

// Those who watch a process are told how it ends: of each panic, and of its end.
func TestHandlerDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Options{})
		a := handle(t, s, "p", HandlerFunc(func(_ context.Context, m Message) error {
			if string(m.Body) == "1" {
				panic("oh")
			}
			return errors.New("is logged only")
		}))
		down := watch(t, s, a)
		mustPost(t, s, a, "2")
		if got := down(); got != "" {
			t.Errorf("after an error: %s", got)
		}
		mustPost(t, s, a, "1")
		if got, want := down(), `{"reason":"crashed","detail":"oh"}`; got != want {
			t.Errorf("after a panic: %s, want %s", got, want)
		}
		s.Release("p")
		if got, want := down(), `{"reason":"normal"}`; got != want {
			t.Errorf("after Release: %s, want %s", got, want)
		}
		if got, want := down(), `{"reason":"gone"}`; got != want {
			t.Errorf("a process that is gone: %s, want %s", got, want)
		}
		shutDown(t, s)
	})
}

// An exit comes before what waits, which is dropped; the name is free then.
func TestExitProcess(t *testing.T) {
	for _, kind := range []string{"handler", "service"} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, Options{})
				hold := make(chan struct{})
				var n notes
				do := func(m Message) error { <-hold; n.add("%s", m.Body); return nil }
				a := mustStart(t, s, kind, do, func(d Down) { n.add("terminated %v", d) })
				down := watch(t, s, a)
				mustPost(t, s, a, "1", "2", "3")
				called := make(chan error)
				go func() {
					_, err := s.Call(ctx, a, 4)
					called <- err
				}()
				synctest.Wait()
				if !s.exitProcess("p", mailbox.NameHash{}, Down{Reason: "exit", Detail: "why"}) || s.exitProcess("q", mailbox.NameHash{}, Down{}) {
					t.Error("exitProcess does not say what it did")
				}
				close(hold)
				if err := <-called; !errors.Is(err, ErrGone) {
					t.Errorf("Call = %v, want ErrGone", err)
				}
				if got, want := down(), `{"reason":"exit","detail":"why"}`; got != want {
					t.Errorf("down %s, want %s", got, want)
				}
				want := "1"
				if kind == "service" {
					want = "1, terminated {exit why}"
				}
				if got := n.take(); got != want {
					t.Errorf("it did %q, want %q", got, want)
				}
				if err := post(s, a, "5"); !errors.Is(err, ErrGone) {
					t.Errorf("Post = %v, want ErrGone", err)
				}
				mustStart(t, s, kind, do, func(Down) {})
				shutDown(t, s)
			})
		})
	}
}

// mustStart makes a process p of either kind.
func mustStart(t *testing.T, s *Server, kind string, do func(m Message) error, end func(Down)) address.Address {
	t.Helper()
	if kind == "handler" {
		return handle(t, s, "p", HandlerFunc(func(_ context.Context, m Message) error { return do(m) }))
	}
	return serve(t, s, "p", scripted{cast: func(_ *Context, m Message) error { return do(m) }, terminate: end}, ProcessOptions{})
}

// A service's context ends when somebody ends it from outside, so that what hangs on it does not keep it.
func TestExitCutsAHangingService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Options{})
		a := serve(t, s, "p", scripted{cast: func(ctx *Context, _ Message) error { <-ctx.Done(); return ctx.Err() }}, ProcessOptions{})
		mustPost(t, s, a, "1")
		synctest.Wait()
		s.exitProcess("p", mailbox.NameHash{}, Down{Reason: "exit"})
		shutDown(t, s)
	})
}
