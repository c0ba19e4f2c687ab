package server

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/internal/pack"
	"github.com/genbrowser/genbrowser/mailbox"
)

var theBackend = &Sender{Remote: true, Names: []string{"a.example", "spiffe://x/a"}, Credentials: &Credentials{UID: 7, GID: 8, PID: 9}}

// postAs posts a message for somebody.
func postAs(s *Server, who *Sender, to address.Address, meta mailbox.Meta) error {
	posted, err := s.Post(to.String(), &Letter{Body: []byte("1"), Meta: meta, Sender: who})
	if err != nil {
		return err
	}
	_, err = posted.Wait()
	return err
}

func expectSender(t testing.TB, what string, came <-chan Sender, want Sender) {
	t.Helper()
	if got := expectOne(t, what, came); !reflect.DeepEqual(got, want) {
		t.Errorf("%s: from %+v, want %+v", what, got, want)
	}
}

// TestSender holds that every kind of process is told who sent a message, and that it was Go code if nobody says.
func TestSender(t *testing.T) {
	s := newServer(t, Options{})
	came := make(chan Sender, 10)
	tell := scripted{
		call: func(c *Context, m Message) (any, error) {
			c.Continue(func(c *Context) error { came <- c.Sender(); return nil })
			came <- c.Sender()
			return nil, nil
		},
		cast: func(_ *Context, m Message) error { came <- m.Sender; return nil },
		info: func(_ *Context, m Message) error { came <- m.Sender; return nil },
	}
	service := serve(t, s, "service", tell, ProcessOptions{})
	if err := s.Keyed("keyed", func(string) Service { return tell }, KeyedOptions{}); err != nil {
		t.Fatal(err)
	}
	keyed, err := s.KeyedAddress("keyed", "1")
	if err != nil {
		t.Fatal(err)
	}
	handler := handle(t, s, "handler", HandlerFunc(func(_ context.Context, m Message) error { came <- m.Sender; return nil }))
	for _, to := range []address.Address{service, keyed, handler} {
		for _, who := range []*Sender{theBackend, {Remote: true}} {
			if err := postAs(s, who, to, mailbox.Meta{}); err != nil {
				t.Fatal(err)
			}
			expectSender(t, "a message", came, *who)
		}
		if err := s.Send(ctx, to, 1); err != nil {
			t.Fatal(err)
		}
		expectSender(t, "from Go", came, Sender{})
	}
	call := mailbox.Meta{Kind: mailbox.KindCall, Ref: "1", Reply: handler.String()}
	if err := postAs(s, theBackend, service, call); err != nil {
		t.Fatal(err)
	}
	expectSender(t, "a call", came, *theBackend)
	expectSender(t, "a continuation", came, Sender{})
	reply, err := service.Attenuate(address.Reply("2"))
	if err != nil {
		t.Fatal(err)
	}
	if err := postAs(s, theBackend, reply, mailbox.Meta{Kind: mailbox.KindReply, Ref: "2"}); err != nil {
		t.Fatal(err)
	}
	expectSender(t, "a reply", came, *theBackend)
}

// TestSenderOnAnotherNode holds that a process on another node is told the same, also one that runs on one node only.
func TestSenderOnAnotherNode(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2, Options{})
	came := make(chan Sender, 100)
	tell := HandlerFunc(func(_ context.Context, m Message) error { came <- m.Sender; return nil })
	far := handle(t, nodes[0].Server, "far", tell)
	var single address.Address
	for _, n := range nodes {
		var err error
		if single, err = n.HandleSingle("single", tell); err != nil {
			t.Fatal(err)
		}
	}
	for _, who := range []*Sender{theBackend, {Remote: true}, {Remote: true, Names: []string{"a"}}, {Remote: true, Credentials: &Credentials{}}, nil} {
		want := Sender{}
		if who != nil {
			want = *who
		}
		for name, to := range map[string]address.Address{"far": far, "single": single} {
			for i, n := range nodes {
				await(t, 10*time.Second, "the process is reached", func() bool {
					err := postAs(n.Server, who, to, mailbox.Meta{})
					if err != nil && !errors.Is(err, ErrGone) && !errors.Is(err, ErrUnavailable) {
						t.Fatal(err)
					}
					return err == nil
				})
				expectSender(t, fmt.Sprintf("%s through node %d", name, i), came, want)
			}
		}
	}
}

// TestBrokenSender holds that no bytes make reading a sender panic or go on for ever.
func TestBrokenSender(t *testing.T) {
	whole := appendSender(nil, theBackend)
	for n := range whole {
		r := pack.Reader{Rest: whole[:n]}
		if readSender(&r); !r.Failed {
			t.Errorf("the first %d of %d bytes are taken for a sender", n, len(whole))
		}
	}
	r := pack.Reader{Rest: []byte{1, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}}
	if readSender(&r); !r.Failed {
		t.Error("a sender of many names that are not there is taken")
	}
}

// TestSenderIsFree holds that messages to mailboxes cost nothing for it.
func TestSenderIsFree(t *testing.T) {
	s := newServer(t, Options{Limits: mailbox.Limits{Overflow: mailbox.DropOldest, Backlog: 10}})
	to := open(t, s).Address.String()
	allocations := func(who *Sender) float64 {
		return testing.AllocsPerRun(1000, func() {
			if _, err := s.Post(to, &Letter{Body: []byte("1"), Sender: who}); err != nil {
				t.Fatal(err)
			}
		})
	}
	if without, with := allocations(nil), allocations(theBackend); with > without {
		t.Errorf("%v allocations with a sender, %v without", with, without)
	}
}
