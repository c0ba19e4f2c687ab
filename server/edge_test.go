package server

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/mailbox"
)

// TestFarInitial: what was there when a reader on another node came is told from what came since.
func TestFarInitial(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2, Options{})
	a, b := nodes[0], nodes[1]
	m := farMailbox(t, a, b)
	mustPost(t, a.Server, m.Address, "1", "2")
	sub, _ := subscribe(t, b.Server, m, Subscribing{Hold: true})
	defer sub.Close()
	mustPost(t, a.Server, m.Address, "3")
	await(t, 5*time.Second, "all came", func() bool {
		sub.far.mu.Lock()
		defer sub.far.mu.Unlock()
		return len(sub.far.queue) == 3
	})
	for want, read := range map[string]func(func(*mailbox.Message, error) bool) bool{"12": sub.ReadInitial, "123": sub.Read} {
		got := ""
		read(func(m *mailbox.Message, err error) bool { got += string(m.Body); return true })
		if got != want {
			t.Errorf("read %s, want %s", got, want)
		}
	}
}

// TestFarGap: a reader on another node is told once, and how many messages, are missing.
func TestFarGap(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2, Options{Limits: mailbox.Limits{Backlog: 3, Overflow: mailbox.DropOldest}})
	a, b := nodes[0], nodes[1]
	m := farMailbox(t, a, b)
	mustPost(t, a.Server, m.Address, "1", "2", "3", "4", "5")

	// as a long-poll reads
	sub, r := subscribe(t, b.Server, m, Subscribing{Hold: true})
	if got := collect(t, sub, r, 4); !slices.Equal(got, []string{"gap:", "2", "3", "4", "5"}) && strings.Join(got, " ") != "gap: 2 3 4 5" {
		t.Errorf("read %v, want a gap of 2, and 3 to 5", got)
	}
	sub.Close()

	// as a stream does, whose first event tells of the gap
	sub, r = subscribe(t, b.Server, m, Subscribing{Hold: true})
	if sub.Gap != 2 {
		t.Errorf("a gap of %d, want 2", sub.Gap)
	}
	sub.Delivered(sub.Cursor().Seq + sub.Gap)
	if got := collect(t, sub, r, 3); !slices.Equal(got, []string{"3", "4", "5"}) {
		t.Errorf("read %v, want 3 to 5", got)
	}
	sub.Close()
}

// TestFarAtOnce: a reader that does not wait finds what is in the mailbox.
func TestFarAtOnce(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2, Options{})
	a, b := nodes[0], nodes[1]
	m := farMailbox(t, a, b)
	mustPost(t, a.Server, m.Address, "1")
	for range 500 {
		sub, _ := subscribe(t, b.Server, m, Subscribing{Hold: true})
		got := read(sub)
		if sub.Close(); got != "1" {
			t.Fatalf("read %q at once, want 1", got)
		}
	}
}

// TestFarGapKept: a gap between two messages is told, also if the message before it was delivered by itself.
func TestFarGapKept(t *testing.T) {
	f := &farSubscription{node: &node{gone: true}, reader: newReader()}
	f.pushed([]farItem{
		{msg: mailbox.Message{Seq: 3, Body: []byte("3")}},
		{missing: 5, msg: mailbox.Message{Seq: 8}},
		{msg: mailbox.Message{Seq: 9, Body: []byte("9")}},
	})
	sub := &Subscription{far: f}
	f.delivered(3)
	var got []string
	f.read(time.Now(), math.MaxUint64, func(m *mailbox.Message, err error) bool {
		if err != nil {
			got = append(got, err.Error())
		} else {
			got = append(got, string(m.Body))
		}
		return true
	})
	if want := []string{(&mailbox.GapError{Missing: 5}).Error(), "9"}; !slices.Equal(got, want) {
		t.Errorf("read %q, want %q", got, want)
	}
	sub.Delivered(8)
	if len(f.queue) != 1 {
		t.Errorf("%d items wait after the gap was delivered, want 1", len(f.queue))
	}
}

// TestFarExpired: as many messages as are sent ahead end before the reader takes them; later ones still come.
func TestFarExpired(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2, Options{})
	a, b := nodes[0], nodes[1]
	m := farMailbox(t, a, b)
	sub, r := subscribe(t, b.Server, m, Subscribing{Hold: true})
	defer sub.Close()
	for range windowMessages + 10 {
		posted, err := a.Post(m.Address.String(), &Letter{Body: []byte("0"), TTL: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		if r, err := posted.Wait(); err != nil {
			t.Fatal(err)
		} else if r != nil {
			r.Wake()
		}
	}
	f := sub.far
	await(t, 5*time.Second, "they expire on their way", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return len(f.queue) == windowMessages && f.queue[windowMessages-1].expired(time.Now())
	})
	if text := read(sub); text != "" {
		t.Errorf("read %q of what expired", text)
	}
	mustPost(t, b.Server, m.Address, "1")
	if got := collect(t, sub, r, 1); !slices.Equal(got, []string{"1"}) {
		t.Errorf("read %v, want 1", got)
	}
}

// TestFarWindow: a reader that takes nothing has the other node send it no more than the window, and gets all that
// its mailbox holds when it goes on.
func TestFarWindow(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2, Options{})
	a, b := nodes[0], nodes[1]
	for name, size := range map[string]int{"many": 5, "large": 30_000} {
		t.Run(name, func(t *testing.T) {
			m := farMailbox(t, a, b)
			sub, r := subscribe(t, b.Server, m, Subscribing{})
			defer sub.Close()
			count := min(900, 900_000/size)
			for i := range count {
				mustPost(t, a.Server, m.Address, fmt.Sprintf("1%0*d", size, i))
			}
			f := sub.far
			queued := func() (n, bytes int) {
				f.mu.Lock()
				defer f.mu.Unlock()
				for _, item := range f.queue {
					bytes += len(item.msg.Body)
				}
				return len(f.queue), bytes
			}
			await(t, 5*time.Second, "the window is full", func() bool {
				n, bytes := queued()
				return n >= windowMessages || bytes >= windowBytes
			})
			if n, bytes := queued(); n > windowMessages || bytes > windowBytes+size+1 {
				t.Errorf("%d messages, %d bytes wait here, want at most a window", n, bytes)
			}
			got := collect(t, sub, r, count)
			for i, text := range got {
				if want := fmt.Sprintf("1%0*d", size, i); text != want {
					t.Fatalf("message %d is %.20s, want %.20s", i, text, want)
				}
			}
		})
	}
}

// TestFarTakeover: of readers on several nodes the newest has the mailbox, and the others are told.
func TestFarTakeover(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 3, Options{})
	m := farMailbox(t, nodes[0], nodes[1], nodes[2])
	var before *reader
	for i := range 6 {
		n := nodes[i%3]
		sub, r := subscribe(t, n.Server, m, Subscribing{})
		defer sub.Close()
		if before != nil {
			select {
			case why := <-before.ended:
				if !errors.Is(why, ErrTakenOver) {
					t.Errorf("reader %d was ended with %v, want ErrTakenOver", i, why)
				}
			case <-time.After(5 * time.Second):
				t.Errorf("reader %d was not ended", i)
			}
		}
		mustPost(t, nodes[(i+1)%3].Server, m.Address, fmt.Sprint(i))
		want := fmt.Sprint(i)
		for got := collect(t, sub, r, 1); got[len(got)-1] != want; got = collect(t, sub, r, 1) {
		}
		before = r
	}
}
