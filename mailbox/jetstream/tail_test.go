package jetstream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/genbrowser/genbrowser/mailbox"
)

// killed returns a log's directory as it would be if its process were killed now, before it wrote its index anew, and the
// newest file in it.
func killed(t *testing.T, l *Log) (dir string, newest *tail) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "killed")
	if err := os.CopyFS(dir, os.DirFS(l.embedded.dir.path)); err != nil {
		t.Fatal(err)
	}
	indexes, err := streamFiles(dir, l.name, "index.db")
	for _, index := range indexes {
		err = errors.Join(err, os.Remove(index))
	}
	newest, err2 := readTail(dir, l.name)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	return dir, newest
}

// damaged makes the newest file of another copy another one.
func damaged(t *testing.T, dir, file string, is []byte) (copied, newest string) {
	t.Helper()
	copied = filepath.Join(t.TempDir(), "damaged")
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	newest = filepath.Join(copied, strings.TrimPrefix(file, dir))
	if err := os.WriteFile(newest, is, 0o600); err != nil {
		t.Fatal(err)
	}
	return copied, newest
}

// heads returns where the records of a file begin, and its end.
func heads(file []byte) (at []int) {
	for end := 0; end < len(file); end += recordSize(file[end:]) {
		at = append(at, end)
	}
	return append(at, len(file))
}

// wantDamaged holds that a log is not opened, as often as it is tried, and not touched.
func wantDamaged(t *testing.T, name, dir, file string, is []byte) {
	t.Helper()
	dir, file = damaged(t, dir, file, is)
	wantRefusedAsDamaged(t, name, dir, file, is)
}

func wantRefusedAsDamaged(t *testing.T, name, dir, file string, is []byte) {
	t.Helper()
	for range 2 {
		l, err := Open(within(t), Options{Dir: dir, Logger: quiet})
		if err == nil {
			l.Close()
		}
		if !errors.Is(err, mailbox.ErrDamaged) {
			t.Errorf("%s: %v, want %v", name, err, mailbox.ErrDamaged)
			return
		}
		if now, err := os.ReadFile(file); err != nil || !bytes.Equal(now, is) {
			t.Errorf("%s: the damaged file was changed, %v", name, err)
			return
		}
	}
}

// wantCutOff holds that a log goes on with a number of entries, and doubts nothing.
func wantCutOff(t *testing.T, name, dir, file string, is []byte, entriesLeft int) {
	t.Helper()
	dir, _ = damaged(t, dir, file, is)
	l, err := Open(within(t), Options{Dir: dir, Logger: quiet})
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	defer l.Close()
	if got := len(entries(t, l)); got != entriesLeft || l.MayHaveLost() {
		t.Errorf("%s: %d entries are left, in doubt: %v; want %d", name, got, l.MayHaveLost(), entriesLeft)
	}
}

// forged is a message that looks like an entry at a place, and notes.
func forged(place uint64) string {
	record := func(place uint64, subject, text string) []byte {
		b := binary.LittleEndian.AppendUint32(nil, uint32(noteSize+len(subject)+len(text)))
		b = binary.LittleEndian.AppendUint64(b, place)
		b = binary.LittleEndian.AppendUint64(b, 0)
		b = binary.LittleEndian.AppendUint16(b, uint16(len(subject)))
		return append(b, subject+text+"checksum"...)
	}
	return string(record(place, "genbrowser.log.LANE", "text")) + strings.Repeat(string(record(1<<62+1, "", "")), 3)
}

// TestTornWrite holds that a log is opened whatever is in the entry whose write was broken off: the name of its subjects, a
// whole file of its own, or what looks like the end of one.
func TestTornWrite(t *testing.T) {
	l := mustOpen(t, Options{Dir: t.TempDir()})
	mustAppend(t, l, "1")
	mustAppend(t, l, "2")
	_, newest := killed(t, l)
	mustAppend(t, l, `{"see":"genbrowser.log."} `+string(newest.was)+forged(4)+" genbrowser.log.genbrowser.log.")
	dir, newest := killed(t, l)
	file, was := newest.file, newest.was
	first := heads(was)[2]
	zeros := make([]byte, len(was)) // for what did not get to the disk
	notes := bytes.Index(was, []byte(forged(4))) + len(forged(4)) - 3*noteSize
	for at := first + 1; at < len(was); at += 13 {
		if torn := slices.Concat(was[:at], zeros[at:]); !bytes.Equal(torn, was) { // a checksum may end with zeros
			wantCutOff(t, "zeros from there on", dir, file, torn, 2)
		}
		wantCutOff(t, "zeros up to there", dir, file, slices.Concat(was[:first], zeros[first:at], was[at:]), 2)
		if at != notes { // which the sender can't know
			wantCutOff(t, "cut off", dir, file, was[:at], 2)
		}
	}
	for n := 1; n <= 3; n++ {
		wantCutOff(t, "cut off behind what looks like a note", dir, file, was[:notes+n*noteSize], 2)
	}
	wantCutOff(t, "cut off behind a whole file", dir, file, was[:notes-len(forged(4))+3*noteSize], 2)
	wantCutOff(t, "whole", dir, file, was, 3)
}

// TestTornTrim holds that a log is opened if the write of what was trimmed was broken off: notes of it are written many at once.
func TestTornTrim(t *testing.T) {
	l := mustOpen(t, Options{Dir: t.TempDir()})
	for range 5 {
		mustAppend(t, l, "genbrowser.log.")
	}
	_, before := killed(t, l)
	if err := l.Trim(within(t), 4); err != nil {
		t.Fatal(err)
	}
	dir, newest := killed(t, l)
	for at := len(before.was); at < len(newest.was); at += 7 {
		noted := (at - len(before.was)) / noteSize
		wantCutOff(t, "cut off", dir, newest.file, newest.was[:at], 5-noted)
	}
	for _, missing := range []int{noteSize, 8} { // bytes at the end of the first one, which did not get to the disk
		is, end := bytes.Clone(newest.was), len(before.was)+noteSize
		clear(is[end-missing : end])
		wantCutOff(t, "of the first note something is missing", dir, newest.file, is, 5)
	}
}

// TestDamagedBeforeTheEnd holds that a log is not opened if an entry is damaged, anywhere, and another one follows, or a note.
func TestDamagedBeforeTheEnd(t *testing.T) {
	l := mustOpen(t, Options{Dir: t.TempDir()})
	for range 4 {
		mustAppend(t, l, "some text")
	}
	dir, newest := killed(t, l)
	file, was := newest.file, newest.was
	at := heads(was)
	headers := at[2] + headSize + len(l.subject()) // their length of 4 bytes is what JetStream does not check
	for i := at[2]; i < at[3]; i++ {
		if i >= headers && (i < headers+4 || i%8 > 0) {
			continue
		}
		is := bytes.Clone(was)
		is[i] ^= 1 << (i % 8)
		wantDamaged(t, fmt.Sprintf("bit %d of byte %d is wrong", i%8, i-at[2]), dir, file, is)
	}
	is := bytes.Clone(was)
	is[at[3]-1] ^= 4
	wantDamaged(t, "the next one is broken off in its subject", dir, file, is[:at[3]+headSize+9])
	wantCutOff(t, "it is the last one", dir, file, is[:at[3]], 2)

	if err := l.Trim(within(t), 2); err != nil {
		t.Fatal(err)
	}
	dir, newest = killed(t, l)
	for name, i := range map[string]int{"its length": at[2], "its length, by much": at[2] + 3, "its body": at[4] - 10, "its checksum": at[4] - 1} {
		is := bytes.Clone(newest.was)
		is[i] ^= 4
		wantDamaged(t, name+" is wrong, and a note is the last", dir, newest.file, is)
	}
}

// TestDamagedAndClosed holds that the second start, too, sees the damage: with the index of a log that was closed, the server
// begins a new file behind the one that it cuts off.
func TestDamagedAndClosed(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, Options{Dir: dir})
	for range 5 {
		mustAppend(t, l, "some text")
	}
	l.Close()
	newest, err := readTail(dir, l.name)
	if err != nil {
		t.Fatal(err)
	}
	at := heads(newest.was)
	newest.was[at[2]-1] ^= 4
	wantDamaged(t, "broken off, too", dir, newest.file, newest.was[:len(newest.was)-1])
}
