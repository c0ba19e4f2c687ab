package server

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
)

const (
	// snapshotChunk is how many bytes of a snapshot are under way at once, so that senders need not wait for more.
	snapshotChunk = 256 << 10
	// snapshotCheck is how often the log's growth is looked at.
	snapshotCheck = time.Second
	// snapshotPause is how long it takes at most until one that failed is tried again: each makes the log longer.
	snapshotPause = time.Hour
	// restatedCost is about how long a mailbox without messages is in the log, in bytes.
	restatedCost = 64
)

// keepLogShort takes a snapshot whenever the log has grown by more than what is in the mailboxes: then, on average,
// each byte is written twice, and a restart reads three times what it needs at most.
func (s *Server) keepLogShort() {
	ctx, cancel := context.WithCancel(context.Background())
	s.background.Go(func() {
		<-s.done
		cancel() // a log that is out of reach would be trimmed for ever
	})
	ticker := time.NewTicker(snapshotCheck)
	defer ticker.Stop()
	pause, next := snapshotCheck, time.Time{}
	for {
		select {
		case <-s.done:
			return
		case <-ticker.C:
		}
		if err := s.member.trimDue(ctx); err != nil {
			s.log.Error("the log was not shortened", "error", err)
		}
		if time.Now().Before(next) {
			continue
		}
		live := s.bytes.Load() + s.mailboxes.Load()*restatedCost
		j := s.member.current()
		if j.ready() != nil || j.written.Load() < s.tooLong(live, s.counters.log.snapshotSize.Load()) && !s.cluster.holdsUpTrim() {
			continue
		}
		err := s.Snapshot(ctx)
		if err == nil {
			pause = snapshotCheck
			continue
		}
		pause = min(2*pause, snapshotPause)
		next = time.Now().Add(pause)
		s.log.Error("the log was not shortened", "error", err, "again", pause)
	}
}

// tooLong returns how many bytes make a log worth a snapshot, with so many in the mailboxes, and in the newest snapshots:
// what these say of watches and names is in no mailbox.
func (s *Server) tooLong(live, snapshots int64) int64 { return max(s.snapshot, 2*live, 2*snapshots) }

// Snapshot writes all that the log must say to its end, while the server goes on, and trims what came before, once that
// can't be lost any more. A mailbox that changes meanwhile is changed by the records that follow its own in the snapshot.
func (s *Server) Snapshot(ctx context.Context) error {
	began := time.Now()
	if s.member == nil {
		return nil
	}
	j := s.member.current()
	before := j.written.Load()
	s.member.noteSnapshot(began)
	w := &snapshotWriter{journal: j}
	owned := w.addOwned(s)
	if err := w.flush(); err != nil {
		return fmt.Errorf("server: snapshot: %w", err)
	}
	first := w.first
	s.gone.each(func(id uuid.UUID, why error) {
		// a node that lost its shards for a while may have ended, for itself, what lives on elsewhere
		if _, err := s.box(id); err != nil && err != errElsewhere {
			w.add(&mailbox.Record{Type: mailbox.Ended, Mailbox: id, Reason: reasons[why]})
		}
	})
	for _, o := range owned {
		for _, b := range s.shards[o.Shard].all() {
			b.restate(w)
			if err := w.flushIfFull(); err != nil {
				return fmt.Errorf("server: snapshot: %w", err)
			}
		}
	}
	for _, id := range s.untold.mailboxes() { // after the mailboxes, of which one may have ended meanwhile
		if s.shard(id).isOwned() {
			s.untold.restate(id, w)
		}
		if err := w.flushIfFull(); err != nil {
			return fmt.Errorf("server: snapshot: %w", err)
		}
	}
	if err := w.flush(); err != nil {
		return fmt.Errorf("server: snapshot: %w", err)
	}
	for _, o := range owned {
		s.shards[o.Shard].raiseFloor(o.Since, first)
	}
	j.written.Add(-before)
	s.counters.log.snapshot(w.bytes, time.Since(began))
	if s.cluster == nil {
		if err := s.member.trim(ctx, first); err != nil {
			return fmt.Errorf("server: snapshot: %w", err)
		}
	}
	s.log.Info("snapshot", "first", first, "bytes", w.bytes, "took", time.Since(began))
	return nil
}

// restate adds the mailbox's records, with none of another change between them.
func (b *box) restate(w *snapshotWriter) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over() != nil {
		return
	}
	now := b.server.clock.now()
	waits := func(call *mailbox.Meta) bool { return b.server.waits(call, now) }
	_, before := b.mail.Len()
	// what was acknowledged already, further up in the log, must not come back
	for _, r := range b.mail.State(b.id, b.config(), b.acking, waits, now) {
		w.add(&r)
	}
	_, after := b.mail.Len()
	b.server.account(after - before) // what expired is gone
}

// waits reports whether who called may still be told something.
func (s *Server) waits(call *mailbox.Meta, now time.Time) bool {
	if s.offline {
		return true
	}
	var g address.Grant
	return s.keys.Verify(&g, call.Reply) == nil && g.Permit(address.Send, now) == nil
}

// snapshotWriter adds records to the journal, and waits for it.
type snapshotWriter struct {
	journal *journal
	newest  *commit
	failed  error // why a record will not be stored
	waiting int   // bytes
	bytes   int
	first   uint64 // place of the first entry
}

// addOwned begins with who owns what, and returns it. No shard changes hands meanwhile: a shard that was released
// would be owned again.
func (w *snapshotWriter) addOwned(s *Server) []ownedShard {
	if s.cluster != nil {
		s.cluster.owning.Lock()
		defer s.cluster.owning.Unlock()
	}
	owned := s.ownedShards()
	shards := make([]uint8, len(owned))
	for i, o := range owned {
		shards[i] = o.Shard
	}
	w.add(&mailbox.Record{Type: mailbox.Owned, Shards: shards})
	return owned
}

func (w *snapshotWriter) add(r *mailbox.Record) {
	w.newest = w.journal.add(r)
	if err, refused := w.newest.refused(); refused {
		w.failed = cmp.Or(w.failed, err)
	}
	size := len(r.Message.Body) + len(r.Config) + len(r.Watch.Ref) + len(r.Watch.Reply) + len(r.Process) + len(r.Names)*(16+2) + restatedCost
	if m := r.Message.Meta; m != nil {
		size += len(m.Ref) + len(m.Reply)
	}
	w.waiting += size
	w.bytes += size
}

func (w *snapshotWriter) flushIfFull() error {
	if w.waiting < snapshotChunk {
		return nil
	}
	return w.flush()
}

func (w *snapshotWriter) flush() error {
	w.waiting = 0
	if err := cmp.Or(w.newest.wait(), w.failed); err != nil {
		return err
	}
	if w.first == 0 {
		w.first = w.newest.seq
	}
	return nil
}
