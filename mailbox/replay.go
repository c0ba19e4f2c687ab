package mailbox

import (
	"context"
	"fmt"
	"time"
)

// Replayed is what [Replay] saw.
type Replayed struct {
	Entries, Records, Bytes uint64
	First, Last             uint64    // places of the oldest and the newest entry; 0 for none
	Floor                   uint64    // up to here the log was trimmed
	Clock                   time.Time // of the newest entry
}

// Replay reads a log from its beginning and calls f with each record and its time. It sees to it that every
// entry is whole and that none is missing after the place that the log was trimmed to; if not, the error is an
// [ErrDamaged] that names the entry.
func Replay(ctx context.Context, log Log, f func(*Record, time.Time) error) (Replayed, error) {
	var seen Replayed
	lanes := make(map[string]uint64) // the newest entry of each
	err := log.Read(ctx, func(e Entry) error {
		if seen.First == 0 {
			seen.First = e.Seq
		}
		if e.Seal {
			seen.Last = e.Seq
			return nil
		}
		h, records, err := ParseEntry(e.Data)
		if err != nil {
			return fmt.Errorf("entry %d: %w", e.Seq, err)
		}
		if h.Prev != lanes[e.Lane] && (lanes[e.Lane] != 0 || h.Prev >= seen.First) {
			return fmt.Errorf("%w: entry %d follows entry %d, which is missing", ErrDamaged, e.Seq, h.Prev)
		}
		lanes[e.Lane] = e.Seq
		seen.Last = e.Seq
		seen.Floor = max(seen.Floor, h.Floor)
		seen.Entries++
		seen.Bytes += uint64(len(e.Data))
		seen.Clock = h.Clock
		for len(records) > 0 {
			var r Record
			if r, records, err = ParseRecord(records); err == nil {
				err = f(&r, h.Clock)
			}
			if err != nil {
				return fmt.Errorf("entry %d: %w", e.Seq, err)
			}
			seen.Records++
		}
		return nil
	})
	if err == nil && seen.First > max(seen.Floor, 1) {
		err = fmt.Errorf("%w: it begins with entry %d; entries from %d on are missing", ErrDamaged, seen.First, max(seen.Floor, 1))
	}
	return seen, err
}
