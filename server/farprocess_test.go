package server

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"
)

// slow is a process whose validator waits.
type slow struct{ begun, done chan struct{} }

func (s *slow) Validate(*Message) error {
	s.begun <- struct{}{}
	<-s.done
	return nil
}

func (s *slow) Handle(context.Context, Message) error { return nil }

// TestSlowValidator holds that a process which takes its time does not hold up what else nodes say to each other.
func TestSlowValidator(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2, Options{})
	a, b := nodes[0], nodes[1]
	m := farMailbox(t, a, b)
	p := &slow{make(chan struct{}, 10), make(chan struct{})}
	unblock := sync.OnceFunc(func() { close(p.done) })
	defer unblock()
	addr := handle(t, a.Server, "slow", p)
	await(t, 10*time.Second, "the process is known", func() bool { return len(b.cluster.routes.Load().processes["slow"]) == 1 })
	posted := make(chan error, 1)
	go func() { posted <- post(b.Server, addr, "1") }()
	<-p.begun
	if err := post(b.Server, m.Address, `"past it"`); err != nil {
		t.Errorf("a message for a mailbox of the same node: %v", err)
	}
	unblock()
	if err := <-posted; err != nil {
		t.Errorf("the message that was validated: %v", err)
	}
}

// TestSingle holds that all messages for a process that keeps state come to one node, and to another once that is gone.
func TestSingle(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 3, Options{})
	var got [3]*received
	addr, err := nodes[0].keys.Process("single")
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range nodes {
		got[i] = newReceived()
		if _, err := n.HandleSingle("single", got[i]); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		for _, n := range nodes {
			if err := post(n.Server, addr, "1"); err != nil {
				t.Fatal(err)
			}
		}
	}
	first := -1
	await(t, 10*time.Second, "one node gets all messages", func() bool {
		first = slices.IndexFunc(got[:], func(r *received) bool { return r.count() == 6 })
		return first >= 0
	})
	nodes[first].leave(t)
	other := nodes[(first+1)%3]
	await(t, 10*time.Second, "another takes its place", func() bool {
		err := post(other.Server, addr, "2")
		if err != nil && !errors.Is(err, ErrUnavailable) {
			t.Fatal(err)
		}
		return err == nil
	})
}

func (r *received) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.bodies)
}
