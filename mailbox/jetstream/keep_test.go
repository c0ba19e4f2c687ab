package jetstream

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/mailbox"
)

// damagedLog returns the directory of a log of 6 entries, whose third one is damaged, as it is when its process was killed or
// has closed it, and its file.
func damagedLog(t *testing.T, o Options, closed bool) (dir string, newest *tail) {
	t.Helper()
	o.Dir = t.TempDir()
	l := mustOpen(t, o)
	for range 6 {
		mustAppend(t, l, "some text")
	}
	if closed {
		l.Close()
	}
	dir = copyOf(t, o.Dir)
	newest, err := readTail(dir, l.name)
	if err != nil {
		t.Fatal(err)
	}
	newest.was = newest.was[:len(newest.was)-1] // so that the index of a log that was closed does not fit
	newest.was[heads(newest.was)[3]-1] ^= 4
	if err := os.WriteFile(newest.file, newest.was, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir, newest
}

func copyOf(t *testing.T, dir string) string {
	t.Helper()
	copied := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return copied
}

func mustStart(t *testing.T, o Options) *Log {
	t.Helper()
	o.Logger = quiet
	o = o.withDefaults()
	l := newLog(o)
	var err error
	if l.embedded, err = startEmbedded(o, l.noticeTrouble); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func wantNoCopy(t *testing.T, dir string) {
	t.Helper()
	if left, err := streamFiles(dir, "genbrowser", copyPrefix+"*"); err != nil || len(left) > 0 {
		t.Errorf("%v are left, %v", left, err)
	}
}

// TestKilledWhileOpening holds that a damaged log is refused, and comes out whole, after a process was killed that was about
// to refuse it: once the server had cut off the damage, once that was judged, or anywhere in its restoration.
func TestKilledWhileOpening(t *testing.T) {
	for _, closed := range []bool{false, true} {
		dir, newest := damagedLog(t, Options{}, closed)
		refused := func(when, from string) {
			t.Helper()
			copied := copyOf(t, from)
			name := fmt.Sprintf("%s, log closed before: %v", when, closed)
			wantRefusedAsDamaged(t, name, copied, strings.Replace(newest.file, dir, copied, 1), newest.was)
			wantNoCopy(t, copied)
		}
		l := mustStart(t, Options{Dir: copyOf(t, dir)})
		trying := l.embedded.dir.path
		file := strings.Replace(newest.file, dir, trying, 1)
		if is, err := os.ReadFile(file); err != nil || len(is) >= len(newest.was) {
			t.Fatalf("the server leaves %d bytes of %d, %v; it should cut off the damage", len(is), len(newest.was), err)
		}
		refused("the damage is cut off", trying)
		if err := l.checkTail(Options{}); !errors.Is(err, mailbox.ErrDamaged) {
			t.Fatal(err)
		}
		refused("it is judged", trying)
		stop(l.embedded.server)
		refused("the server is down", trying)
		tried := &tail{file: file}
		notes, overtaken, err := tried.newer(l.name)
		if err != nil || overtaken || closed != (len(notes) > 0) {
			t.Fatalf("the server has left %v, %v, %v; want notes if the log was closed", notes, overtaken, err)
		}
		for _, note := range notes {
			if err := os.Remove(note); err != nil {
				t.Fatal(err)
			}
			refused("the notes are removed", trying)
		}
		l.Close()
		refused("it is restored", trying)
	}
}

// TestKilledWhileOpeningTorn holds that a write that was broken off stays what it is if the first one who opens the log is killed.
func TestKilledWhileOpeningTorn(t *testing.T) {
	l := mustOpen(t, Options{Dir: t.TempDir()})
	for range 3 {
		mustAppend(t, l, "some text")
	}
	dir, newest := killed(t, l)
	if err := os.Truncate(newest.file, int64(len(newest.was)-5)); err != nil {
		t.Fatal(err)
	}
	mustStart(t, Options{Dir: dir})
	dir = copyOf(t, dir)
	l = mustOpen(t, Options{Dir: dir})
	if got := len(entries(t, l)); got != 2 || l.MayHaveLost() {
		t.Errorf("%d entries are left, in doubt: %v; want 2", got, l.MayHaveLost())
	}
	wantNoCopy(t, dir)
}

// TestRestoredAtOnce holds that the file that the server cut off is never written to: it is replaced by a whole one.
func TestRestoredAtOnce(t *testing.T) {
	dir, newest := damagedLog(t, Options{}, false)
	before := filepath.Join(t.TempDir(), "before")
	if err := os.Link(newest.file, before); err != nil {
		t.Skip(err)
	}
	wantRefused(t, Options{Dir: dir}, mailbox.ErrDamaged.Error())
	cut, err := os.ReadFile(before)
	if err != nil || len(cut) == 0 || len(cut) == len(newest.was) {
		t.Errorf("of the old file %d bytes are left, %v; want what the server left of it", len(cut), err)
	}
	if is, err := os.ReadFile(newest.file); err != nil || !bytes.Equal(is, newest.was) {
		t.Errorf("%d bytes are restored of %d, %v", len(is), len(newest.was), err)
	}
}

// TestKilledWhileCopying holds that a copy is of no account until it is whole.
func TestKilledWhileCopying(t *testing.T) {
	l := mustOpen(t, Options{Dir: t.TempDir()})
	mustAppend(t, l, "1")
	dir, newest := killed(t, l)
	if err := os.WriteFile(newest.copy()+unfinished, newest.was[:9], 0o600); err != nil {
		t.Fatal(err)
	}
	l = mustOpen(t, Options{Dir: dir})
	files, err := streamFiles(dir, l.name, "*.blk")
	if got := len(entries(t, l)); got != 1 || len(files) != 1 || err != nil {
		t.Errorf("%d entries in %v, %v; want 1 in one file", got, files, err)
	}
	wantNoCopy(t, dir)
}

// TestCopyThatCameBack holds that a log which went on without what was cut off is not put back, where a power cut undid that
// the copy was deleted: neither if the same file got more entries, nor if the next one did, and the file was trimmed.
func TestCopyThatCameBack(t *testing.T) {
	const more = 20
	for name, test := range map[string]struct {
		size, trimmed int
	}{
		"the same file": {10, 0},
		"the next file": {maxEntry, more},
	} {
		l := mustOpen(t, Options{Dir: t.TempDir()})
		mustAppend(t, l, "1")
		_, before := killed(t, l)
		for range more {
			mustAppend(t, l, strings.Repeat("x", test.size))
		}
		if err := l.Trim(within(t), uint64(test.trimmed+1)); err != nil {
			t.Fatal(err)
		}
		dir, newest := killed(t, l)
		stale := &tail{
			file: filepath.Join(filepath.Dir(newest.file), filepath.Base(before.file)),
			was:  append(before.was, "an entry whose write was broken off"...),
		}
		if next := stale.file != newest.file; next != (test.trimmed > 0) {
			t.Fatalf("%s: the entries are in %s", name, newest.file)
		}
		if err := stale.keep(); err != nil {
			t.Fatal(err)
		}
		l = mustOpen(t, Options{Dir: dir})
		if got := len(entries(t, l)); got != 1+more-test.trimmed {
			t.Errorf("%s: %d entries, want %d", name, got, 1+more-test.trimmed)
		}
		wantNoCopy(t, dir)
		l.Close()
	}
}

// TestLossWasPossible holds that a damaged log goes on, in doubt, only if what is lost may not have been on the disk when it was
// let go of, however it is opened.
func TestLossWasPossible(t *testing.T) {
	always, interval := Options{}, Options{SyncEvery: time.Hour}
	restored := Options{Restored: true}
	for _, test := range []struct {
		name        string
		written, by Options
		closed      bool
		powerCut    bool
		goesOn      bool
	}{
		{"interval, power cut", interval, always, false, true, true},
		{"interval, power cut, interval", interval, interval, false, true, true},
		{"interval, restored", interval, restored, false, false, true},
		{"interval, crash of the process", interval, interval, false, false, bootID() == ""},
		{"interval, closed", interval, interval, true, true, false},
		{"always, power cut", always, always, false, true, false},
		{"always, power cut, interval", always, interval, false, true, false},
		{"always, restored", always, restored, false, true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir, newest := damagedLog(t, test.written, test.closed)
			d := &dataDir{path: dir}
			if test.powerCut {
				s := d.state("genbrowser")
				s.Boot = "another"
				if err := d.setState("genbrowser", s); err != nil {
					t.Fatal(err)
				}
			}
			test.by.Dir = dir
			if !test.goesOn {
				for range 2 {
					wantRefused(t, test.by, mailbox.ErrDamaged.Error())
				}
				if is, err := os.ReadFile(newest.file); err != nil || !bytes.Equal(is, newest.was) || !d.state("genbrowser").Doubt {
					t.Errorf("the damaged file was changed, %v, or who goes on without it is not in doubt", err)
				}
				return
			}
			l := mustStart(t, test.by)
			if err := l.checkTail(test.by); err != nil || !d.state("genbrowser").Doubt {
				t.Errorf("%v, in doubt for who comes after a crash now: %v", err, d.state("genbrowser").Doubt)
			}
			l.Close()
			l = mustOpen(t, test.by)
			if got := len(entries(t, l)); got != 2 || !l.MayHaveLost() {
				t.Errorf("%d entries are left, in doubt: %v; want 2, in doubt", got, l.MayHaveLost())
			}
			wantNoCopy(t, dir)
		})
	}
}
