package server

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/genbrowser/genbrowser/mailbox"
)

// recover makes the mailboxes what the log says they were, and takes it over from those who wrote it.
func (s *Server) recover(log mailbox.Log) error {
	ctx := context.Background()
	began := time.Now()
	if err := s.checkEntrySize(log); err != nil {
		return err
	}
	if err := sealOthers(ctx, log); err != nil {
		return err
	}
	seen, err := mailbox.Replay(ctx, log, s.apply)
	if err != nil {
		return fmt.Errorf("server: %w", err)
	}
	s.journal = newJournal(log, s.clock, seen, s.log)
	for i := range s.shards {
		for _, b := range s.shards[i].boxes {
			s.resume(b, seen.Clock)
		}
	}
	if seen.Records > 0 {
		debug.FreeOSMemory() // reading the log left as much garbage as there is state
		s.log.Info("mailboxes recovered", "mailboxes", s.mailboxes.Load(), "bytes", s.bytes.Load(),
			"entries", seen.Entries, "records", seen.Records, "took", time.Since(began))
	}
	return nil
}

// checkEntrySize reports limits under which one record could be longer than an entry.
func (s *Server) checkEntrySize(log mailbox.Log) error {
	const (
		perName = 16 + 5  // in a restated mailbox
		other   = 8 << 10 // an envelope's members, numbers, the entry's header
	)
	most := log.MaxEntry() - other
	if s.limits.Body > most {
		return fmt.Errorf("server: limit of a body: this log takes at most %d bytes", most)
	}
	if s.limits.Names*perName > most-maxConfig {
		return fmt.Errorf("server: limit of names: this log takes at most %d", (most-maxConfig)/perName)
	}
	return nil
}

// maxConfig is how long the config of one mailbox may be, in bytes, if it is to be stored.
const maxConfig = 64 << 10

// sealOthers makes sure that nobody else appends to the log.
func sealOthers(ctx context.Context, log mailbox.Log) error {
	lanes, err := log.Lanes(ctx)
	if err != nil {
		return fmt.Errorf("server: %w", err)
	}
	for _, newest := range lanes {
		if err := log.Seal(ctx, newest.Lane, newest.Seq); err != nil {
			return fmt.Errorf("server: %w", err)
		}
	}
	return nil
}

// apply does what a record says.
func (s *Server) apply(r *mailbox.Record, at time.Time) error {
	id := uuid.UUID(r.Mailbox)
	boxes := s.shard(id).boxes
	b := boxes[id]
	switch {
	case r.Type == mailbox.Opened || r.Type == mailbox.Restated:
		if b == nil {
			b = s.newBox(id, nil, mailbox.Mailbox{})
			boxes[id] = b
		}
		b.config = slices.Clone(r.Config)
		b.mail = mailbox.Restore(&s.limits, r, at)
	case r.Type == mailbox.Ended:
		delete(boxes, id)
		s.gone.add(id, reasonOf(r.Reason))
	case b == nil:
		// it is restated further on, or ended before: the log was trimmed in between
	default:
		return b.mail.Apply(r, at)
	}
	return nil
}

func reasonOf(r mailbox.Reason) error {
	if r == mailbox.Closed {
		return ErrClosed
	}
	return ErrExpired
}

// resume lets a mailbox go on after a pause that began at then.
func (s *Server) resume(b *box, then time.Time) {
	now := s.clock.now()
	b.mail.Resume(then, now)
	b.log = s.journal
	b.visible = b.mail.Last().Seq
	_, bytes := b.mail.Len()
	s.account(bytes)
	s.mailboxes.Add(1)
	if deadline, asleep := b.mail.Deadline(); asleep {
		s.asleep.Set(&b.expiry, deadline)
	}
}
