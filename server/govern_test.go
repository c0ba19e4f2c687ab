package server

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/mailbox"
)

// TestTrimWithIdleNodes: the log gets shorter although all the traffic is one node's.
func TestTrimWithIdleNodes(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 3, Options{Snapshot: 64 << 10})
	busy := nodes[0]
	m := open(t, busy.Server)
	quietOnes := []Mailbox{farMailbox(t, nodes[1]), farMailbox(t, nodes[2])}
	for _, q := range quietOnes {
		mustPost(t, busy.Server, q.Address, `"kept"`)
	}
	sub, r := subscribe(t, nodes[1].Server, m, Subscribing{})
	defer sub.Close()
	written := 0
	first := func() uint64 {
		stats, err := busy.log.Stats(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return stats.First
	}
	began := first()
	await(t, 20*time.Second, "the log is trimmed twice", func() bool {
		mustPost(t, busy.Server, m.Address, quoted(2000))
		collect(t, sub, r, 1)
		written += 2000
		if now := first(); now > began+200 {
			return true
		}
		return false
	})
	stats, err := busy.log.Stats(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if written > 1<<20 && stats.Bytes > uint64(written) {
		t.Errorf("the log has %d bytes after %d were written", stats.Bytes, written)
	}
	// what is left of it tells everything
	nodes[1].leave(t)
	nodes[2].leave(t)
	awaitShare(t, busy)
	for _, q := range quietOnes {
		sub, r := subscribe(t, busy.Server, q, Subscribing{})
		if got := collect(t, sub, r, 1); !slices.Equal(got, []string{`"kept"`}) {
			t.Errorf("read %v of a mailbox of an idle node", got)
		}
		sub.Close()
	}
}

// TestTrimWithDeadLane: a lane whose node died before anybody heard of it does not keep the log long for ever.
func TestTrimWithDeadLane(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2, Options{patience: usual, Snapshot: 32 << 10})
	dead := natsLog(t, nodes[0].log.Conn().ConnectedUrl())
	entry := make([]byte, mailbox.EntryHeaderSize)
	(&mailbox.EntryHeader{Clock: time.Now()}).Put(entry)
	at, err := dead.Append(ctx, entry)
	if err != nil {
		t.Fatal(err)
	}
	m := open(t, nodes[0].Server)
	sub, r := subscribe(t, nodes[0].Server, m, Subscribing{})
	defer sub.Close()
	await(t, 20*time.Second, "the log is trimmed beyond the dead lane", func() bool {
		mustPost(t, nodes[0].Server, m.Address, quoted(2000))
		collect(t, sub, r, 1)
		stats, err := nodes[0].log.Stats(ctx)
		return err == nil && stats.First > at
	})
}

// TestSnapshotOfWhatIsGone: what a node holds for ended, of shards that it does not own, ends nothing elsewhere.
func TestSnapshotOfWhatIsGone(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2, Options{})
	a, b := nodes[0], nodes[1]
	m := farMailbox(t, a, b)
	mustPost(t, b.Server, m.Address, "1")
	b.gone.add(grant(t, b.Server, m.Key.Reveal()).Mailbox(), ErrExpired)
	if err := b.Snapshot(ctx); err != nil {
		t.Fatal(err)
	}
	a.leave(t) // b takes the shard, and reads what it wrote
	awaitShare(t, b)
	sub, r := subscribe(t, b.Server, m, Subscribing{})
	defer sub.Close()
	if got := collect(t, sub, r, 1); !slices.Equal(got, []string{"1"}) {
		t.Errorf("read %v, want 1", got)
	}
}

// TestSnapshotWhileShardsMove: a shard that is handed over while a snapshot begins is not owned again by it.
func TestSnapshotWhileShardsMove(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2, Options{})
	a, b := nodes[0], nodes[1]
	stop := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				ended <- nil
				return
			default:
			}
			if err := a.Snapshot(ctx); err != nil && !errors.Is(err, ErrUnavailable) { // the machine stood still
				ended <- err
				return
			}
		}
	}()
	for range 20 {
		a.cluster.owning.Lock()
		shards := a.member.owned()
		err := a.member.release(ctx, shards[:1])
		a.cluster.owning.Unlock()
		if err != nil {
			t.Fatal(err)
		}
		i := shards[0]
		await(t, 10*time.Second, "the shard is owned again", func() bool { return a.shards[i].isOwned() || b.shards[i].isOwned() })
	}
	close(stop)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	h, err := a.readHistory(ctx, a.log, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, lane := range h.owner {
		if want := map[bool]string{true: a.id(), false: b.id()}[a.shards[i].isOwned()]; lane != want {
			t.Errorf("the log says that %s owns shard %d, want %s", lane, i, want)
		}
	}
}

// TestNothingExpiresUnsure: a node that can't be sure that it owns a mailbox does not end it for having slept.
func TestNothingExpiresUnsure(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2, Options{Limits: mailbox.Limits{Asleep: time.Second}})
	a := nodes[0]
	m := open(t, a.Server)
	id := grant(t, a.Server, m.Key.Reveal()).Mailbox()
	b, err := a.box(id)
	if err != nil {
		t.Fatal(err)
	}
	j := a.member.current()
	stall := func(on bool) { j.stalled.Store(on) }
	a.wheel.Stop(b)
	await(t, 5*time.Second, "it has slept too long", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		deadline, asleep := b.mail.Deadline()
		return asleep && deadline.Before(a.clock.now())
	})
	stall(true)
	b.Fire()
	if _, err := a.box(id); err != nil {
		t.Errorf("the mailbox ended: %v", err)
	}
	stall(false)
	await(t, 10*time.Second, "it ends once the node is sure", func() bool {
		_, err := nodes[1].Describe(grant(t, a.Server, m.Key.Reveal()))
		return errors.Is(err, ErrExpired) || errors.Is(err, ErrGone)
	})
}

// TestCutOffWhileClaiming: a node that can't reach the log while it reads what it claimed sends its readers away all the
// same, and goes on once it can.
func TestCutOffWhileClaiming(t *testing.T) {
	t.Parallel()
	url := startNATS(t)
	log := &deafLog{Log: natsLog(t, url), reading: make(chan struct{}, 100)}
	a, b := startNodeOn(t, log, "a", Options{patience: usual}), startNode(t, url, "b", Options{patience: usual})
	awaitShare(t, a, b)
	sub, r := subscribe(t, a.Server, open(t, a.Server), Subscribing{})
	defer sub.Close()
	log.read.Store(true)
	b.leave(t) // a claims its shards
	select {
	case <-log.reading:
	case <-time.After(10 * time.Second):
		t.Fatal("nothing is claimed")
	}
	log.append.Store(true)
	select {
	case why := <-r.ended:
		if !errors.Is(why, ErrMoved) {
			t.Errorf("the reader was ended with %v, want ErrMoved", why)
		}
	case <-time.After(10 * time.Second):
		t.Error("the reader was not ended")
	}
	log.read.Store(false)
	log.append.Store(false)
	awaitShare(t, a)
}

// TestLeaveAtOnce: a node that is told to stop while it is being started leaves nothing behind.
func TestLeaveAtOnce(t *testing.T) {
	t.Parallel()
	url := startNATS(t)
	for range 3 {
		n := startNode(t, url, "n", Options{})
		n.leave(t)
	}
	log := natsLog(t, url)
	within, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if lanes, err := log.Lanes(within); err != nil || len(lanes) != 0 {
		t.Errorf("%d lanes are left open, %v", len(lanes), err)
	}
}
