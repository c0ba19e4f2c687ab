package server

import (
	"context"
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

// scripted is a service made of functions; nil ones do nothing.
type scripted struct {
	init      func(ctx *Context) error
	call      func(ctx *Context, m Message) (any, error)
	cast      func(ctx *Context, m Message) error
	info      func(ctx *Context, m Message) error
	terminate func(reason Down)
}

func (s scripted) Init(ctx *Context) error {
	if s.init == nil {
		return nil
	}
	return s.init(ctx)
}

func (s scripted) Call(ctx *Context, m Message) (any, error) {
	if s.call == nil {
		return m.Body, nil
	}
	return s.call(ctx, m)
}

func (s scripted) Cast(ctx *Context, m Message) error {
	if s.cast == nil {
		return nil
	}
	return s.cast(ctx, m)
}

func (s scripted) Info(ctx *Context, m Message) error {
	if s.info == nil {
		return nil
	}
	return s.info(ctx, m)
}

func (s scripted) Terminate(reason Down) {
	if s.terminate != nil {
		s.terminate(reason)
	}
}

func serve(t testing.TB, s *Server, name string, v Service, o ProcessOptions) address.Address {
	t.Helper()
	a, err := s.Serve(name, func() Service { return v }, o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// notes are what a test's process did, in order.
type notes struct {
	mu  sync.Mutex
	all []string
}

func (n *notes) add(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all = append(n.all, fmt.Sprintf(format, args...))
}

func (n *notes) take() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := strings.Join(n.all, ", ")
	n.all = nil
	return all
}

// every is the service of the matrix: it does what a message's body names.
func every(n *notes) scripted {
	return scripted{
		call: func(ctx *Context, m Message) (any, error) {
			switch body := string(m.Body); body {
			case `"reply"`:
				return "yes", nil
			case `"continue"`:
				ctx.Continue(func(*Context) error { n.add("continued"); return nil })
				return "yes", nil
			case `"later"`:
				later := ctx.Later()
				ctx.Continue(func(ctx *Context) error { return later.Reply(ctx, "later") })
				return NoReply, nil
			case `"never"`:
				return NoReply, nil
			case `"stop"`:
				ctx.Stop(Down{})
				return "bye", nil
			case `"stop silently"`:
				ctx.Stop(Down{Reason: "tired", Detail: 7})
				return NoReply, nil
			case `"refuse"`:
				return nil, fmt.Errorf("%w: not today", ErrRefused)
			case `"fail"`:
				return nil, errors.New("no such thing")
			case `"panic"`:
				panic("oh")
			case `"no JSON"`:
				return make(chan int), nil
			default:
				return nil, errors.New("unexpected " + body)
			}
		},
		cast:      func(_ *Context, m Message) error { n.add("cast %s", m.Body); return nil },
		info:      func(_ *Context, m Message) error { n.add("info %v %s", m.Kind, m.Body); return nil },
		terminate: func(reason Down) { n.add("terminated %v %v", reason.Reason, reason.Detail) },
	}
}

// ways are how messages reach a process: from Go, and as they come from outside.
var ways = map[string]struct {
	call func(s *Server, to address.Address, body any) (json.RawMessage, error)
	cast func(s *Server, to address.Address, body any) error
}{
	"local": {
		func(s *Server, to address.Address, body any) (json.RawMessage, error) { return s.Call(ctx, to, body) },
		func(s *Server, to address.Address, body any) error { return s.Send(ctx, to, body) },
	},
	"remote": {
		func(s *Server, to address.Address, body any) (json.RawMessage, error) {
			text, _ := json.Marshal(body)
			return s.PostCall(ctx, to.String(), &Letter{Body: text})
		},
		func(s *Server, to address.Address, body any) error {
			text, _ := json.Marshal(body)
			return post(s, to, string(text))
		},
	},
}

// TestService holds what each way to answer a call, or not to, looks like to the caller, and does to the process.
func TestService(t *testing.T) {
	for way, do := range ways {
		for _, test := range []struct {
			body, want string
			err        error
			detail     string
			then       string // what the process did beside
		}{
			{body: "reply", want: `"yes"`},
			{body: "continue", want: `"yes"`, then: "continued"},
			{body: "later", want: `"later"`},
			{body: "never", err: ErrCallFailed, detail: "without Later"},
			{body: "stop", want: `"bye"`, then: "terminated normal <nil>"},
			{body: "stop silently", err: ErrGone, detail: "ended", then: "terminated tired 7"},
			{body: "refuse", err: ErrRefused, detail: "not today"},
			{body: "fail", err: ErrCallFailed, detail: "no such thing"},
			{body: "panic", err: ErrCallFailed, detail: "crashed", then: "terminated crashed oh"},
			{body: "no JSON", err: ErrCallFailed, detail: "cannot be sent"},
		} {
			t.Run(way+" "+test.body, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := newServer(t, Options{})
					var n notes
					a := serve(t, s, "p", every(&n), ProcessOptions{})
					begun := time.Now()
					got, err := do.call(s, a, test.body)
					if string(got) != test.want || !errors.Is(err, test.err) || err != nil && !strings.Contains(err.Error(), test.detail) {
						t.Errorf("Call = %s, %v; want %s, %v with %q", got, err, test.want, test.err, test.detail)
					}
					if took := time.Since(begun); took != 0 {
						t.Errorf("the caller waited %v", took)
					}
					synctest.Wait()
					if got := n.take(); got != test.then {
						t.Errorf("the process did %q, want %q", got, test.then)
					}
					// whatever it was, the process or its next incarnation goes on
					if err := do.cast(s, a, 1); err != nil {
						t.Errorf("cast = %v", err)
					}
					synctest.Wait()
					if got := n.take(); got != "cast 1" {
						t.Errorf("the process did %q, want a cast", got)
					}
					shutDown(t, s)
					expectStats(t, s, 0, 0)
				})
			})
		}
	}
}

// A service is told of what is neither call nor cast, and of its own timers.
func TestInfo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Options{})
		var n notes
		serve(t, s, "p", every(&n), ProcessOptions{})
		for _, kind := range []mailbox.Kind{mailbox.KindReply, mailbox.KindFailure, mailbox.KindDown, mailbox.KindExited} {
			msg := mailbox.Message{Body: []byte(`{}`), Meta: &mailbox.Meta{Kind: kind, Ref: "r"}}
			if err := s.queueFor(ctx, "p", msg, mailbox.NameHash{}); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if got, want := n.take(), "info reply {}, info failure {}, info down {}, info exited {}"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		shutDown(t, s)
	})
}

// bare is a service with no method that it need not have.
type bare struct{ scripted *scripted }

func (b bare) Call(ctx *Context, m Message) (any, error) { return b.scripted.Call(ctx, m) }
func (b bare) Cast(ctx *Context, m Message) error        { return b.scripted.Cast(ctx, m) }

// A service that takes no Info ends with what it is linked to; what else would be Info is dropped.
func TestNoInfo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Options{})
		a := serve(t, s, "p", bare{&scripted{}}, ProcessOptions{Restart: Transient})
		for _, kind := range []mailbox.Kind{mailbox.KindDown, mailbox.KindReply} {
			if err := s.queueFor(ctx, "p", mailbox.Message{Body: []byte(`{}`), Meta: &mailbox.Meta{Kind: kind, Ref: "r"}}, mailbox.NameHash{}); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := s.Call(ctx, a, 1); string(got) != "1" || err != nil {
			t.Errorf("Call = %s, %v", got, err)
		}
		msg := mailbox.Message{Body: []byte(`{"reason":"normal"}`), Meta: &mailbox.Meta{Kind: mailbox.KindExited, Ref: "r"}}
		if err := s.queueFor(ctx, "p", msg, mailbox.NameHash{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if _, err := s.Call(ctx, a, 1); !errors.Is(err, ErrGone) {
			t.Errorf("Call after exited = %v, want ErrGone", err)
		}
		shutDown(t, s)
	})
}

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
		{"exit", func(s *Server, a address.Address) { s.exitProcess("p", Down{Reason: "exit"}) }, ErrGone},
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

func TestContinue(t *testing.T) {
	s := newServer(t, Options{})
	var n notes
	hold := make(chan struct{})
	a := serve(t, s, "p", scripted{
		init: func(ctx *Context) error {
			ctx.Continue(func(ctx *Context) error {
				n.add("begun")
				ctx.Continue(func(*Context) error { n.add("and more"); return errors.New("logged") })
				return nil
			})
			n.add("init")
			return nil
		},
		cast: func(ctx *Context, m Message) error {
			<-hold
			n.add("%s", m.Body)
			ctx.Continue(func(*Context) error { n.add("after %s", m.Body); return nil })
			return nil
		},
	}, ProcessOptions{})
	mustPost(t, s, a, "1", "2")
	close(hold)
	shutDown(t, s)
	if got, want := n.take(), "init, begun, and more, 1, after 1, 2, after 2"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A timer comes as Info; one that was stopped does not, even when it fired before.
func TestTimers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Options{})
		var n notes
		begun := time.Now()
		a := serve(t, s, "p", scripted{
			init: func(ctx *Context) error {
				ctx.After(time.Second, "tick")
				stopped := ctx.After(time.Second, "stopped")
				if !stopped.Stop() || stopped.Stop() {
					t.Error("Stop does not say what it did")
				}
				return nil
			},
			info: func(ctx *Context, m Message) error {
				value, ok := m.Timer()
				n.add("%v %v after %v", value, ok, time.Since(begun))
				if value == "tick" {
					ctx.After(time.Second, "tock")
				}
				return nil
			},
			cast: func(ctx *Context, m Message) error {
				if _, ok := m.Timer(); ok {
					t.Error("a cast is no timer")
				}
				late := ctx.After(time.Second, "fired while busy")
				time.Sleep(2 * time.Second)
				if !late.Stop() {
					t.Error("Stop = false: the message did not come yet")
				}
				return nil
			},
		}, ProcessOptions{})
		time.Sleep(10 * time.Second)
		mustPost(t, s, a, "1")
		time.Sleep(10 * time.Second)
		if got, want := n.take(), "tick true after 1s, tock true after 2s"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		shutDown(t, s)
	})
}

// A process's timers end with it, also when another incarnation takes its place.
func TestTimersEndWithTheProcess(t *testing.T) {
	for _, end := range []string{"panic", "stop", "release", "shutdown"} {
		t.Run(end, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, Options{})
				var n notes
				var old *Context
				a := serve(t, s, "p", scripted{
					cast: func(ctx *Context, m Message) error {
						old = ctx
						ctx.After(time.Second, "never")
						if end == "release" || end == "shutdown" {
							return nil
						}
						ctx.After(0, "fired while busy") // its message is in the queue when the process ends
						time.Sleep(time.Millisecond)
						if end == "panic" {
							panic("oh")
						}
						ctx.Stop(Down{})
						return nil
					},
					info: func(_ *Context, m Message) error {
						value, _ := m.Timer()
						n.add("%v", value)
						return nil
					},
				}, ProcessOptions{})
				mustPost(t, s, a, "1")
				time.Sleep(500 * time.Millisecond)
				synctest.Wait()
				switch end {
				case "release":
					s.Release("p")
				case "shutdown":
					shutDown(t, s)
				}
				time.Sleep(10 * time.Second)
				old.After(time.Second, "set by a goroutine that outlived it")
				time.Sleep(10 * time.Second)
				if got := n.take(); got != "" {
					t.Errorf("timers came: %s", got)
				}
				if old.Err() == nil {
					t.Error("the context has not ended")
				}
				shutDown(t, s)
			})
		})
	}
}

func TestContext(t *testing.T) {
	s := newServer(t, Options{})
	other := handle(t, s, "other", HandlerFunc(func(ctx context.Context, m Message) error { return m.Answer(ctx, "from other") }))
	a := serve(t, s, "p", scripted{call: func(ctx *Context, m Message) (any, error) {
		if ctx.Name() != "p" {
			t.Errorf("Name = %q", ctx.Name())
		}
		narrow, err := ctx.Self().Attenuate(address.Label("x"))
		if err != nil {
			return nil, err
		}
		if _, err := ctx.Call(ctx, narrow, 1); err == nil || !strings.Contains(err.Error(), "calls itself") {
			t.Errorf("a call of itself = %v", err)
		}
		if err := ctx.Send(other, 1); err != nil {
			t.Errorf("Send = %v", err)
		}
		return ctx.Call(ctx, other, 1)
	}}, ProcessOptions{})
	if got, err := s.Call(ctx, a, 1); string(got) != `"from other"` || err != nil {
		t.Errorf("Call = %s, %v", got, err)
	}
}

// A sender of a service's waits for room, or is told that there is none, as that of a handler.
func TestServiceQueue(t *testing.T) {
	s := newServer(t, Options{})
	hold := make(chan struct{})
	a := serve(t, s, "p", scripted{cast: func(*Context, Message) error { <-hold; return nil }}, ProcessOptions{Queue: 1})
	mustPost(t, s, a, "1")
	if err := post(s, a, "2"); !errors.Is(err, ErrFull) {
		t.Errorf("Post to a full queue = %v, want ErrFull", err)
	}
	if _, err := s.PostCall(ctx, a.String(), &Letter{Body: []byte("2")}); !errors.Is(err, ErrFull) {
		t.Errorf("Call of a full queue = %v, want ErrFull", err)
	}
	close(hold)
	if err := s.Send(ctx, a, 3); err != nil {
		t.Errorf("Send = %v", err)
	}
}
