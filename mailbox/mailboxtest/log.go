// Package mailboxtest is what every [mailbox.Log] must pass.
package mailboxtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/mailbox"
)

// Open opens a log: another writer of it with each call. When all that it opened are closed, the next finds what
// they stored.
type Open func(t *testing.T) mailbox.Log

// TestLog runs the tests that every log must pass. Each call of start begins an empty one.
func TestLog(t *testing.T, start func(t *testing.T) Open) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, open Open)
	}{
		{"an empty log", empty},
		{"order and bytes", orderAndBytes},
		{"lengths", lengths},
		{"two writers have one order", twoWriters},
		{"lanes are new", newLanes},
		{"a seal stops the writer", sealStops},
		{"a seal meets an append", sealMeetsAppend},
		{"a seal needs the newest entry", sealNeedsNewest},
		{"two seal at once", twoSeal},
		{"a writer seals its own lane", sealOwn},
		{"a lane without entries can be sealed", sealEmpty},
		{"lanes", lanes},
		{"trim", trim},
		{"trim keeps the newest of an open lane", trimKeeps},
		{"a trimmed seal still stops", trimmedSeal},
		{"all trimmed", allTrimmed},
		{"read ends where it began", readEnds},
		{"read stops on an error", readStops},
		{"read from a place on", readFrom},
		{"many readers", manyReaders},
		{"an ended context", endedContext},
		{"reopened", reopened},
		{"closed", closed},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, start(t)) })
	}
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func mustAppend(t *testing.T, l mailbox.Log, entry string) uint64 {
	t.Helper()
	seq, err := l.Append(within(t), []byte(entry))
	if err != nil {
		t.Fatalf("append %.20q: %v", entry, err)
	}
	return seq
}

func mustSeal(t *testing.T, l mailbox.Log, lane string, last uint64) {
	t.Helper()
	if err := l.Seal(within(t), lane, last); err != nil {
		t.Fatal(err)
	}
}

func mustTrim(t *testing.T, l mailbox.Log, seq uint64) {
	t.Helper()
	if err := l.Trim(within(t), seq); err != nil {
		t.Fatal(err)
	}
}

func mustClose(t *testing.T, l mailbox.Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, l mailbox.Log) []mailbox.Entry {
	t.Helper()
	var all []mailbox.Entry
	if err := l.Read(within(t), 0, func(e mailbox.Entry) error {
		all = append(all, e)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for i := 1; i < len(all); i++ {
		if all[i].Seq <= all[i-1].Seq {
			t.Fatalf("entry %d comes after %d", all[i].Seq, all[i-1].Seq)
		}
	}
	return all
}

// show writes entries as one string: lane, data, seals as !.
func show(entries []mailbox.Entry, names map[string]string) string {
	var b bytes.Buffer
	for _, e := range entries {
		fmt.Fprintf(&b, "%s:", names[e.Lane])
		if e.Seal {
			b.WriteByte('!')
		}
		fmt.Fprintf(&b, "%s ", e.Data)
	}
	return b.String()
}

func wantRead(t *testing.T, l mailbox.Log, names map[string]string, want string) {
	t.Helper()
	if got := show(read(t, l), names); got != want {
		t.Errorf("read %q, want %q", got, want)
	}
}

func wantStats(t *testing.T, l mailbox.Log, first, last, entries uint64) {
	t.Helper()
	s, err := l.Stats(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if s.First != first || s.Last != last || s.Entries != entries || (s.Bytes == 0) != (entries == 0) {
		t.Errorf("stats %+v, want %d to %d, %d entries", s, first, last, entries)
	}
}

func wantSealed(t *testing.T, l mailbox.Log) {
	t.Helper()
	if seq, err := l.Append(within(t), []byte("too late")); !errors.Is(err, mailbox.ErrSealed) {
		t.Errorf("append to a sealed lane: %d, %v; want ErrSealed", seq, err)
	}
}

func empty(t *testing.T, open Open) {
	l := open(t)
	wantStats(t, l, 1, 0, 0)
	wantRead(t, l, nil, "")
	mustTrim(t, l, 5)
	wantStats(t, l, 1, 0, 0)
	if lanes, err := l.Lanes(within(t)); err != nil || len(lanes) != 0 {
		t.Errorf("lanes of an empty log: %v, %v", lanes, err)
	}
}

func orderAndBytes(t *testing.T, open Open) {
	l := open(t)
	var every [256]byte
	for i := range every {
		every[i] = byte(i)
	}
	want := []string{string(every[:]), "\r\n\r\n", "NATS/1.0\r\n\r\n", "{}", "\x00"}
	var seqs []uint64
	for _, entry := range want {
		seqs = append(seqs, mustAppend(t, l, entry))
	}
	got := read(t, l)
	if len(got) != len(want) {
		t.Fatalf("read %d entries, want %d", len(got), len(want))
	}
	for i, e := range got {
		if string(e.Data) != want[i] || e.Seq != seqs[i] || e.Lane != l.Lane() || e.Seal {
			t.Errorf("entry %d is %+v, want %q at %d", i, e, want[i], seqs[i])
		}
	}
}

func lengths(t *testing.T, open Open) {
	l := open(t)
	longest := bytes.Repeat([]byte("x"), l.MaxEntry())
	mustAppend(t, l, "a")
	mustAppend(t, l, string(longest))
	for _, wrong := range [][]byte{nil, append(longest, 'x')} {
		if seq, err := l.Append(within(t), wrong); err == nil {
			t.Errorf("append of %d bytes is stored at %d", len(wrong), seq)
		}
	}
	mustAppend(t, l, "b")
	got := read(t, l)
	if len(got) != 3 || !bytes.Equal(got[1].Data, longest) || string(got[2].Data) != "b" {
		t.Errorf("read %d entries, want 3 with the longest in between", len(got))
	}
}

func twoWriters(t *testing.T, open Open) {
	writers := []mailbox.Log{open(t), open(t)}
	const each = 50
	var together sync.WaitGroup
	for i, l := range writers {
		together.Go(func() {
			for n := range each {
				if _, err := l.Append(t.Context(), fmt.Appendf(nil, "%d.%d", i, n)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	together.Wait()
	all := read(t, writers[0])
	if other := read(t, writers[1]); len(all) != 2*each || !slices.EqualFunc(all, other, equal) {
		t.Fatalf("the readers see %d and %d entries, want %d in the same order", len(all), len(other), 2*each)
	}
	next := map[string]int{}
	for _, e := range all {
		i := slices.IndexFunc(writers, func(l mailbox.Log) bool { return l.Lane() == e.Lane })
		if want := fmt.Sprintf("%d.%d", i, next[e.Lane]); string(e.Data) != want {
			t.Fatalf("entry %d is %q, want %q", e.Seq, e.Data, want)
		}
		next[e.Lane]++
	}
}

func equal(a, b mailbox.Entry) bool {
	return a.Seq == b.Seq && a.Lane == b.Lane && a.Seal == b.Seal && bytes.Equal(a.Data, b.Data)
}

func newLanes(t *testing.T, open Open) {
	a, b := open(t), open(t)
	if a.Lane() == "" || a.Lane() == b.Lane() {
		t.Errorf("lanes %q and %q", a.Lane(), b.Lane())
	}
}

func lanes(t *testing.T, open Open) {
	a, b, c := open(t), open(t), open(t)
	mustAppend(t, a, "1")
	mustSeal(t, a, b.Lane(), mustAppend(t, b, "2"))
	want := map[string]uint64{c.Lane(): mustAppend(t, c, "3"), a.Lane(): mustAppend(t, a, "4")}
	got, err := b.Lanes(within(t))
	if err != nil || len(got) != len(want) {
		t.Fatalf("lanes: %v, %v; want %v", got, err, want)
	}
	for _, e := range got {
		if want[e.Lane] != e.Seq || e.Data != nil || e.Seal {
			t.Errorf("lane %+v, want %d without data", e, want[e.Lane])
		}
	}
}

func trim(t *testing.T, open Open) {
	a := open(t)
	for _, entry := range []string{"1", "2", "3", "4"} {
		mustAppend(t, a, entry)
	}
	mustTrim(t, a, 3)
	wantStats(t, a, 3, 4, 2)
	wantRead(t, a, map[string]string{a.Lane(): "a"}, "a:3 a:4 ")
	mustTrim(t, a, 2)
	wantStats(t, a, 3, 4, 2)
	if seq := mustAppend(t, a, "5"); seq != 5 {
		t.Errorf("the entry after a trim is at %d, want 5", seq)
	}
}

func trimKeeps(t *testing.T, open Open) {
	idle, busy := open(t), open(t)
	mustAppend(t, idle, "1")
	kept := mustAppend(t, idle, "2")
	last := mustAppend(t, busy, "3")
	mustTrim(t, busy, last+1)
	wantStats(t, busy, kept, last, 2)
	mustAppend(t, idle, "4")
}

func trimmedSeal(t *testing.T, open Open) {
	late, next := open(t), open(t)
	mustSeal(t, next, late.Lane(), mustAppend(t, late, "1"))
	last := mustAppend(t, next, "2")
	mustTrim(t, next, last)
	wantStats(t, next, last, last, 1)
	wantSealed(t, late)
}

func allTrimmed(t *testing.T, open Open) {
	a := open(t)
	mustSeal(t, a, a.Lane(), mustAppend(t, a, "1"))
	mustTrim(t, a, 1000)
	wantStats(t, a, 3, 2, 0)
	wantRead(t, a, nil, "")
	b := open(t)
	if seq := mustAppend(t, b, "2"); seq != 3 {
		t.Errorf("the entry after all were trimmed is at %d, want 3", seq)
	}
}

// readEnds appends for every entry that is read: the reader would never end if it read those as well.
func readEnds(t *testing.T, open Open) {
	a := open(t)
	for range 3 {
		mustAppend(t, a, "x")
	}
	n := 0
	if err := a.Read(within(t), 0, func(mailbox.Entry) error {
		n++
		_, err := a.Append(t.Context(), []byte("y"))
		return err
	}); err != nil || n != 3 {
		t.Errorf("read %d entries, %v; want 3", n, err)
	}
}

func readStops(t *testing.T, open Open) {
	a := open(t)
	mustAppend(t, a, "1")
	mustAppend(t, a, "2")
	enough := errors.New("enough")
	n := 0
	if err := a.Read(within(t), 0, func(mailbox.Entry) error { n++; return enough }); err != enough || n != 1 {
		t.Errorf("read %d entries, %v; want 1 and the error of f", n, err)
	}
	wantRead(t, a, map[string]string{a.Lane(): "a"}, "a:1 a:2 ")
}

func readFrom(t *testing.T, open Open) {
	a := open(t)
	for n := range 5 {
		mustAppend(t, a, fmt.Sprint(n+1))
	}
	mustTrim(t, a, 2)
	for from, want := range map[uint64]string{0: "2345", 1: "2345", 2: "2345", 3: "345", 5: "5", 6: "", 100: ""} {
		got := ""
		err := a.Read(within(t), from, func(e mailbox.Entry) error { got += string(e.Data); return nil })
		if err != nil || got != want {
			t.Errorf("read %q from %d on, %v; want %q", got, from, err, want)
		}
	}
}

func manyReaders(t *testing.T, open Open) {
	a := open(t)
	const entries = 200
	for n := range entries {
		mustAppend(t, a, fmt.Sprint(n))
	}
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			n := 0
			if err := a.Read(t.Context(), 0, func(e mailbox.Entry) error {
				if string(e.Data) != fmt.Sprint(n) {
					return fmt.Errorf("entry %d is %q", n, e.Data)
				}
				n++
				return nil
			}); err != nil || n != entries {
				t.Errorf("read %d entries, %v; want %d", n, err, entries)
			}
		})
	}
	readers.Wait()
}

// endedContext: an entry in doubt comes first, and is stored once.
func endedContext(t *testing.T, open Open) {
	a := open(t)
	mustAppend(t, a, "1")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if seq, err := a.Append(ctx, []byte("2")); err == nil || !errors.Is(err, context.Canceled) {
		t.Errorf("append with an ended context: %d, %v", seq, err)
	}
	mustAppend(t, a, "2")
	wantRead(t, a, map[string]string{a.Lane(): "a"}, "a:1 a:2 ")
	for _, err := range []error{
		a.Read(ctx, 0, func(mailbox.Entry) error { return nil }), a.Seal(ctx, a.Lane(), 1), a.Trim(ctx, 1),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("with an ended context: %v", err)
		}
	}
}

func reopened(t *testing.T, open Open) {
	a, b := open(t), open(t)
	names := map[string]string{a.Lane(): "a", b.Lane(): "b"}
	mustAppend(t, a, "1")
	last := mustAppend(t, a, "2")
	mustSeal(t, a, b.Lane(), mustAppend(t, b, "3"))
	mustTrim(t, a, 2)
	mustClose(t, a)
	mustClose(t, b)
	c := open(t)
	wantRead(t, c, names, "a:2 b:3 b:! ")
	wantStats(t, c, 2, 4, 3)
	if lanes, err := c.Lanes(within(t)); err != nil || len(lanes) != 1 || lanes[0].Seq != last || lanes[0].Lane != a.Lane() {
		t.Errorf("lanes after reopening: %v, %v", lanes, err)
	}
	mustSeal(t, c, a.Lane(), last)
	mustAppend(t, c, "4")
}

func closed(t *testing.T, open Open) {
	a := open(t)
	mustAppend(t, a, "1")
	mustClose(t, a)
	mustClose(t, a)
	if seq, err := a.Append(within(t), []byte("2")); err == nil {
		t.Errorf("append to a closed log: stored at %d", seq)
	}
	if _, err := a.Stats(within(t)); err == nil {
		t.Error("stats of a closed log are no error")
	}
}
