package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/address"
)

func TestOrderPerSender(t *testing.T) {
	s := newServer(t, Options{Queue: 16})
	got := newReceived()
	a := handle(t, s, "p", got)
	const senders, each = 8, 200
	var wg sync.WaitGroup
	for i := range senders {
		wg.Go(func() {
			for j := range each {
				if err := s.Send(ctx, a, []int{i, j}); err != nil {
					t.Errorf("Send = %v", err)
				}
			}
		})
	}
	wg.Wait()
	next := make([]int, senders)
	for _, body := range got.wait(t, senders*each) {
		var i, j int
		fmt.Sscanf(body, "[%d,%d]", &i, &j)
		if next[i] != j {
			t.Fatalf("sender %d: got %d, want %d", i, j, next[i])
		}
		next[i]++
	}
}

func TestQueue(t *testing.T) {
	s := newServer(t, Options{Queue: 2})
	hold, started := make(chan struct{}), make(chan struct{}, 10)
	got := newReceived()
	a := handle(t, s, "p", HandlerFunc(func(ctx context.Context, m Message) error {
		started <- struct{}{}
		<-hold
		return got.Handle(ctx, m)
	}))
	mustPost(t, s, a, "1", "2") // one of them is being handled, and counts until it is done
	<-started
	if err := post(s, a, "3"); !errors.Is(err, ErrFull) {
		t.Errorf("Post to a full queue = %v, want ErrFull", err)
	}
	short, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	if err := s.Send(short, a, 3); !errors.Is(err, ErrFull) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Send until a deadline = %v, want ErrFull and the deadline", err)
	}
	sent := make(chan error)
	go func() { sent <- s.Send(ctx, a, 4) }() // waits for room
	close(hold)
	if err := <-sent; err != nil {
		t.Errorf("Send that waits = %v", err)
	}
	if all := got.wait(t, 3); !slices.Equal(all, []string{"1", "2", "4"}) {
		t.Errorf("got %v", all)
	}
}

// A message that was taken is not refused when its sender, who had no answer, sends it again: not for want of room.
func TestRepeatedToAFullQueue(t *testing.T) {
	s := newServer(t, Options{Queue: 2})
	hold := make(chan struct{})
	got := newReceived()
	a := handle(t, s, "p", HandlerFunc(func(ctx context.Context, m Message) error {
		<-hold
		return got.Handle(ctx, m)
	}))
	send := func(name, body string) error {
		p, err := s.Post(a.String(), &Letter{Name: name, Body: []byte(body)})
		if err == nil {
			_, err = p.Wait()
		}
		return err
	}
	for _, test := range []struct {
		name string
		want error
	}{{"1", nil}, {"1", nil}, {"2", nil}, {"1", nil}, {"2", nil}, {"3", ErrFull}, {"", ErrFull}} {
		if err := send(test.name, test.name+"0"); !errors.Is(err, test.want) {
			t.Errorf("message %s: %v, want %v", test.name, err, test.want)
		}
	}
	close(hold)
	if all := got.wait(t, 2); !slices.Equal(all, []string{"10", "20"}) {
		t.Errorf("got %v", all)
	}
	if err := send("3", "30"); err != nil {
		t.Error(err)
	}
	if all := got.wait(t, 3); !slices.Equal(all, []string{"10", "20", "30"}) {
		t.Errorf("got %v", all)
	}
}

// Two processes that answer each other with full queues go on: within a handler a full queue is an error.
func TestFullQueuesDoNotDeadlock(t *testing.T) {
	s := newServer(t, Options{Queue: 1})
	var addrs [2]address.Address
	var mu sync.Mutex
	full, handled := 0, 0
	var done sync.WaitGroup
	for i := range addrs {
		addrs[i] = handle(t, s, fmt.Sprint("p", i), HandlerFunc(func(ctx context.Context, m Message) error {
			defer done.Done()
			err := s.Send(ctx, addrs[i], 0) // itself: always full
			mu.Lock()
			defer mu.Unlock()
			handled++
			if errors.Is(err, ErrFull) {
				full++
			}
			return nil
		}))
	}
	for range 50 {
		for _, a := range addrs {
			done.Add(1)
			if err := s.Send(ctx, a, 1); err != nil {
				t.Fatal(err)
			}
		}
	}
	done.Wait()
	if full != 100 || handled != 100 {
		t.Errorf("%d full of %d handled, want 100 of 100", full, handled)
	}
}

// TestRepeatedToAProcess holds that a process gets what comes twice under one idempotency key once.
func TestRepeatedToAProcess(t *testing.T) {
	s := newServer(t, Options{})
	got := newReceived()
	to := handle(t, s, "p", got)
	for _, l := range []Letter{{Body: []byte("1"), Name: "a"}, {Body: []byte("2"), Name: "a"}, {Body: []byte("3"), Name: "b"}, {Body: []byte("4")}, {Body: []byte("4")}} {
		if _, err := s.Post(to.String(), &l); err != nil {
			t.Fatal(err)
		}
	}
	if all := got.wait(t, 4); !slices.Equal(all, []string{"1", "3", "4", "4"}) {
		t.Errorf("the process got %q", all)
	}
	if err := s.Shutdown(ctx); err != nil || len(got.wait(t, 4)) != 4 {
		t.Errorf("%v; the process got more", err)
	}
}
