package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/genbrowser/genbrowser/mailbox"
)

// history is what a log tells of some shards: who owns them, and what is in them.
type history struct {
	server *Server
	owner  [shardCount]string // lanes; empty for none
	boxes  [shardCount]*boxes // nil where it was not asked for
	ended  []ended
	untold map[uuid.UUID][]telling // of the ends of mailboxes that may not have been told
	paused [shardCount]time.Time   // the clock of the last owner, when it was owner last
	replay *mailbox.Replay
}

type ended struct {
	id  uuid.UUID
	why error
}

// readHistory reads the log from its beginning, or on from what is known, if that is of these shards.
func (s *Server) readHistory(ctx context.Context, log mailbox.Log, shards []uint8, known *history) (*history, error) {
	h := known
	if h == nil || !h.covers(shards) {
		h = s.newHistory(log, shards)
	}
	for {
		if err := h.replay.Read(ctx); !errors.Is(err, mailbox.ErrTrimmed) {
			return h, err
		}
		h = s.newHistory(log, h.shards()) // what was trimmed is told again further on
	}
}

func (s *Server) newHistory(log mailbox.Log, shards []uint8) *history {
	h := &history{server: s, untold: make(map[uuid.UUID][]telling)}
	for _, i := range shards {
		h.boxes[i] = new(boxes)
	}
	h.replay = mailbox.NewReplay(patientLog{log}, h.apply)
	return h
}

// readPatience is how long nothing may come of a log that is read. How long all of it takes depends on the log, and on the disk.
const readPatience = 2 * time.Minute

var errNothingComes = fmt.Errorf("the log can't be read: nothing came of it for %v", readPatience)

// patientLog is read for as long as something comes.
type patientLog struct{ mailbox.Log }

func (p patientLog) Read(ctx context.Context, from uint64, f func(mailbox.Entry) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	idle := time.AfterFunc(readPatience, func() { cancel(errNothingComes) })
	defer idle.Stop()
	err := p.Log.Read(ctx, from, func(e mailbox.Entry) error {
		idle.Reset(readPatience)
		return f(e)
	})
	if err != nil && context.Cause(ctx) == errNothingComes {
		return errNothingComes
	}
	return err
}

// shards returns those that are being read.
func (h *history) shards() (shards []uint8) {
	for i, boxes := range h.boxes {
		if boxes != nil {
			shards = append(shards, uint8(i))
		}
	}
	return shards
}

// forget reads no more of some shards, whose mailboxes somebody has now.
func (h *history) forget(shards []uint8) {
	for _, i := range shards {
		h.boxes[i] = nil
	}
	maps.DeleteFunc(h.untold, func(id uuid.UUID, _ []telling) bool { return h.boxes[shardOf(id)] == nil })
}

// covers reports whether all these shards are being read.
func (h *history) covers(shards []uint8) bool {
	return !slices.ContainsFunc(shards, func(i uint8) bool { return h.boxes[i] == nil })
}

// apply does what a record says.
func (h *history) apply(r *mailbox.Record, from *mailbox.Origin) error {
	switch r.Type {
	case mailbox.Claimed:
		for _, i := range r.Shards {
			if i < shardCount && h.owner[i] == "" {
				h.gain(i, r.Epoch, from)
			}
		}
	case mailbox.Owned:
		for _, i := range r.Shards {
			if i < shardCount {
				h.owner[i] = from.Lane
			}
		}
	case mailbox.Released:
		for _, i := range r.Shards {
			if i < shardCount {
				h.release(i, from.Lane, from.Clock)
			}
		}
	case mailbox.Sealed:
		for i := range h.owner {
			h.release(uint8(i), from.Lane, from.Clock)
		}
	default:
		return h.change(r, from.Clock)
	}
	return nil
}

// gain gives a shard an owner. The time that it had none does not count for its mailboxes, and their readers are gone. If
// the end of the log may have been lost before, renewal is not 0: what readers saw may be gone.
func (h *history) gain(shard uint8, renewal uint32, from *mailbox.Origin) {
	h.owner[shard] = from.Lane
	then := h.paused[shard]
	if then.IsZero() {
		then = from.Clock
	}
	if h.boxes[shard] == nil {
		return
	}
	for _, b := range h.boxes[shard].list {
		b.mail.Resume(then, from.Clock)
		b.mail.Renew(renewal)
	}
}

func (h *history) release(shard uint8, lane string, clock time.Time) {
	if h.owner[shard] == lane {
		h.owner[shard], h.paused[shard] = "", clock
	}
}

// change does what a record says of one mailbox.
func (h *history) change(r *mailbox.Record, at time.Time) error {
	id := uuid.UUID(r.Mailbox)
	boxes := h.boxes[shardOf(id)]
	if boxes == nil {
		return nil
	}
	b := boxes.get(id)
	switch {
	case r.Type == mailbox.Opened || r.Type == mailbox.Restated:
		if b == nil {
			b = h.server.newBox(id, nil, mailbox.Mailbox{})
			boxes.add(b)
		}
		b.setConfig(slices.Clone(r.Config))
		b.mail = mailbox.Restore(&h.server.limits, r, at)
	case r.Type == mailbox.Ended:
		boxes.remove(id)
		why := reasonOf(r.Reason)
		h.ended = append(h.ended, ended{id, why})
		if b == nil {
			break
		}
		if all := tellings(why, r.Detail, b.mail.Watches(), b.mail.Calls()); len(all) > 0 {
			h.untold[id] = all
		}
	case r.Type == mailbox.Told:
		delete(h.untold, id)
	case r.Type == mailbox.Untold:
		h.untold[id] = appendUntold(h.untold[id], r)
	case b == nil:
		// restated further on, or ended before: the log was trimmed in between
	default:
		return b.mail.Apply(r, at)
	}
	return nil
}

// reasons are what the log keeps of why a mailbox ended.
var reasons = map[error]mailbox.Reason{ErrClosed: mailbox.Closed, ErrExpired: mailbox.Expired, ErrExited: mailbox.Exited}

func reasonOf(r mailbox.Reason) error {
	for why, reason := range reasons {
		if reason == r {
			return why
		}
	}
	return ErrGone
}

// ownedBy returns those of the shards that were asked for which the lane owns.
func (h *history) ownedBy(lane string) (shards []uint8) {
	return slices.DeleteFunc(h.shards(), func(i uint8) bool { return h.owner[i] != lane })
}
