package jetstream

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"github.com/genbrowser/genbrowser/internal/testport"
	"github.com/genbrowser/genbrowser/mailbox"
)

func TestStateWhenItIsOpenedAgain(t *testing.T) {
	const boot, another = "boot", "another"
	for name, test := range map[string]struct {
		before state
		boot   string
		found  uint64
		doubt  bool
	}{
		"closed":                              {state{Boot: boot, Unsynced: true, Closed: true, Last: 7}, another, 7, false},
		"closed, and longer since":            {state{Boot: boot, Closed: true, Last: 7}, boot, 9, false},
		"closed, and shorter":                 {state{Boot: boot, Closed: true, Last: 7}, boot, 6, true},
		"shorter, which is known":             {state{Boot: boot, Closed: true, Last: 7, Known: 7}, boot, 6, false},
		"shorter than what is known":          {state{Boot: boot, Closed: true, Last: 9, Known: 7}, boot, 8, true},
		"crash, synced":                       {state{Boot: boot}, another, 7, false},
		"crash":                               {state{Boot: boot, Unsynced: true}, boot, 7, false},
		"power cut":                           {state{Boot: boot, Unsynced: true}, another, 7, true},
		"crash of a system that doesn't tell": {state{Unsynced: true}, "", 7, true},
		"the doubt goes on":                   {state{Boot: boot, Closed: true, Last: 7, Doubt: true}, boot, 7, true},
	} {
		if got := test.before.reopen(test.boot, false, test.found); got.Doubt != test.doubt || got.Closed || got.Boot != test.boot {
			t.Errorf("%s: %+v, want a doubt: %v", name, got, test.doubt)
		}
	}
	if s := (state{Boot: boot, Unsynced: true}).reopen(boot, false, 7); !s.reopen(another, false, 7).Doubt {
		t.Error("what was not on the disk before a crash is taken to be, because what came after it was")
	}
}

// TestLossIsInDoubtUntilKnown goes through the real thing: what was said lasts, and what was not is asked again.
func TestLossIsInDoubtUntilKnown(t *testing.T) {
	dir := t.TempDir()
	reopen := func(l *Log, doubt bool) *Log {
		t.Helper()
		if l != nil {
			l.Close()
		}
		l = mustOpen(t, Options{Dir: dir, SyncEvery: time.Hour})
		if got := l.MayHaveLost(); got != doubt {
			t.Errorf("may have lost: %v, want %v", got, doubt)
		}
		return l
	}
	l := reopen(nil, false)
	mustAppend(t, l, "1")
	l = reopen(l, false)
	l.Close()
	if err := os.Remove(l.embedded.dir.statePath(l.name)); err != nil {
		t.Fatal(err)
	}
	l = reopen(l, true)
	l = reopen(l, true)
	if err := l.LossKnown(); err != nil || l.MayHaveLost() {
		t.Errorf("it is known, and in doubt: %v, %v", l.MayHaveLost(), err)
	}
	l = reopen(l, false)
	l.Close()
	if err := os.WriteFile(l.embedded.dir.statePath(l.name), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	l = reopen(l, true)
	if err := l.LossKnown(); err != nil {
		t.Error(err)
	}
	l.Close()
	l = mustOpen(t, Options{Dir: dir, Restored: true})
	if !l.MayHaveLost() {
		t.Error("it was restored, and not in doubt")
	}
}

// TestPowerCutBehindTheIndex holds that a log ends where its entries do. JetStream's index is on the disk when a log is
// closed, while entries may not be, and a crash of the system takes these.
func TestPowerCutBehindTheIndex(t *testing.T) {
	for _, lost := range []int{0, 1, 2, 4} {
		dir := t.TempDir()
		options := Options{Dir: dir, SyncEvery: time.Hour}
		l := mustOpen(t, options)
		for n := range 10 {
			mustAppend(t, l, fmt.Sprint(n))
		}
		l.Close()
		s := l.embedded.dir.state(l.name)
		s.Boot, s.Closed = "another", false
		if err := l.embedded.dir.setState(l.name, s); err != nil {
			t.Fatal(err)
		}
		cutEntries(t, dir, lost)
		l = mustOpen(t, options)
		if got := entries(t, l); len(got) != 10-lost {
			t.Errorf("%d entries are left of 10 that lost %d", len(got), lost)
		}
		if first, last := l.LostAtEnd(); !l.MayHaveLost() || lost > 0 && (first != uint64(11-lost) || last != 10) {
			t.Errorf("%d to %d are lost, in doubt: %v; want the last %d", first, last, l.MayHaveLost(), lost)
		}
		if err := l.LossKnown(); err != nil {
			t.Error(err)
		}
		if first, last := l.LostAtEnd(); first != 0 || last != 0 {
			t.Errorf("%d to %d are lost, though that is known", first, last)
		}
		if got := mustAppend(t, l, "after"); got != uint64(11-lost) {
			t.Errorf("the next entry is %d, want %d", got, 11-lost)
		}
	}
}

// cutEntries takes entries off the end of a log's newest file.
func cutEntries(t *testing.T, dir string, count int) {
	t.Helper()
	tail, err := readTail(dir, "genbrowser")
	if err != nil {
		t.Fatal(err)
	}
	left := tail.was
	for first := lastEntry(left); count > 0 && lastEntry(left) > first-uint64(count); {
		left = left[:len(left)-1]
	}
	end := 0
	for end < len(left) && lastEntry(left[:end]) < lastEntry(left) {
		end++
	}
	if err := os.WriteFile(tail.file, tail.was[:end], 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestEntriesLost holds that a log whose NATS comes back without entries that it had acknowledged says so, and that whoever
// opens it next in a directory doubts what is there.
func TestEntriesLost(t *testing.T) {
	dir := t.TempDir()
	port := testport.Port(t)
	open := func() *natsserver.Server { return external(t, dir, port) }
	server := open()
	l := mustOpen(t, Options{URLs: []string{server.ClientURL()}})
	mustAppend(t, l, "1")
	stop(server)
	before := filepath.Join(t.TempDir(), "before")
	if err := os.CopyFS(before, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	server = open()
	mustAppend(t, l, "2")
	mustAppend(t, l, "3")
	stop(server)
	if err := errors.Join(os.RemoveAll(dir), os.Rename(before, dir)); err != nil {
		t.Fatal(err)
	}
	open()
	if _, err := l.Append(within(t), []byte("4")); !errors.Is(err, mailbox.ErrLost) {
		t.Errorf("Append = %v, want %v", err, mailbox.ErrLost)
	}
	if !l.MayHaveLost() {
		t.Error("the log is not in doubt")
	}
}
