package server

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/genbrowser/genbrowser/mailbox"
)

// takes is a reader that takes what there is when it is woken: itself, or a goroutine that it starts.
type takes struct {
	sub     *Subscription
	started bool

	mu  sync.Mutex
	got []string
}

func (r *takes) Wake() {
	if r.started {
		go r.take()
	} else {
		r.take()
	}
}

func (r *takes) take() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if got := read(r.sub); got != "" {
		r.got = append(r.got, got)
	}
}

func (r *takes) End(error) {}

// taking opens a mailbox that has such a reader.
func (r *takes) taking(t *testing.T, s *Server, how Subscribing) Mailbox {
	t.Helper()
	m := open(t, s)
	sub, err := s.Subscribe(grant(t, s, m.Key.Reveal()), how, r)
	if err != nil {
		t.Fatal(err)
	}
	r.sub = sub
	return m
}

// A mailbox is not full of what its reader was only not woken for yet, by count or by bytes.
func TestReaderIsWokenBeforeAMailboxIsFull(t *testing.T) {
	for _, l := range []mailbox.Limits{
		{Backlog: 3},
		{Backlog: 3, Overflow: mailbox.DropOldest},
		{Backlog: 100, BacklogBytes: 9, Body: 9},
	} {
		s, r := newServer(t, Options{Limits: l}), &takes{}
		m := r.taking(t, s, Subscribing{})
		var want []string
		for i := range 10 {
			body := fmt.Sprint(100 + i)
			if _, err := s.Post(m.Address.String(), &Letter{Body: []byte(body)}); err != nil { // and nobody wakes
				t.Fatalf("%+v: Post(%s) = %v", l, body, err)
			}
			want = append(want, body)
		}
		r.Wake()
		if got := strings.Join(r.got, " "); got != strings.Join(want, " ") {
			t.Errorf("%+v: read %q, want %q", l, got, want)
		}
	}
}

// A goroutine that takes it for the reader has its turn before the mailbox is full.
func TestReadersGoroutineHasItsTurn(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	accepted := 0
	for range 20 { // now and then the runtime has who waits longest run first
		s, r := newServer(t, Options{Limits: mailbox.Limits{Backlog: 3}}), &takes{started: true}
		m, n := r.taking(t, s, Subscribing{}), 0
		for ; n < 100; n++ {
			if _, err := s.Post(m.Address.String(), &Letter{Body: []byte("1")}); err != nil {
				break
			}
		}
		accepted = max(accepted, n)
	}
	if accepted != 100 {
		t.Errorf("%d messages were accepted, want all 100", accepted)
	}
}

// What other nodes send waits for no such turn: behind it comes what is for other mailboxes.
func TestPacketsOfOtherNodesDoNotYield(t *testing.T) {
	s, r := startNodes(t, 1, Options{Limits: mailbox.Limits{Backlog: 1}})[0].Server, &takes{started: true}
	m := r.taking(t, s, Subscribing{})
	packed := mailbox.Record{Mailbox: grant(t, s, m.Address.String()).Mailbox(), Message: mailbox.Message{Body: []byte("2")}}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	r.mu.Lock() // it takes nothing
	defer r.mu.Unlock()
	mustPost(t, s, m.Address, "1")
	for _, from := range []struct {
		name   string
		yields bool
		send   func() error
	}{
		{"another node", false, func() error { _, err := s.postHere(&packed, 0); return err }},
		{"here", true, func() error { return post(s, m.Address, "2") }},
	} {
		yielded := 0
		for range 20 { // as above
			var others atomic.Bool
			go others.Store(true)
			err := from.send()
			had := others.Load()
			if !errors.Is(err, mailbox.ErrFull) {
				t.Fatalf("%s: %v, want ErrFull", from.name, err)
			}
			if had {
				yielded++
			}
		}
		if (yielded > 10) != from.yields {
			t.Errorf("from %s: %d of 20 yielded", from.name, yielded)
		}
	}
}

// One that holds what its reader was given, until that acknowledges it, is full, and so is one whose reader takes nothing.
func TestReaderThatDoesNotMakeRoom(t *testing.T) {
	s := newServer(t, Options{Limits: mailbox.Limits{Backlog: 2}})
	m := new(takes).taking(t, s, Subscribing{Hold: true})
	idle := open(t, s)
	subscribe(t, s, idle, Subscribing{})
	for _, to := range []Mailbox{m, idle} {
		for _, body := range []string{"1", "2"} {
			if _, err := s.Post(to.Address.String(), &Letter{Body: []byte(body)}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Post(to.Address.String(), &Letter{Body: []byte("3")}); !errors.Is(err, mailbox.ErrFull) {
			t.Errorf("Post = %v, want ErrFull", err)
		}
	}
}
