package server

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
)

// lives is a service that answers calls with the number of its incarnation, and crashes when it is sent something.
func lives(incarnation *int, ends *notes) Service {
	*incarnation++
	number := *incarnation
	return unheeding{scripted{
		cast:      func(*Context, Message) error { panic("boom") },
		call:      func(*Context, Message) (any, error) { return number, nil },
		terminate: func(d Down) { ends.add("%d %s", number, d.Reason) },
	}}
}

// unheeding ends with what it is linked to.
type unheeding struct{ s scripted }

func (u unheeding) Cast(c *Context, m Message) error        { return u.s.Cast(c, m) }
func (u unheeding) Call(c *Context, m Message) (any, error) { return u.s.Call(c, m) }
func (u unheeding) Terminate(d Down)                        { u.s.Terminate(d) }

// An exit that comes again, because its answer got lost, does not end what has the name by then.
func TestRepeatedExit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Options{})
		defer shutDown(t, s)
		incarnation, ends := 0, new(notes)
		if err := s.Keyed("order", func(string) Service { return lives(&incarnation, ends) }, KeyedOptions{Idle: time.Hour}); err != nil {
			t.Fatal(err)
		}
		to := keyedAddress(t, s, "order", "1")
		mayExit, err := s.keys.ProcessFor("order/1", address.Exit)
		if err != nil {
			t.Fatal(err)
		}
		exit := func(name string) error {
			t.Helper()
			_, err := s.Post(mayExit.String(), &Letter{Name: name, Body: []byte("null"), Meta: mailbox.Meta{Kind: mailbox.KindExit}})
			synctest.Wait()
			return err
		}
		expectCall(t, s, to, 0, "1")
		for range 2 {
			if err := exit("once"); err != nil {
				t.Error("exit:", err)
			}
			expectCall(t, s, to, 0, "2")
		}
		if err := exit("another"); err != nil {
			t.Error("another exit:", err)
		}
		expectCall(t, s, to, 0, "3")

		once := mailbox.HashName("once")
		handles := func() { handle(t, s, "later", HandlerFunc(nothing)) }
		for i, step := range []struct {
			before func()
			want   bool
		}{
			{func() {}, false}, // another node may have the process, and refuse, so that it comes again
			{handles, true},
			{func() {}, true},
			{handles, true},
		} {
			step.before()
			if got := s.exitProcess("later", once, Down{Reason: "exit"}); got != step.want {
				t.Errorf("exit %d of a handler: %v, want %v", i, got, step.want)
			}
			synctest.Wait()
		}
		if !s.processes.knows("later") {
			t.Error("the next handler of that name was ended")
		}
		if got, want := ends.take(), "1 exit, 2 exit"; got != want {
			t.Errorf("ended: %s; want %s", got, want)
		}
	})
}

// Who was linked to a process that crashed is not linked to the next one of its name.
func TestHalfALinkEndsWithTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Options{})
		defer shutDown(t, s)
		incarnation, ends := 0, new(notes)
		to, err := s.Serve("svc", func() Service { return lives(&incarnation, ends) }, ProcessOptions{})
		if err != nil {
			t.Fatal(err)
		}
		linked, other := open(t, s), 0
		ofOther := new(notes)
		from, err := s.Serve("from", func() Service { return linking{lives(&other, ofOther), to} }, ProcessOptions{})
		if err != nil {
			t.Fatal(err)
		}
		ask(t, s, mailbox.KindLink, "l", linked, to)
		mustPost(t, s, to, "1")
		synctest.Wait()
		expectCall(t, s, to, 0, "2")
		expectCall(t, s, from, 0, "1")
		closeBox(t, s, linked)
		mustPost(t, s, from, "1")
		synctest.Wait()
		expectCall(t, s, to, 0, "2")
		if got, want := ends.take(), "1 crashed"; got != want {
			t.Errorf("ended: %s; want %s", got, want)
		}
	})
}

// linking is a service that links with a process, and lives on when that ends.
type linking struct {
	Service
	with address.Address
}

func (l linking) Init(c *Context) error {
	_, err := c.Link(l.with)
	return err
}

func (l linking) Info(*Context, Message) error { return nil }

// Who watches a process is told nothing of the one that had its name before, and was released; who watched that one is told.
func TestReleasedProcessTellsItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Options{})
		defer shutDown(t, s)
		gate := make(chan struct{})
		to := handle(t, s, "svc", HandlerFunc(func(context.Context, Message) error { <-gate; return nil }))
		ofOld, ofNew := open(t, s), open(t, s)
		ask(t, s, mailbox.KindMonitor, "old", ofOld, to)
		mustPost(t, s, to, "1")
		synctest.Wait()
		s.Release("svc")
		handle(t, s, "svc", HandlerFunc(nothing))
		ask(t, s, mailbox.KindMonitor, "new", ofNew, to)
		expectTold(t, s, ofOld, `down old {"reason":"normal"}`)
		close(gate)
		synctest.Wait()
		if n := len(s.watchers.names()); n != 1 {
			t.Errorf("%d processes are watched, want the new one", n)
		}
		s.Release("svc")
		expectTold(t, s, ofNew, `down new {"reason":"normal"}`)
	})
}

// What a node answers that has a process no more, or is about to leave, is not the last word while another node has one.
func TestOnwardToANodeThatHasTheProcess(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 3, Options{})
	a, b, c := nodes[0], nodes[1], nodes[2]
	got := newReceived()
	handle(t, c.Server, "svc", got)
	awaitProcess(t, a, "svc", 1)
	var toB *node
	for _, n := range a.cluster.others() {
		if n.id == b.id() {
			toB = n
		}
	}
	toC := a.cluster.haveProcess("svc")[0]
	for i := range 2 {
		b.processes.mu.Lock()
		b.processes.ended = i == 1
		b.processes.mu.Unlock()
		msg := mailbox.Message{Body: fmt.Append(nil, i)}
		if _, err := toOne([]*node{toB, toC}, 0, 2, nil, "svc", msg, mailbox.NameHash{}).wait(); err != nil {
			t.Error(err)
		}
		alone := Posted{call: toOne([]*node{toB}, 0, 1, nil, "svc", msg, mailbox.NameHash{})}
		want := []error{ErrGone, ErrUnavailable}[i] // who is told that a node shuts down takes it for the one that it asked
		if _, err := alone.Wait(); !errors.Is(err, want) {
			t.Errorf("from that node alone: %v, want %v", err, want)
		}
	}
	b.processes.mu.Lock()
	b.processes.ended = false
	b.processes.mu.Unlock()
	await(t, 5*time.Second, "both arrive", func() bool { return got.count() == 2 })
}
