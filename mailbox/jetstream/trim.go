package jetstream

import (
	"context"
	"fmt"
)

// Trim implements [mailbox.Log]. It never goes beyond the newest entry of a lane that is not sealed. So a lane
// with nothing left in it was sealed, and a writer that comes late can't begin it anew.
func (l *Log) Trim(ctx context.Context, seq uint64) error {
	if err := l.trim(ctx, seq); err != nil {
		return fmt.Errorf("trim the log: %w", err)
	}
	return nil
}

func (l *Log) trim(ctx context.Context, seq uint64) error {
	stats, err := l.Stats(ctx)
	if err != nil {
		return err
	}
	seq = min(seq, stats.Last+1)
	lanes, err := l.Lanes(ctx)
	if err != nil {
		return err
	}
	for _, newest := range lanes {
		seq = min(seq, newest.Seq)
	}
	if seq <= stats.First {
		return nil
	}
	var purged struct{}
	return l.call(ctx, "STREAM.PURGE."+l.name, map[string]uint64{"seq": seq}, &purged)
}
