package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"
)

// state is what a data directory knows of its log, for whoever opens it next: JetStream cuts off what it can't read at the
// end of a stream, and does not always say so; and what was not yet on the disk when the power failed, nobody else knows.
type state struct {
	Boot     string `json:"boot"`     // of the system that had the log open last; empty if that can't be told
	Unsynced bool   `json:"unsynced"` // entries were on the disk only some time after they were appended
	Closed   bool   `json:"closed"`   // not broken off
	Last     uint64 `json:"last"`     // the newest entry when it was closed last
	Doubt    bool   `json:"doubt"`    // the end may be lost, and that is not known
	Known    uint64 `json:"known"`    // that entries up to here are lost is known
}

// brokenOff reports whether there was something that was not on the disk for sure when the log was let go of, and whether
// the system may have been, too: then it may be lost.
func (s *state) brokenOff(boot string) (itself, system bool) {
	itself = s.Unsynced && !s.Closed
	return itself, itself && (boot == "" || boot != s.Boot)
}

// reopen is the state of a log that is opened again, where found is its newest entry.
func (s state) reopen(boot string, unsynced bool, found uint64) state {
	itself, system := s.brokenOff(boot)
	return state{
		Boot:     boot,
		Unsynced: unsynced || itself && !system,
		Last:     s.Last,
		Doubt:    s.Doubt || system || s.Last > max(found, s.Known),
		Known:    s.Known,
	}
}

func (d *dataDir) statePath(log string) string { return filepath.Join(d.path, log+".state") }

// state reads it. Without one that can be read, the end of the log may be lost.
func (d *dataDir) state(log string) (s state) {
	text, err := os.ReadFile(d.statePath(log))
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		return state{Doubt: !d.isNew}
	}
	return s
}

func (d *dataDir) setState(log string, s state) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return replaceFile(d.statePath(log), append(text, '\n'))
}

// forgetIndex makes JetStream look for itself how far a log goes, where its index may be on the disk and entries that are in
// it are not: it would take them for there, and go on behind them. A cluster's node would not get them from the others.
func (d *dataDir) forgetIndex(o Options) error {
	s := d.state(o.Name)
	if _, system := s.brokenOff(bootID()); !system && !s.Doubt && o.Cluster == nil {
		return nil
	}
	files, err := d.files(o.Name, "index.db")
	for _, file := range files {
		err = errors.Join(err, os.Remove(file))
	}
	return err
}

// sync makes the disk keep all that is in the log. JetStream does not when it ends.
func (d *dataDir) sync(log string) error {
	files, err := d.files(log, "*.blk")
	if err != nil || len(files) == 0 {
		return err
	}
	for _, file := range files {
		err = errors.Join(err, syncFile(file))
	}
	return errors.Join(err, syncDir(filepath.Dir(files[0])))
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// reopen is for once the log is found. What it has lost is still in doubt if this process ends before LossKnown.
func (l *Log) reopen(options Options) error {
	return l.change(func(s *state) {
		if l.embedded != nil {
			*s = l.embedded.dir.state(l.name).reopen(bootID(), options.SyncEvery > 0, l.found)
		}
		s.Doubt = s.Doubt || options.Restored
	})
}

func (l *Log) change(how func(*state)) error {
	l.stating.Lock()
	defer l.stating.Unlock()
	s := l.state
	how(&s)
	if l.embedded != nil && s != l.state {
		if err := l.embedded.dir.setState(l.name, s); err != nil {
			return err
		}
	}
	l.state = s
	return nil
}

// MayHaveLost implements [mailbox.Lossy]. It is so after a power cut, or a crash of the system, if entries were not on the
// disk at once; if the log is shorter than when it was closed; if it was restored; and after a
// [mailbox.ErrLost].
func (l *Log) MayHaveLost() bool {
	l.stating.Lock()
	defer l.stating.Unlock()
	return l.state.Doubt
}

// LossKnown implements [mailbox.Lossy].
func (l *Log) LossKnown() error {
	return l.change(func(s *state) { s.Doubt, s.Known = false, s.Last })
}

// Settles implements [mailbox.Lossy]. JetStream looks once in SyncEvery for what is not on the disk. How it is with a NATS
// elsewhere is not known.
func (l *Log) Settles() time.Duration { return 2 * l.syncEvery }

// LostAtEnd returns the first and the last of the entries that were there when the log in a data directory was
// closed, and were not when it was opened, unless that is known; zeros if there are none.
func (l *Log) LostAtEnd() (first, last uint64) {
	l.stating.Lock()
	defer l.stating.Unlock()
	if there := max(l.found, l.state.Known); l.state.Last > there {
		return there + 1, l.state.Last
	}
	return 0, 0
}

// newestEntry returns the place of the newest entry; 0 if the log is out of order, and can't say it.
func (l *Log) newestEntry() uint64 {
	ctx, cancel := context.WithTimeout(context.Background(), apiPatience)
	defer cancel()
	stats, err := l.Stats(ctx)
	if err != nil {
		return 0
	}
	return stats.Last
}

// noteClosed makes the disk keep the log, now that no server writes to it, and notes how far it got: 0 if that is not known.
func (l *Log) noteClosed(last uint64) error {
	if err := l.embedded.dir.sync(l.name); err != nil {
		return err
	}
	return l.change(func(s *state) {
		s.Closed = true
		if last == 0 || s.Last > l.found && last == l.found {
			return // that these are lost can be reported until others take their places
		}
		s.Last, s.Known = last, 0
	})
}
