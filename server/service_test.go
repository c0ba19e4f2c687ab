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

func (n *notes) has(one string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Contains(n.all, one)
}

func (n *notes) is(all string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Join(n.all, ", ") == all
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
