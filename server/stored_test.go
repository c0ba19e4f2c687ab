package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
)

// gated is a log whose entries wait until the gate is open.
type gated struct {
	mailbox.Log
	gate chan struct{}
}

func (g *gated) Append(ctx context.Context, entry []byte) (uint64, error) {
	select {
	case <-g.gate:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	return g.Log.Append(ctx, entry)
}

// TestShownOnceStored holds that nothing shows before it is stored: no message, no acknowledgement, no end; and that a
// snapshot that is taken meanwhile brings nothing back.
func TestShownOnceStored(t *testing.T) {
	dir := t.TempDir()
	s := startDurable(t, dir, Options{})
	m, doomed := open(t, s.Server), open(t, s.Server)
	mustPost(t, s.Server, m.Address, "1", "2")
	at := mailbox.Cursor{Epoch: m.Cursor.Epoch, Seq: 1}

	j := s.member.current()
	gate := make(chan struct{})
	if err := j.flush(ctx); err != nil {
		t.Fatal(err)
	}
	j.mu.Lock() // run looks at the log only after it took a commit
	j.log = &gated{j.log, gate}
	j.mu.Unlock()
	done := make(chan error, 4)
	go func() { done <- s.Ack(grant(t, s.Server, m.Key.Reveal()), at) }()
	go func() { done <- post(s.Server, m.Address, "3") }()
	go func() { done <- s.Close(grant(t, s.Server, doomed.Key.Reveal())) }()
	until(t, "all of it waits for the log", func() bool {
		b, err := s.box(grant(t, s.Server, m.Key.Reveal()).Mailbox())
		if err != nil {
			t.Fatal(err)
		}
		d, err := s.box(grant(t, s.Server, doomed.Key.Reveal()).Mailbox())
		if err != nil {
			t.Fatalf("the mailbox that is closed is gone before that is stored: %v", err)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		d.mu.Lock()
		defer d.mu.Unlock()
		return b.acking == 1 && b.mail.Last().Seq == 3 && d.ending() != nil
	})
	expectHolds(t, s.Server, m, "1", "2")
	go func() { done <- s.Snapshot(ctx) }()
	close(gate)
	for range 4 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	expectHolds(t, s.Server, m, "2", "3")
	if err := post(s.Server, doomed.Address, "4"); err != ErrClosed {
		t.Errorf("a message for the closed mailbox: %v, want %v", err, ErrClosed)
	}
	s.crash(t)
	s = startDurable(t, dir, Options{})
	expectHolds(t, s.Server, m, "2", "3")
	if err := post(s.Server, doomed.Address, "4"); err != ErrClosed {
		t.Errorf("a message for the closed mailbox: %v, want %v", err, ErrClosed)
	}
}

// TestSnapshotOfManyWatches: all that a mailbox may hold can be stored anew, however long an entry of the log may be.
func TestSnapshotOfManyWatches(t *testing.T) {
	dir := t.TempDir()
	s := startDurable(t, dir, Options{})
	m := open(t, s.Server)
	target := address.Description{Kind: address.Mailbox, Mailbox: grant(t, s.Server, m.Key.Reveal()).Mailbox()}
	const most = 1000
	for i := range most {
		w := mailbox.Watch{Ref: fmt.Sprintf("%0128d", i), Reply: strings.Repeat("x", address.MaxText)}
		if err := s.watch(target.Mailbox, &w, false); err != nil {
			t.Fatal(err)
		}
	}
	mustPost(t, s.Server, m.Address, "1")
	want := s.watchesOf(&target)
	for range 2 {
		taken, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- s.Snapshot(taken) }()
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
		case <-taken.Done():
			t.Fatal("the snapshot does not end")
		}
		s.crash(t)
		s = startDurable(t, dir, Options{})
		if got := s.watchesOf(&target); len(got) != most || !slices.Equal(got, want) {
			t.Fatalf("%d watches after a restart, want %d", len(got), most)
		}
		expectHolds(t, s.Server, m, "1")
	}
}

// TestTooLongForTheLog: a record that the log can't take is refused, and not in the way of others.
func TestTooLongForTheLog(t *testing.T) {
	s := startDurable(t, t.TempDir(), Options{})
	m := open(t, s.Server)
	most := s.log.MaxEntry() - mailbox.EntryHeaderSize
	for size, want := range map[int]error{most: nil, most + 1: ErrUnavailable} {
		r := mailbox.Record{Type: mailbox.Claimed, Shards: make([]uint8, size-5)} // the type, a length of three bytes, and an epoch
		if got := len(r.AppendTo(nil)); got != size {
			t.Fatalf("a record of %d bytes, want %d", got, size)
		}
		if err := s.member.current().add(&r).wait(); !errors.Is(err, want) {
			t.Errorf("a record of %d bytes, of %d: %v, want %v", size, most, err, want)
		}
		mustPost(t, s.Server, m.Address, "1")
	}
}

// TestSnapshotKeepsAcknowledged holds that a message whose acknowledgement is in the log already, but not done yet,
// is not written anew behind it.
func TestSnapshotKeepsAcknowledged(t *testing.T) {
	s := startDurable(t, t.TempDir(), Options{})
	m := open(t, s.Server)
	mustPost(t, s.Server, m.Address, "1", "2")
	b, err := s.box(grant(t, s.Server, m.Key.Reveal()).Mailbox())
	if err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	b.acking = 1
	b.mu.Unlock()
	if err := s.Snapshot(ctx); err != nil {
		t.Fatal(err)
	}
	var kept []uint64
	var state mailbox.Record
	err = mailbox.NewReplay(s.log, func(r *mailbox.Record, _ *mailbox.Origin) error {
		switch r.Type {
		case mailbox.Restated:
			state = *r
		case mailbox.Kept:
			kept = append(kept, r.Message.Seq)
		}
		return nil
	}).Read(ctx)
	if err != nil || len(kept) != 1 || kept[0] != 2 || state.Seq != 1 || state.Floor != 1 {
		t.Errorf("the snapshot keeps %v, acknowledged %d, gone %d, %v; want message 2, 1, 1", kept, state.Seq, state.Floor, err)
	}
}
