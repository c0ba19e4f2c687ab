package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"text/tabwriter"
	"time"

	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/mailbox/jetstream"
	"github.com/genbrowser/genbrowser/server"
)

type data struct {
	Check   dataCheck   `cmd:"" help:"Read all of it, print what is in it, and exit with 1 if it is damaged."`
	Compact dataCompact `cmd:"" help:"Write what is in it anew, and forget the rest."`
}

// dataDir is a data directory whose server is stopped.
type dataDir struct {
	Dir string `arg:"" help:"The directory that serve --data was given. Its server must be stopped."`
}

// complain is for what goes wrong inside a log, and for what was cut off.
func complain() *slog.Logger {
	return (&logging{LogLevel: slog.LevelWarn}).logger(os.Stderr)
}

func (d *dataDir) open(ctx context.Context) (*jetstream.Log, error) {
	if is, err := jetstream.IsDataDir(d.Dir); err != nil {
		return nil, err
	} else if !is {
		return nil, fmt.Errorf("%s is no data directory of genbrowser serve --data", d.Dir)
	}
	return jetstream.Open(ctx, jetstream.Options{Dir: d.Dir, Logger: complain()})
}

type dataCheck struct{ dataDir }

// Run prints what is before the damage, if there is any.
func (c *dataCheck) Run(ctx context.Context) error {
	log, err := c.open(ctx)
	if err != nil {
		return err
	}
	found := inventory{lanes: make(map[string]bool), limits: mailbox.AsTheyAre(), mailboxes: make(map[[16]byte]*mailbox.Mailbox)}
	err = found.take(ctx, log)
	if err := found.print(stdout); err != nil {
		return errors.Join(err, log.Close())
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", c.Dir, err)
	}
	return errors.Join(err, log.Close())
}

// inventory is what is in a log.
type inventory struct {
	seen      mailbox.Replayed
	seals     uint64
	stored    uint64 // bytes
	oldest    time.Time
	lanes     map[string]bool // true: it is sealed
	limits    mailbox.Limits
	mailboxes map[[16]byte]*mailbox.Mailbox
}

func (i *inventory) take(ctx context.Context, log *jetstream.Log) error {
	stats, err := log.Stats(ctx)
	if err != nil {
		return err
	}
	i.stored = stats.Bytes
	whole := &wholeLog{Log: log, next: stats.First}
	replay := mailbox.NewReplay(whole, i.record)
	err = replay.Read(ctx)
	i.seen = replay.Seen()
	switch first, last := log.LostAtEnd(); {
	case err != nil:
		return err
	case stats.Entries == 0 && stats.First > 1: // trimming leaves some
		return missing(1, stats.First-1)
	case whole.next <= stats.Last:
		return missing(whole.next, whole.next)
	case last != 0:
		return missing(first, last)
	}
	return nil
}

func (i *inventory) record(r *mailbox.Record, from *mailbox.Origin) error {
	if i.oldest.IsZero() {
		i.oldest = from.Clock
	}
	i.lanes[from.Lane] = r.Type == mailbox.Sealed
	m := i.mailboxes[r.Mailbox]
	switch r.Type {
	case mailbox.Sealed:
		i.seals++
	case mailbox.Claimed, mailbox.Owned, mailbox.Released:
	case mailbox.Opened, mailbox.Restated:
		restored := mailbox.Restore(&i.limits, r, from.Clock)
		i.mailboxes[r.Mailbox] = &restored
	case mailbox.Ended:
		delete(i.mailboxes, r.Mailbox)
	default:
		if m != nil { // else it is restated further on, or ended before: the log was trimmed in between
			return m.Apply(r, from.Clock)
		}
	}
	return nil
}

func (i *inventory) print(w io.Writer) error {
	messages, bytes, open := 0, 0, 0
	for _, m := range i.mailboxes {
		n, size := m.Len()
		messages, bytes = messages+n, bytes+size
	}
	for _, sealed := range i.lanes {
		if !sealed {
			open++
		}
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "entries\t%d, from %d to %d\n", i.seen.Entries+i.seals, i.seen.First, i.seen.Last)
	fmt.Fprintf(table, "bytes\t%d\n", i.stored)
	fmt.Fprintf(table, "records\t%d\n", i.seen.Records)
	fmt.Fprintf(table, "lanes\t%d, %d of them not sealed\n", len(i.lanes), open)
	fmt.Fprintf(table, "mailboxes\t%d\n", len(i.mailboxes))
	fmt.Fprintf(table, "messages\t%d, of %d bytes\n", messages, bytes)
	fmt.Fprintf(table, "oldest\t%s\n", timeText(i.oldest))
	fmt.Fprintf(table, "newest\t%s\n", timeText(i.seen.Clock))
	return table.Flush()
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

// wholeLog is a log that has an entry at each place: only its beginning may be missing, which was trimmed.
type wholeLog struct {
	*jetstream.Log
	next uint64 // the first place whose entry was not read
}

func (l *wholeLog) Read(ctx context.Context, from uint64, f func(mailbox.Entry) error) error {
	return l.Log.Read(ctx, from, func(e mailbox.Entry) error {
		if e.Seq == l.next {
			l.next++
		}
		return f(e)
	})
}

func missing(first, last uint64) error {
	if first == last {
		return fmt.Errorf("%w: entry %d can't be read", mailbox.ErrDamaged, first)
	}
	return fmt.Errorf("%w: entries %d to %d can't be read", mailbox.ErrDamaged, first, last)
}

type dataCompact struct{ dataDir }

// Run has the log say all that it must anew.
func (c *dataCompact) Run(ctx context.Context) error {
	log, err := c.open(ctx)
	if err != nil {
		return err
	}
	did, err := server.Compact(ctx, log, complain())
	if err != nil {
		return fmt.Errorf("%s: %w", c.Dir, err)
	}
	fmt.Fprintf(stdout, "%d bytes before, %d after; %d mailboxes\n", did.Before.Bytes, did.After.Bytes, did.Mailboxes)
	return nil
}
