package mailbox

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"
)

// Replayed is what a [Replay] saw.
type Replayed struct {
	Entries, Records, Bytes uint64
	First, Last             uint64    // places of the oldest and the newest entry; 0 for none
	Floor                   uint64    // up to here the log was trimmed
	Clock                   time.Time // of the newest entry
}

// Origin is where a record comes from.
type Origin struct {
	Lane  string
	Seq   uint64    // of its entry
	Clock time.Time // of its entry; of a Sealed record, of the lane's newest entry, zero if none was seen
}

// Replay reads a log from its beginning, and reads on. It sees to it that every entry is whole and that none is missing
// after the place that the log was trimmed to. Make one with [NewReplay].
type Replay struct {
	log       Log
	f         func(*Record, *Origin) error
	seen      Replayed
	skipped   uint64 // if the log was trimmed up to behind here, an entry was not seen; 0: it can't be
	lanes     map[string]laneEnd
	restating map[[16]byte]*restating
}

// NewReplay returns one that calls f with each record, and with a Sealed one for each end of a lane. A mailbox whose
// writer ended while it restated it is not restated: f gets a Restated record and those that belong to it together, or
// none.
func NewReplay(log Log, f func(*Record, *Origin) error) *Replay {
	return &Replay{log: log, f: f, lanes: make(map[string]laneEnd), restating: make(map[[16]byte]*restating)}
}

// Seen returns what was read so far.
func (r *Replay) Seen() Replayed { return r.seen }

// Read reads what was stored since the last Read, up to when this one began. If the log is damaged, the error is an
// [ErrDamaged] that names the entry; if it was trimmed where it was not read yet, [ErrTrimmed]. After an error only a
// new Replay can tell what is in the log.
func (r *Replay) Read(ctx context.Context) error {
	from := uint64(0)
	if r.seen.Last > 0 {
		from = r.seen.Last + 1
	}
	r.skipped = from
	err := r.log.Read(ctx, from, r.entry)
	if err == nil && r.seen.First > max(r.seen.Floor, 1) {
		err = fmt.Errorf("%w: it begins with entry %d; entries from %d on are missing", ErrDamaged, r.seen.First, max(r.seen.Floor, 1))
	}
	if errors.Is(err, ErrDamaged) {
		r.skipped = r.seen.First
	}
	if r.skipped == 0 || err != nil && !errors.Is(err, ErrDamaged) {
		return err
	}
	now, failed := r.log.Stats(ctx)
	if failed == nil && now.First > r.skipped {
		return ErrTrimmed
	}
	return errors.Join(err, failed)
}

// restating is a Restated record, and as many of those that belong to it as were read.
type restating struct {
	records []Record
	origin  Origin
}

// laneEnd is the newest entry of a lane.
type laneEnd struct {
	seq   uint64
	clock time.Time
}

func (r *Replay) entry(e Entry) error {
	if r.seen.First == 0 {
		r.seen.First = e.Seq
	}
	origin := Origin{Lane: e.Lane, Seq: e.Seq}
	if e.Seal {
		origin.Clock = r.lanes[e.Lane].clock
		if err := r.follows(&e, e.After, origin.Clock); err != nil {
			return fmt.Errorf("entry %d: %w", e.Seq, err)
		}
		maps.DeleteFunc(r.restating, func(_ [16]byte, s *restating) bool { return s.origin.Lane == e.Lane })
		return r.f(&Record{Type: Sealed}, &origin)
	}
	h, records, err := ParseEntry(e.Data)
	if err == nil {
		err = r.follows(&e, h.Prev, h.Clock)
	}
	if err != nil {
		return fmt.Errorf("entry %d: %w", e.Seq, err)
	}
	origin.Clock = h.Clock
	r.seen.Clock = h.Clock
	r.seen.Floor = max(r.seen.Floor, h.Floor)
	r.seen.Entries++
	r.seen.Bytes += uint64(len(e.Data))
	if err := r.records(records, &origin); err != nil {
		return fmt.Errorf("entry %d: %w", e.Seq, err)
	}
	return nil
}

// follows checks that the lane's entry before e is the one that e says it is.
func (r *Replay) follows(e *Entry, prev uint64, clock time.Time) error {
	before, seen := r.lanes[e.Lane]
	if prev != before.seq && (seen || prev >= r.seen.First) {
		return fmt.Errorf("%w: it follows entry %d, which is missing", ErrDamaged, prev)
	}
	// one alone may be an entry whose write was broken off, or the seal of a lane; neither tells anything
	if r.seen.Last != 0 && e.Seq > r.seen.Last+2 {
		return fmt.Errorf("%w: entries %d to %d are missing", ErrDamaged, r.seen.Last+1, e.Seq-1)
	}
	if r.seen.Last != 0 && e.Seq == r.seen.Last+2 {
		r.skipped = r.seen.Last + 1
	}
	r.lanes[e.Lane] = laneEnd{e.Seq, clock}
	r.seen.Last = e.Seq
	return nil
}

func (r *Replay) records(records []byte, origin *Origin) error {
	for len(records) > 0 {
		record, rest, err := ParseRecord(records)
		if err == nil {
			err = r.record(&record, origin)
		}
		if err != nil {
			return err
		}
		r.seen.Records++
		records = rest
	}
	return nil
}

func (r *Replay) record(record *Record, origin *Origin) error {
	switch record.Type {
	case Restated:
		r.restating[record.Mailbox] = &restating{origin: *origin}
	case Kept, KeptWatch, KeptCall, KeptFollow:
	default:
		return r.f(record, origin)
	}
	s := r.restating[record.Mailbox]
	if s == nil {
		return nil // the log was trimmed behind the Restated one, and begins anew further on
	}
	s.records = append(s.records, *record)
	if uint64(len(s.records)) <= s.records[0].Kept {
		return nil
	}
	delete(r.restating, record.Mailbox)
	for i := range s.records {
		if err := r.f(&s.records[i], &s.origin); err != nil {
			return err
		}
	}
	return nil
}
