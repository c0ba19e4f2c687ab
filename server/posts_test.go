package server

import (
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/internal/pack"
	"github.com/genbrowser/genbrowser/mailbox"
)

// Of messages that leave together for mailboxes of another node, each is told what became of it.
func TestPostsTogether(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2, Options{Limits: mailbox.Limits{Backlog: 5}})
	a, b := nodes[0], nodes[1]
	boxes := []Mailbox{farMailbox(t, a, b), farMailbox(t, a, b), open(t, b.Server)}
	closed := farMailbox(t, a, b)
	g := grant(t, b.Server, closed.Key.Reveal())
	if err := b.Close(g); err != nil {
		t.Fatal(err)
	}
	var all [9][4]Posted
	for i := range all {
		for j, box := range append(boxes, closed) {
			var err error
			if all[i][j], err = b.Post(box.Address.String(), &Letter{Body: fmt.Append(nil, i)}); err != nil && !(j == 2 && errors.Is(err, mailbox.ErrFull)) {
				t.Fatal(i, j, err)
			}
		}
	}
	for i := range all {
		for j := range all[i] {
			want := error(nil)
			switch {
			case j == 3:
				want = ErrClosed
			case j == 2: // its own, which refuses at once
				continue
			case i >= 5:
				want = mailbox.ErrFull
			}
			if _, err := all[i][j].Wait(); !errors.Is(err, want) {
				t.Errorf("message %d for mailbox %d: %v, want %v", i, j, err, want)
			}
		}
	}
	for j, box := range boxes[:2] {
		r := newReader()
		sub, err := b.Subscribe(grant(t, b.Server, box.Key.Reveal()), Subscribing{}, r)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(collect(t, sub, r, 5)); got != "[0 1 2 3 4]" {
			t.Errorf("mailbox %d has %s", j, got)
		}
		sub.Close()
	}
	await(t, 5*time.Second, "nothing is under way", func() bool { return b.Metrics().Cluster.Calls == 0 })
}

// Answers that come in parts, of others, or twice.
func TestPostsAnswered(t *testing.T) {
	n := &node{posts: make(map[uint64]*posts)}
	begin := func() *posts {
		p := &posts{number: 7, count: 5, left: 5, done: make(chan struct{})}
		n.posts[7] = p
		return p
	}
	answer := func(number, first, count uint64, refused ...int) {
		b := appendUints(nil, number, first, count, uint64(len(refused)))
		for _, index := range refused {
			b = appendError(appendUints(b, uint64(index)), ErrFull)
		}
		n.posted(&pack.Reader{Rest: b})
	}
	p := begin()
	answer(8, 0, 5)
	answer(7, 3, 2, 3)
	answer(7, 4, 2)
	answer(7, 0, 6)
	if p.left != 3 {
		t.Fatalf("%d are left, want 3", p.left)
	}
	answer(7, 0, 3, 1)
	for i := range 5 {
		if err := p.wait(i); errors.Is(err, ErrFull) != (i == 1 || i == 3) {
			t.Errorf("message %d: %v", i, err)
		}
	}
	answer(7, 0, 5)
	if len(n.posts) != 0 {
		t.Error("they are kept")
	}
	p = begin()
	n.posted(&pack.Reader{Rest: appendUints(nil, 7, 0, 5, 2, 1)})
	if p.left != 5 {
		t.Errorf("what is cut off is taken: %d are left", p.left)
	}
	n.cluster = &cluster{}
	n.cut(notSaid)
	if err := p.wait(0); !errors.Is(err, ErrUnavailable) {
		t.Errorf("what is cut: %v", err)
	}
}

func appendUints(b []byte, all ...uint64) []byte {
	for _, u := range all {
		b = binary.AppendUvarint(b, u)
	}
	return b
}
