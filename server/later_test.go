package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
)

// A call that takes 200 ms is answered before one that came first and takes 500 ms, when the service answers later.
func TestLaterOvertakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Options{})
		a := serve(t, s, "p", scripted{call: func(ctx *Context, m Message) (any, error) {
			var ms int
			if err := json.Unmarshal(m.Body, &ms); err != nil {
				return nil, err
			}
			later := ctx.Later()
			time.AfterFunc(time.Duration(ms)*time.Millisecond, func() { later.Reply(ctx, ms) })
			return NoReply, nil
		}}, ProcessOptions{})
		begun := time.Now()
		var n notes
		var callers sync.WaitGroup
		for _, ms := range []int{500, 200} {
			callers.Go(func() {
				got, err := s.Call(ctx, a, ms)
				n.add("%s after %v %v", got, time.Since(begun), err)
			})
			synctest.Wait()
		}
		callers.Wait()
		if got, want := n.take(), "200 after 200ms <nil>, 500 after 500ms <nil>"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		shutDown(t, s)
	})
}

// Of many who answer the same call, one does, and the others are told.
func TestAnswerOnce(t *testing.T) {
	s := newServer(t, Options{})
	laters := make(chan *Later, 1)
	a := serve(t, s, "p", scripted{call: func(ctx *Context, m Message) (any, error) {
		laters <- ctx.Later()
		return NoReply, nil
	}}, ProcessOptions{})
	answers := make(chan string, 1)
	go func() {
		got, err := s.Call(ctx, a, 1)
		answers <- fmt.Sprint(string(got), err)
	}()
	later := <-laters
	errs := make(chan error, 8)
	for i := range cap(errs) {
		if i%2 == 0 {
			go func() { errs <- later.Reply(ctx, "once") }()
		} else {
			go func() { errs <- later.Fail(errors.New("once")) }()
		}
	}
	won := 0
	for range cap(errs) {
		switch err := <-errs; {
		case err == nil:
			won++
		case !errors.Is(err, ErrReplied):
			t.Errorf("answer = %v, want ErrReplied", err)
		}
	}
	if won != 1 {
		t.Errorf("%d answers were taken, want 1", won)
	}
	if got := <-answers; !strings.Contains(got, "once") {
		t.Errorf("Call = %s", got)
	}
}

// What a service returns after it answered itself is refused, not sent; a reply that cannot be sent can be replaced.
func TestAnswerTwice(t *testing.T) {
	s := newServer(t, Options{})
	a := serve(t, s, "p", scripted{call: func(ctx *Context, m Message) (any, error) {
		later := ctx.Later()
		if err := later.Reply(ctx, make(chan int)); err == nil {
			t.Error("Reply with a channel = nil error")
		}
		if err := later.Reply(ctx, strings.Repeat("x", 1<<20)); err == nil {
			t.Error("Reply of 1 MiB = nil error")
		}
		if err := m.Answer(ctx, 1); err != nil {
			t.Errorf("Answer = %v", err)
		}
		return 2, nil
	}, cast: func(ctx *Context, m Message) error {
		if later := ctx.Later(); later != nil || later.Reply(ctx, 1) == nil || later.Fail(errCrashed) == nil || m.Answer(ctx, 1) == nil {
			t.Error("a cast can be answered")
		}
		return nil
	}}, ProcessOptions{})
	if got, err := s.Call(ctx, a, 1); string(got) != "1" || err != nil {
		t.Errorf("Call = %s, %v; want 1", got, err)
	}
	mustPost(t, s, a, "1")
	shutDown(t, s)
}

// A process that ends fails the calls that it owes an answer; Terminate may still give them one.
func TestOwedAnswers(t *testing.T) {
	for _, test := range []struct {
		name string
		end  func(s *Server, a address.Address)
		want error
	}{
		{"crash", func(s *Server, a address.Address) { s.Send(ctx, a, "panic") }, ErrCallFailed},
		{"stop", func(s *Server, a address.Address) { s.Send(ctx, a, "stop") }, ErrGone},
		{"release", func(s *Server, a address.Address) { s.Release("p") }, ErrGone},
		{"exit", func(s *Server, a address.Address) { s.exitProcess("p", mailbox.NameHash{}, Down{Reason: "exit"}) }, ErrGone},
		{"shutdown", func(s *Server, a address.Address) { s.Shutdown(ctx) }, ErrGone},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, Options{})
				var saved *Later
				a := serve(t, s, "p", scripted{
					call: func(ctx *Context, m Message) (any, error) {
						if l := ctx.Later(); string(m.Body) == `"save"` {
							saved = l
						}
						return NoReply, nil
					},
					cast: func(ctx *Context, m Message) error {
						if string(m.Body) == `"panic"` {
							panic("oh")
						}
						ctx.Stop(Down{})
						return nil
					},
					terminate: func(Down) { saved.Reply(ctx, "saved") },
				}, ProcessOptions{})
				answers := make(chan string, 2)
				for _, body := range []string{"save", "lose"} {
					go func() {
						got, err := s.Call(ctx, a, body)
						if body == "lose" && !errors.Is(err, test.want) {
							t.Errorf("Call = %s, %v; want %v", got, err, test.want)
						}
						answers <- string(got)
					}()
				}
				synctest.Wait()
				begun := time.Now()
				test.end(s, a)
				got := []string{<-answers, <-answers}
				slices.Sort(got)
				if got[1] != `"saved"` || got[0] != "" {
					t.Errorf("got %q", got)
				}
				if took := time.Since(begun); took != 0 {
					t.Errorf("the callers waited %v", took)
				}
				shutDown(t, s)
			})
		})
	}
}

// A process that never answers does not keep what nobody waits for any more, nor more than it may.
func TestOwedIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Options{})
		box := open(t, s)
		var c *Context
		a := serve(t, s, "p", scripted{call: func(ctx *Context, m Message) (any, error) {
			c = ctx
			ctx.Later()
			return NoReply, nil
		}}, ProcessOptions{})
		ask := func(n int, caveats ...address.Caveat) {
			for i := range n {
				ref := fmt.Sprint("r", i)
				reply, err := box.Key.Address(append(caveats, address.Only(address.Send), address.Reply(ref))...)
				if err != nil {
					t.Fatal(err)
				}
				l := &Letter{Body: []byte("1"), Meta: mailbox.Meta{Kind: mailbox.KindCall, Ref: ref, Reply: reply.String()}}
				if _, err := s.Post(a.String(), l); err != nil {
					t.Fatal(err)
				}
				if i%100 == 0 {
					synctest.Wait()
				}
			}
			synctest.Wait()
		}
		ask(sweepOwed, address.Expires(time.Now().Add(time.Minute)))
		if got := len(c.owed); got != sweepOwed {
			t.Errorf("%d answers are owed, want %d", got, sweepOwed)
		}
		<-time.After(2 * time.Minute)
		ask(1)
		if got := len(c.owed); got != 1 {
			t.Errorf("%d answers are owed, want 1: the others are too late", got)
		}
		ask(maxOwed)
		if got := len(c.owed); got != maxOwed {
			t.Errorf("%d answers are owed, want %d", got, maxOwed)
		}
		shutDown(t, s)
	})
}
