package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/mailbox/jetstream"
)

// TestSnapshotAccountsForWhatExpired holds that messages that a snapshot finds expired count for nothing any more.
func TestSnapshotAccountsForWhatExpired(t *testing.T) {
	s := startDurable(t, t.TempDir(), Options{})
	m := open(t, s.Server)
	for i := range 10 {
		named(t, s.Server, m, fmt.Sprint(i), `"short-lived"`, time.Second)
	}
	named(t, s.Server, m, "lasting", `"lasting"`, time.Hour)
	sent := time.Now()
	until(t, "the messages expired", func() bool { return time.Since(sent) > 2*time.Second })
	if err := s.Snapshot(ctx); err != nil {
		t.Fatal(err)
	}
	if got, want := s.Stats().Bytes, int64(len(`"lasting"`)); got != want {
		t.Errorf("%d bytes are in mailboxes, want %d", got, want)
	}
}

// TestSnapshotKeepsCalls holds that who called a mailbox that took the call, and did not answer, is told of its end, after a
// snapshot and a crash, too.
func TestSnapshotKeepsCalls(t *testing.T) {
	dir := t.TempDir()
	s := startDurable(t, dir, Options{})
	caller, callee := open(t, s.Server), open(t, s.Server)
	ask(t, s.Server, mailbox.KindCall, "taken", caller, callee.Address)
	ask(t, s.Server, mailbox.KindCall, "waits", caller, callee.Address)
	taken := mailbox.Cursor{Epoch: callee.Cursor.Epoch, Seq: 1}
	if err := s.Ack(grant(t, s.Server, callee.Key.Reveal()), taken); err != nil {
		t.Fatal(err)
	}
	if err := s.Snapshot(ctx); err != nil {
		t.Fatal(err)
	}
	s.crash(t)

	s = startDurable(t, dir, Options{})
	closeBox(t, s.Server, callee)
	const closed = ` {"type":"urn:gen-browser:closed","title":"The mailbox was closed","status":410}`
	expectTold(t, s.Server, caller, "failure taken"+closed, "failure waits"+closed)
}

// TestMailboxesEndWhileTheyAreTaken holds that those that expire just when their shard is taken are gone.
func TestMailboxesEndWhileTheyAreTaken(t *testing.T) {
	s := startDurable(t, t.TempDir(), Options{Limits: mailbox.Limits{Asleep: time.Millisecond}})
	one := []uint8{7}
	ids := make([]uuid.UUID, 20_000)
	var stored *commit
	for i := range ids {
		ids[i] = uuid.New()
		ids[i][15] = one[0]
		b := s.newBox(ids[i], nil, mailbox.New(&s.limits, 1, s.clock.now()))
		var err error
		if stored, err = s.shards[one[0]].open(b, &mailbox.Record{Type: mailbox.Opened, Epoch: 1}); err != nil {
			t.Fatal(err)
		}
		s.mailboxes.Add(1)
	}
	if err := stored.wait(); err != nil {
		t.Fatal(err)
	}
	s.member.disown(one)
	h, err := s.readHistory(ctx, s.log, one, nil)
	if err != nil {
		t.Fatal(err)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				s.wheel.Turn(time.Now())
			}
		}
	}()
	s.take(h, one[0], s.member.current(), 1)
	close(stop)
	<-stopped
	s.wheel.Turn(time.Now())
	until(t, "all are gone", func() bool { return s.Stats().Mailboxes == 0 })
	for _, id := range ids {
		if _, err := s.box(id); !errors.Is(err, ErrExpired) && !errors.Is(err, ErrGone) {
			t.Fatalf("%v ended, and there is %v", id, err)
		}
	}
}

// TestEpochsAfterALoss holds that a claim by somebody who may have lost the end of the log makes all cursors unknown, of
// whatever the last owner said, for there may have been another one since.
func TestEpochsAfterALoss(t *testing.T) {
	s := newServer(t, Options{})
	for _, end := range []mailbox.RecordType{mailbox.Sealed, mailbox.Released} {
		id := uuid.New()
		shards := []uint8{shardOf(id)}
		h := s.newHistory(nil, shards)
		for _, step := range []struct {
			lane string
			mailbox.Record
		}{
			{"a", mailbox.Record{Type: mailbox.Claimed, Shards: shards, Epoch: 3}}, // there is nothing yet
			{"a", mailbox.Record{Type: mailbox.Opened, Mailbox: id, Epoch: 9}},
			{"b", mailbox.Record{Type: mailbox.Claimed, Shards: shards, Epoch: 7}}, // it has an owner
			{"a", mailbox.Record{Type: end, Shards: shards}},
			{"b", mailbox.Record{Type: mailbox.Claimed, Shards: shards, Epoch: 5}},
			{"b", mailbox.Record{Type: end, Shards: shards}},
			{"a", mailbox.Record{Type: mailbox.Claimed, Shards: shards}}, // nothing was lost
		} {
			if err := h.apply(&step.Record, &mailbox.Origin{Lane: step.lane, Clock: time.Now()}); err != nil {
				t.Fatal(err)
			}
		}
		if got := h.boxes[shards[0]].get(id).mail.Last().Epoch; got != 9^5 {
			t.Errorf("after %v: epoch %d, want %d", end, got, 9^5)
		}
	}
}

// hardToTrim is a log that refuses to be trimmed once.
type hardToTrim struct {
	*jetstream.Log
	refuse atomic.Bool
}

func (h *hardToTrim) Trim(ctx context.Context, before uint64) error {
	if h.refuse.Swap(false) {
		return errors.New("not now")
	}
	return h.Log.Trim(ctx, before)
}

// TestTrimWaitsForTheDisk holds that what a snapshot made superfluous stays until the snapshot can't be lost any more, and goes
// then, though not at the first try.
func TestTrimWaitsForTheDisk(t *testing.T) {
	t.Parallel()
	for every, soon := range map[time.Duration]bool{0: true, 50 * time.Millisecond: true, time.Hour: false} {
		opened, err := jetstream.Open(ctx, jetstream.Options{Dir: t.TempDir(), SyncEvery: every, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		log := &hardToTrim{Log: opened}
		log.refuse.Store(every > 0)
		s := newServer(t, Options{Log: log, Logger: slog.New(slog.DiscardHandler)})
		defer s.Stop(ctx)
		open(t, s)
		first := func() uint64 {
			stats, err := log.Stats(ctx)
			if err != nil {
				t.Fatal(err)
			}
			return stats.First
		}
		if err := s.Snapshot(ctx); err != nil {
			t.Fatal(err)
		}
		if got := first(); (got > 1) != (every == 0) {
			t.Errorf("SyncEvery %v: after the snapshot the log begins with %d", every, got)
		}
		if soon {
			await(t, 10*time.Second, "the log is trimmed", func() bool { return first() > 1 })
			continue
		}
		if err := s.member.trimDue(ctx); err != nil || first() > 1 {
			t.Errorf("SyncEvery %v: the log begins with %d, %v", every, first(), err)
		}
	}
}

// TestDoubtIsShared holds that a node whose own log is whole heeds that another one's may not be.
func TestDoubtIsShared(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2, Options{})
	a, b := nodes[0], nodes[1]
	if got := a.member.renewal(); got != 0 {
		t.Errorf("epochs change by %d, and nobody is in doubt", got)
	}
	n := a.cluster.node(b.id())
	doubtful := n.beat
	doubtful.Doubt = true
	a.cluster.noteBeat(n, doubtful)
	if a.member.renewal() == 0 {
		t.Error("another node is in doubt, and epochs stay")
	}
	await(t, 5*time.Second, "its next beat says that it is not", func() bool { return a.member.renewal() == 0 })
}

// TestRestoredNode holds that a node tells of its doubt, and what is lost from then on is known.
func TestRestoredNode(t *testing.T) {
	t.Parallel()
	url := startNATS(t)
	log, err := jetstream.Open(ctx, jetstream.Options{URLs: []string{url}, Restored: true, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	a := startNode(t, url, "a", Options{patience: usual})
	await(t, 10*time.Second, "a owns all", func() bool { return len(a.member.owned()) == shardCount })
	b := startNodeOn(t, &deafLog{Log: log}, "b", Options{patience: usual})
	await(t, 10*time.Second, "a hears of the doubt", a.cluster.hearsDoubt) // which lasts until b knows who owns what
	await(t, 10*time.Second, "the doubt is over", func() bool { return !b.member.inDoubt() && !a.cluster.hearsDoubt() })
}

// TestNodeWhoseLogLostAnEntry begins anew, with what is in the log.
func TestNodeWhoseLogLostAnEntry(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2, Options{patience: usual})
	was := nodes[0].id()
	nodes[0].deaf.lost.Store(true)
	await(t, 20*time.Second, "the node is another one", func() bool { return nodes[0].id() != was })
	await(t, 20*time.Second, "both own some", func() bool {
		return len(nodes[0].member.owned())+len(nodes[1].member.owned()) == shardCount && len(nodes[0].member.owned()) > 0
	})
	m := open(t, nodes[0].Server)
	mustPost(t, nodes[1].Server, m.Address, "1")
}
