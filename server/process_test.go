package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
)

func TestHandleAndRelease(t *testing.T) {
	s := newServer(t, Options{})
	got := newReceived()
	a := handle(t, s, "p", got)
	if _, err := s.Handle("p", got); !errors.Is(err, ErrNameTaken) {
		t.Errorf("second Handle = %v, want ErrNameTaken", err)
	}
	if _, err := s.Handle("not a name", got); err == nil {
		t.Error("Handle of a bad name = nil error")
	}
	mustPost(t, s, a, "1", "2")
	got.wait(t, 2)
	s.Release("p")
	s.Release("p")
	if err := post(s, a, "3"); !errors.Is(err, ErrGone) {
		t.Errorf("Post after Release = %v, want ErrGone", err)
	}
	handle(t, s, "p", got) // the name is free again, and the address the same
	mustPost(t, s, a, "4")
	if all := got.wait(t, 3); !slices.Equal(all, []string{"1", "2", "4"}) {
		t.Errorf("got %v", all)
	}
}

// Messages that wait when their process is released are still handled.
func TestReleaseKeepsTheQueue(t *testing.T) {
	s := newServer(t, Options{})
	got, hold := newReceived(), make(chan struct{})
	a := handle(t, s, "p", HandlerFunc(func(ctx context.Context, m Message) error {
		<-hold
		return got.Handle(ctx, m)
	}))
	mustPost(t, s, a, "1", "2", "3")
	s.Release("p")
	close(hold)
	if all := got.wait(t, 3); !slices.Equal(all, []string{"1", "2", "3"}) {
		t.Errorf("got %v", all)
	}
}

// A sender that waits for room in the queue of a process that is released is told that it is gone.
func TestReleaseWhileASenderWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Options{Queue: 1})
		got, hold := newReceived(), make(chan struct{})
		a := handle(t, s, "p", HandlerFunc(func(ctx context.Context, m Message) error {
			<-hold
			return got.Handle(ctx, m)
		}))
		mustPost(t, s, a, "1")
		sent := make(chan error, 1)
		go func() { sent <- s.Send(ctx, a, 2) }()
		synctest.Wait()
		s.Release("p")
		close(hold)
		if err := <-sent; !errors.Is(err, ErrGone) {
			t.Errorf("Send = %v, want ErrGone", err)
		}
		shutDown(t, s)
		expectStats(t, s, 0, 0)
	})
}

func TestMetaReachesTheProcess(t *testing.T) {
	s := newServer(t, Options{})
	m := open(t, s)
	got := make(chan Message, 1)
	a := handle(t, s, "p", HandlerFunc(func(_ context.Context, m Message) error { got <- m; return nil }))
	a, err := a.Attenuate(address.Label("x"), address.Label("y"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Post(a.String(), &Letter{Body: []byte("[1,\n2]"), Meta: mailbox.Meta{Kind: mailbox.KindCall, Ref: "7", Reply: m.Address.String()}})
	if err != nil {
		t.Fatal(err)
	}
	msg := <-got
	if string(msg.Body) != "[1, 2]" || msg.Kind != mailbox.KindCall || msg.Ref != "7" || msg.Reply != m.Address || !slices.Equal(msg.Via, []string{"x", "y"}) {
		t.Errorf("got %+v", msg)
	}
}

func TestPanicHurtsNobodyElse(t *testing.T) {
	var log logged
	s := newServer(t, Options{Logger: log.logger()})
	got := newReceived()
	a := handle(t, s, "p", HandlerFunc(func(ctx context.Context, m Message) error {
		switch string(m.Body) {
		case "2":
			panic("oh")
		case "3":
			return errors.New("failed on 3")
		}
		return got.Handle(ctx, m)
	}))
	mustPost(t, s, a, "1", "2", "3", "4")
	if all := got.wait(t, 2); !slices.Equal(all, []string{"1", "4"}) {
		t.Errorf("got %v", all)
	}
	for _, want := range []string{"handler panicked", "reason=oh", "failed on 3"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q: %s", want, log.String())
		}
	}
}

func TestSendFromGo(t *testing.T) {
	s := newServer(t, Options{})
	m := open(t, s)
	a, err := address.Parse(m.Address.String()) // its text alone
	if err != nil {
		t.Fatal(err)
	}
	sub, r := subscribe(t, s, m, Subscribing{})
	if err := s.Send(ctx, a, map[string]any{"from": []address.Address{a}}); err != nil {
		t.Fatal(err)
	}
	<-r.woken
	expectRead(t, sub, `{"from":["`+a.String()+`"]}`)
	if err := s.Send(ctx, a, make(chan int)); err == nil {
		t.Error("Send of a channel = nil error")
	}
	if err := s.Send(ctx, address.Address{}, 1); !errors.Is(err, address.ErrMalformed) {
		t.Errorf("Send to the zero address = %v, want ErrMalformed", err)
	}
	other := newServer(t, Options{Keys: otherRing(t)})
	if err := other.Send(ctx, a, 1); !errors.Is(err, address.ErrInvalid) {
		t.Errorf("Send on another server = %v, want ErrInvalid", err)
	}
}

func otherRing(t testing.TB) *address.Ring {
	t.Helper()
	ring, err := address.NewRing([]byte(address.NewSecret()))
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func TestLogger(t *testing.T) {
	var log logged
	s := newServer(t, Options{Logger: log.logger()})
	a := handle(t, s, "logger", s.Logger())
	m := open(t, s)
	sub, r := subscribe(t, s, m, Subscribing{})
	if err := s.Send(ctx, a, map[string]any{"type": "ping", "from": m.Address, "id": 7}); err != nil {
		t.Fatal(err)
	}
	<-r.woken
	expectRead(t, sub, `{"type":"pong","id":7}`)
	if err := s.Send(ctx, a, map[string]any{"type": "log", "message": []string{"hi"}}); err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{`{"type":"log"}`, `{"type":"ping"}`, `{"type":"x"}`, `{"type":"ping","from":"x"}`, `1`} {
		if err := post(s, a, body); !errors.Is(err, ErrRefused) {
			t.Errorf("Post(%s) = %v, want ErrRefused", body, err)
		}
	}
	shutDown(t, s)
	if got := log.String(); !strings.Contains(got, `message="[\"hi\"]"`) {
		t.Errorf("log = %s", got)
	}
}

func TestRegistry(t *testing.T) {
	s := newServer(t, Options{Queue: 100})
	a := handle(t, s, "registry", s.Registry())
	m := open(t, s)
	sub, r := subscribe(t, s, m, Subscribing{})
	ask := func(body any) {
		t.Helper()
		if err := s.Send(ctx, a, body); err != nil {
			t.Fatal(err)
		}
	}
	lookup := func(name, want string) {
		t.Helper()
		ask(map[string]any{"type": "lookup", "name": name, "from": m.Address})
		<-r.woken
		expectRead(t, sub, want)
	}
	lookup("n", `{"type":"notFound","name":"n"}`)
	ask(map[string]any{"type": "register", "name": "n", "address": a})
	lookup("n", `{"type":"found","name":"n","address":"`+a.String()+`"}`)
	ask(map[string]any{"type": "register", "name": "n", "address": m.Address}) // replaces
	lookup("n", `{"type":"found","name":"n","address":"`+m.Address.String()+`"}`)

	// the one that was registered last longest ago makes room
	for i := range registryNames - 1 {
		ask(map[string]any{"type": "register", "name": fmt.Sprint(i), "address": a})
	}
	ask(map[string]any{"type": "register", "name": "n", "address": a})
	ask(map[string]any{"type": "register", "name": "one more", "address": a})
	lookup("n", `{"type":"found","name":"n","address":"`+a.String()+`"}`)
	lookup("0", `{"type":"notFound","name":"0"}`)
	lookup("1", `{"type":"found","name":"1","address":"`+a.String()+`"}`)

	for _, body := range []string{
		`{"type":"register","name":"x"}`, `{"type":"lookup","name":"x"}`, `{"type":"x","name":"x"}`,
		`{"type":"register","name":"","address":"` + a.String() + `"}`,
		`{"type":"register","name":"` + strings.Repeat("x", 257) + `","address":"` + a.String() + `"}`,
	} {
		if err := post(s, a, body); !errors.Is(err, ErrRefused) {
			t.Errorf("Post(%s) = %v, want ErrRefused", body, err)
		}
	}
}

// A handler answers a call, and fails it with an error or a panic, which is no second answer.
func TestHandlerAnswersCalls(t *testing.T) {
	s := newServer(t, Options{})
	a := handle(t, s, "p", HandlerFunc(func(ctx context.Context, m Message) error {
		switch string(m.Body) {
		case `"error"`:
			return errors.New("no such thing")
		case `"refuse"`:
			return fmt.Errorf("%w: not today", ErrRefused)
		case `"panic"`:
			panic("oh")
		case `"answer and panic"`:
			defer panic("oh")
		case `"later"`:
			go m.Answer(ctx, "yes")
			return nil
		case `"twice"`:
			if err := m.Answer(ctx, "yes"); err != nil {
				t.Errorf("Answer = %v", err)
			}
			if err := m.Answer(ctx, "no"); !errors.Is(err, ErrReplied) {
				t.Errorf("second Answer = %v, want ErrReplied", err)
			}
			return errors.New("after all")
		}
		return m.Answer(ctx, "yes")
	}))
	for body, want := range map[string]error{
		"": nil, "later": nil, "twice": nil, "answer and panic": nil,
		"error": ErrCallFailed, "panic": ErrCallFailed, "refuse": ErrRefused,
	} {
		got, err := s.Call(ctx, a, body)
		if !errors.Is(err, want) || want == nil && string(got) != `"yes"` {
			t.Errorf("Call(%q) = %s, %v; want %v", body, got, err, want)
		}
	}
}
