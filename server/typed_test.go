package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/genbrowser/genbrowser/mailbox"
)

type answer struct{ Text string }

func (a *answer) Validate() error {
	if a.Text == "" {
		return errors.New("the answer has no text")
	}
	return nil
}

func TestCallOf(t *testing.T) {
	s := newServer(t, Options{})
	got := make(chan string, 1)
	a := handle(t, s, "p", CallOf(func(_ context.Context, g greeting, m Message) (answer, error) {
		switch {
		case m.Kind == mailbox.KindMessage:
			got <- g.Name
		case g.Name == "fail":
			return answer{}, errors.New("no such thing")
		case g.Name == "empty":
			return answer{}, nil
		}
		return answer{"hello " + g.Name}, nil
	}))
	if resp, err := CallAs[answer](ctx, s, a, greeting{"ann"}); resp.Text != "hello ann" || err != nil {
		t.Errorf("CallAs = %v, %v", resp, err)
	}
	for _, test := range []struct {
		body   any
		want   error
		detail string
	}{
		{1, ErrRefused, "cannot unmarshal"},
		{greeting{""}, ErrRefused, "name is missing"},
		{greeting{"fail"}, ErrCallFailed, "no such thing"},
		{greeting{"empty"}, ErrCallFailed, "has no text"},
	} {
		if _, err := CallAs[answer](ctx, s, a, test.body); !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.detail) {
			t.Errorf("CallAs(%v) = %v, want %v with %q", test.body, err, test.want, test.detail)
		}
	}
	if err := s.Send(ctx, a, greeting{"bob"}); err != nil || <-got != "bob" {
		t.Errorf("Send = %v", err)
	}
	reply := mailbox.Message{Body: []byte(`{"Name":"x"}`), Meta: &mailbox.Meta{Kind: mailbox.KindReply, Ref: "r"}}
	if err := s.queueFor(ctx, "p", reply, mailbox.NameHash{}); !errors.Is(err, ErrRefused) {
		t.Errorf("a reply = %v, want ErrRefused", err)
	}
	wrong := handle(t, s, "wrong", CallOf(func(context.Context, any, Message) (any, error) { return 1, nil }))
	if _, err := CallAs[answer](ctx, s, wrong, nil); err == nil || !strings.Contains(err.Error(), "the reply to a call") {
		t.Errorf("CallAs with a reply of another type = %v", err)
	}
	invalid := handle(t, s, "invalid", CallOf(func(context.Context, any, Message) (map[string]int, error) { return nil, nil }))
	if _, err := CallAs[answer](ctx, s, invalid, nil); err == nil || !strings.Contains(err.Error(), "has no text") {
		t.Errorf("CallAs with a reply that is not valid = %v", err)
	}
}

type deposit struct{ Cents int }

func (d *deposit) Validate() error {
	if d.Cents <= 0 {
		return fmt.Errorf("%d cents: want more than 0", d.Cents)
	}
	return nil
}

// account is a service with types: a cast deposits, and a call asks for the balance.
type account struct{ cents int }

func (a *account) Call(ctx *Context, q string, _ Message) (int, error) {
	switch q {
	case "balance":
		return a.cents, nil
	case "later":
		later := ctx.Later()
		ctx.Continue(func(ctx *Context) error { return later.Reply(ctx, "later") })
		return 0, nil
	}
	return 0, fmt.Errorf(`%w: %q: want "balance"`, ErrRefused, q)
}

func (a *account) Cast(_ *Context, d deposit, _ Message) error {
	a.cents += d.Cents
	return nil
}

// noted is an account with everything that a service can have.
type noted struct {
	account
	*notes
}

func (n *noted) Init(*Context) error              { n.add("init"); return nil }
func (n *noted) Info(_ *Context, m Message) error { n.add("info %v", m.Kind); return nil }
func (n *noted) Terminate(d Down)                 { n.add("terminated %s", d.Reason) }

func TestServeOf(t *testing.T) {
	s := newServer(t, Options{})
	before := 0
	a, err := ServeOf(s, "p", func() TypedService[string, int, deposit] { return &account{} }, ProcessOptions{
		Restart:  Temporary,
		Validate: func(m *Message) error { before++; return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(ctx, a, deposit{500}); err != nil {
		t.Fatal(err)
	}
	if got, err := CallAs[int](ctx, s, a, "balance"); got != 500 || err != nil {
		t.Errorf("CallAs = %d, %v; want 500", got, err)
	}
	expectCall(t, s, a, "later", `"later"`)
	if _, err := s.Call(ctx, a, "x"); !errors.Is(err, ErrRefused) {
		t.Errorf("Call refused by the service = %v", err)
	}
	if _, err := s.Call(ctx, a, deposit{1}); !errors.Is(err, ErrRefused) {
		t.Errorf("Call with a cast's type = %v, want ErrRefused", err)
	}
	if err := s.Send(ctx, a, deposit{-1}); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "want more than 0") {
		t.Errorf("Send of what is not valid = %v, want ErrRefused", err)
	}
	if before != 6 {
		t.Errorf("options.Validate was called %d times, want 6", before)
	}
	// an account takes no Info, so that an exited ends it
	if err := s.queueFor(ctx, "p", mailbox.Message{Body: []byte(`{}`), Meta: &mailbox.Meta{Kind: mailbox.KindExited, Ref: "r"}}, mailbox.NameHash{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Call(ctx, a, "balance"); !errors.Is(err, ErrGone) {
		t.Errorf("Call after exited = %v, want ErrGone", err)
	}
}

func TestServeOfWithAll(t *testing.T) {
	s := newServer(t, Options{})
	var n notes
	if _, err := ServeOf(s, "p", func() TypedService[string, int, deposit] { return &noted{notes: &n} }, ProcessOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := s.queueFor(ctx, "p", mailbox.Message{Body: []byte(`{}`), Meta: &mailbox.Meta{Kind: mailbox.KindDown, Ref: "r"}}, mailbox.NameHash{}); err != nil {
		t.Fatal(err)
	}
	shutDown(t, s)
	if got, want := n.take(), "init, info down, terminated normal"; got != want {
		t.Errorf("it did %q, want %q", got, want)
	}
}

type greeting struct{ Name string }

func (g *greeting) Validate() error {
	switch g.Name {
	case "panic":
		panic("validator")
	case "":
		return errors.New("name is missing")
	}
	return nil
}

func TestTyped(t *testing.T) {
	var log logged
	s := newServer(t, Options{Logger: log.logger()})
	got := make(chan string, 10)
	a := handle(t, s, "p", Typed(func(_ context.Context, g greeting, m Message) error {
		got <- g.Name
		return nil
	}))
	for body, want := range map[string]string{
		`{"Name":"a"}`:     "",
		`{"Name":1}`:       "cannot unmarshal",
		`{}`:               "name is missing",
		`{"Name":"panic"}`: "validation failed",
		`"text"`:           "cannot unmarshal",
	} {
		err := post(s, a, body)
		if want == "" {
			if err != nil {
				t.Errorf("Post(%s) = %v", body, err)
			}
		} else if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), want) {
			t.Errorf("Post(%s) = %v, want ErrRefused with %q", body, err, want)
		}
	}
	if name := <-got; name != "a" {
		t.Errorf("got %q", name)
	}
	if !strings.Contains(log.String(), "validator panicked") {
		t.Errorf("the log has no panic of the validator: %s", log.String())
	}
	any := handle(t, s, "any", Typed(func(_ context.Context, v any, _ Message) error {
		got <- fmt.Sprint(v)
		return nil
	}))
	mustPost(t, s, any, "null", "[1]")
	if a, b := <-got, <-got; a != "<nil>" || b != "[1]" {
		t.Errorf("got %q, %q", a, b)
	}
}
