package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
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
		return b.acking == 1 && b.mail.Last().Seq == 3 && d.ending != nil
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

// TestFloorOfUntold: who can't be told does not keep the log from being trimmed for long.
func TestFloorOfUntold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sh := &shard{}
		sh.own(boxes{}, nil, 1, 10)
		for _, step := range []struct {
			after  time.Duration
			first  uint64
			untold bool
			want   uint64
		}{
			{0, 20, false, 20},
			{0, 30, true, 20},
			{time.Second, 40, true, 20},
			{2 * tellPatience, 50, true, 30}, // who was to be told at 30 was told by now, or can't be
			{time.Second, 60, true, 30},
			{2 * tellPatience, 70, true, 50},
			{time.Second, 80, false, 80},
			{0, 90, true, 80},
		} {
			time.Sleep(step.after)
			if sh.raiseFloor(1, step.first, step.untold); sh.floor != step.want {
				t.Errorf("a snapshot that begins at %d leaves the floor at %d, want %d", step.first, sh.floor, step.want)
			}
			sh.raiseFloor(2, 1000, false) // of a claim that is over
		}
	})
}

// TestTooLongForTheLog: a record that the log can't take is refused, and not in the way of others.
func TestTooLongForTheLog(t *testing.T) {
	s := startDurable(t, t.TempDir(), Options{})
	m := open(t, s.Server)
	most := s.log.MaxEntry() - mailbox.EntryHeaderSize
	for size, want := range map[int]error{most: nil, most + 1: ErrUnavailable} {
		r := mailbox.Record{Type: mailbox.Claimed, Shards: make([]uint8, size-4)} // the type, and a length of three bytes
		if got := len(r.AppendTo(nil)); got != size {
			t.Fatalf("a record of %d bytes, want %d", got, size)
		}
		if err := s.member.current().add(&r).wait(); !errors.Is(err, want) {
			t.Errorf("a record of %d bytes, of %d: %v, want %v", size, most, err, want)
		}
		mustPost(t, s.Server, m.Address, "1")
	}
}

// TestSnapshotKeepsUntold: who could not be told yet of a mailbox's end is told after a snapshot and a crash.
func TestSnapshotKeepsUntold(t *testing.T) {
	dir := t.TempDir()
	o := Options{Limits: mailbox.Limits{Backlog: 1}}
	s := startDurable(t, dir, o)
	watcher, m := open(t, s.Server), open(t, s.Server)
	ask(t, s.Server, mailbox.KindMonitor, "w", watcher, m.Address)
	mustPost(t, s.Server, watcher.Address, "1") // it has no room
	closeBox(t, s.Server, m)
	for range 2 {
		if err := s.Snapshot(ctx); err != nil {
			t.Fatal(err)
		}
	}
	s.crash(t)
	s = startDurable(t, dir, o)
	g := grant(t, s.Server, watcher.Key.Reveal())
	if err := s.Ack(g, mailbox.Cursor{Epoch: watcher.Cursor.Epoch, Seq: 1}); err != nil {
		t.Fatal(err)
	}
	sub, r := subscribe(t, s.Server, watcher, Subscribing{Hold: true})
	defer sub.Close()
	if got := collect(t, sub, r, 1); !strings.Contains(got[0], "closed") {
		t.Errorf("it is told %s", got)
	}
	// once it was, nothing holds the log up
	untold := &s.untold[shardOf(grant(t, s.Server, m.Key.Reveal()).Mailbox())]
	until(t, "all are told", func() bool { return untold.Load() == 0 })
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
