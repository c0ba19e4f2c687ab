package mailbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// memLog is a [Log] of a slice. Tests take entries out of it, too.
type memLog struct {
	Log     // what nothing here calls
	entries []Entry
	last    uint64
}

func (l *memLog) add(e Entry) uint64 {
	l.last++
	e.Seq = l.last
	l.entries = append(l.entries, e)
	return e.Seq
}

func (l *memLog) seal(lane string) {
	var after uint64
	for _, e := range l.entries {
		if e.Lane == lane {
			after = e.Seq
		}
	}
	l.add(Entry{Lane: lane, Seal: true, After: after})
}

func (l *memLog) Stats(context.Context) (LogStats, error) {
	if len(l.entries) == 0 {
		return LogStats{First: l.last + 1, Last: l.last}, nil
	}
	return LogStats{First: l.entries[0].Seq, Last: l.last, Entries: uint64(len(l.entries))}, nil
}

// lose removes the entry seq as no Log should.
func (l *memLog) lose(seq uint64) {
	l.entries = slices.DeleteFunc(l.entries, func(e Entry) bool { return e.Seq == seq })
}

func (l *memLog) Trim(_ context.Context, seq uint64) error {
	l.entries = slices.DeleteFunc(l.entries, func(e Entry) bool { return e.Seq < seq })
	return nil
}

func (l *memLog) Read(ctx context.Context, from uint64, f func(Entry) error) error {
	for _, e := range l.entries {
		if e.Seq < from {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f(e); err != nil {
			return err
		}
	}
	return nil
}

// lane writes to a log as a server does.
type lane struct {
	log   *memLog
	name  string
	prev  uint64
	floor uint64
}

// put appends an entry whose records acknowledge the messages seqs.
func (l *lane) put(seqs ...uint64) {
	entry := make([]byte, EntryHeaderSize)
	for _, seq := range seqs {
		r := Record{Type: Acked, Seq: seq}
		entry = r.AppendTo(entry)
	}
	l.putBytes(entry)
}

func (l *lane) putBytes(entry []byte) {
	h := EntryHeader{Clock: start.Add(time.Duration(l.log.last+1) * time.Second), Prev: l.prev, Floor: l.floor}
	h.Put(entry)
	l.prev = l.log.add(Entry{Lane: l.name, Data: entry})
}

// replay returns the acknowledged messages of a log as a text, each with the second of its time.
func replay(log *memLog) (string, Replayed, error) {
	var got []string
	r := NewReplay(log, func(r *Record, o *Origin) error {
		if r.Type == Sealed {
			got = append(got, "sealed "+o.Lane)
			return nil
		}
		got = append(got, fmt.Sprintf("%d@%d", r.Seq, o.Clock.Unix()-start.Unix()))
		return nil
	})
	err := r.Read(context.Background())
	return strings.Join(got, " "), r.Seen(), err
}

func TestReplayLanes(t *testing.T) {
	log := &memLog{}
	a, b := &lane{log: log, name: "a"}, &lane{log: log, name: "b"}
	a.put(10, 11)
	b.put(20)
	a.put()
	log.seal("a")
	b.put(21, 22)

	got, seen, err := replay(log)
	if want := "10@1 11@1 20@2 sealed a 21@5 22@5"; err != nil || got != want {
		t.Errorf("Replay = %q, %v; want %q", got, err, want)
	}
	const record = 1 + 16 + 1
	want := Replayed{Entries: 4, Records: 5, Bytes: 4*EntryHeaderSize + 5*record, First: 1, Last: 5}
	if !seen.Clock.Equal(start.Add(5 * time.Second)) {
		t.Errorf("Clock = %v", seen.Clock)
	}
	if seen.Clock = (time.Time{}); seen != want {
		t.Errorf("Replay saw %+v, want %+v", seen, want)
	}

	log.seal("b")
	if _, seen, err := replay(log); err != nil || seen.Last != 6 || seen.Entries != 4 {
		t.Errorf("with a seal at the end: %+v, %v", seen, err)
	}
}

// TestReplayMissing changes a log of entries 1 and 3 of a, 2 and 4 of b, its seal 5, and 6 of a.
func TestReplayMissing(t *testing.T) {
	trim := func(seq uint64) func(*memLog, *lane) {
		return func(log *memLog, _ *lane) { log.Trim(context.Background(), seq) }
	}
	lose := func(seq uint64) func(*memLog, *lane) {
		return func(log *memLog, _ *lane) { log.lose(seq) }
	}
	// announce has a write that the log is trimmed to floor, and then may trim it.
	announce := func(floor, trim uint64) func(*memLog, *lane) {
		return func(log *memLog, a *lane) {
			a.floor = floor
			a.put()
			log.Trim(context.Background(), trim)
		}
	}
	for _, test := range []struct {
		name   string
		change func(*memLog, *lane)
		want   string // records, or what the error says
	}{
		{"nothing", func(*memLog, *lane) {}, "1@1 2@2 3@3 4@4 sealed b 6@6"},
		{"everything", trim(7), ""},
		{"one in the middle", lose(3), "entry 6: the log is damaged: it follows entry 3"},
		{"the second lane's first", lose(2), "entry 4: the log is damaged: it follows entry 2"},
		{"what a seal follows", lose(4), "it follows entry 4"},
		{"the end of a lane", func(log *memLog, a *lane) {
			b := &lane{log: log, name: "c"}
			b.put()
			b.put()
			a.put()
			log.lose(7)
			log.lose(8)
		}, "entry 9: the log is damaged: entries 7 to 8 are missing"},
		{"the first", lose(1), "begins with entry 2; entries from 1"},
		{"the first two", trim(3), "begins with entry 3; entries from 1"},
		{"all before a seal", trim(5), "begins with entry 5; entries from 1"},
		{"trimmed as announced", announce(3, 3), "3@3 4@4 sealed b 6@6"},
		{"trimmed to a seal", announce(5, 5), "sealed b 6@6"},
		{"trimmed to the announcement", announce(7, 7), ""},
		{"announced, then not trimmed", announce(3, 1), "1@1 2@2 3@3 4@4 sealed b 6@6"},
		{"announced, then trimmed in part", announce(3, 2), "2@2 3@3 4@4 sealed b 6@6"},
		{"trimmed too far", announce(3, 4), "begins with entry 4; entries from 3"},
		{"trimmed, and one in the middle", func(log *memLog, a *lane) {
			announce(3, 3)(log, a)
			log.lose(6)
		}, "entry 7: the log is damaged: it follows entry 6"},
	} {
		t.Run(test.name, func(t *testing.T) {
			log := &memLog{}
			a, b := &lane{log: log, name: "a"}, &lane{log: log, name: "b"}
			a.put(1)
			b.put(2)
			a.put(3)
			b.put(4)
			log.seal("b")
			a.put(6)
			test.change(log, a)
			got, seen, err := replay(log)
			switch {
			case err == nil && got != test.want:
				t.Errorf("Replay = %q, want %q", got, test.want)
			case err != nil && (!errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), test.want) || test.want == ""):
				t.Errorf("Replay = %v, want %q", err, test.want)
			case err == nil && seen.Floor != a.floor:
				t.Errorf("Floor = %d, want %d", seen.Floor, a.floor)
			}
		})
	}
}

// TestReplayForked holds that a lane which begins anew, or goes on behind its newest entry, is noticed.
func TestReplayForked(t *testing.T) {
	for _, prev := range []uint64{0, 1} {
		log := &memLog{}
		a := &lane{log: log, name: "a"}
		a.put(1)
		a.put(2)
		a.prev = prev
		a.put(3)
		if got, _, err := replay(log); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "entry 3") || got != "1@1 2@2" {
			t.Errorf("Replay of 3 after %d = %q, %v; want ErrDamaged of entry 3", prev, got, err)
		}
	}
}

func TestReplayDamaged(t *testing.T) {
	log := &memLog{}
	a := &lane{log: log, name: "a"}
	a.put(1)
	a.putBytes(append(make([]byte, EntryHeaderSize), 99))
	if got, _, err := replay(log); !errors.Is(err, ErrRecord) || !strings.Contains(err.Error(), "entry 2") || got != "1@1" {
		t.Errorf("Replay of a record of no type = %q, %v; want ErrRecord of entry 2", got, err)
	}
	log.entries[1].Data[EntryHeaderSize] ^= 1
	if _, _, err := replay(log); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "entry 2") {
		t.Errorf("Replay of a changed entry = %v; want ErrDamaged of entry 2", err)
	}
}

func TestReplayEnds(t *testing.T) {
	log := &memLog{}
	a := &lane{log: log, name: "a"}
	a.put(1)
	a.put(2, 3, 4)
	a.put(5)
	enough := errors.New("enough")
	replay := NewReplay(log, func(r *Record, _ *Origin) error {
		if r.Seq == 3 {
			return enough
		}
		return nil
	})
	err := replay.Read(context.Background())
	seen := replay.Seen()
	if !errors.Is(err, enough) || !strings.Contains(err.Error(), "entry 2") || seen.Records != 2 {
		t.Errorf("Replay = %+v, %v; want the error of entry 2 after 2 records", seen, err)
	}

	ctx, cancel := context.WithCancel(context.Background())
	err = NewReplay(log, func(r *Record, _ *Origin) error {
		cancel()
		return nil
	}).Read(ctx)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Replay = %v, want context.Canceled", err)
	}
}

// TestReplayRestated holds that a mailbox is restated by all its records or by none, whatever stands between them.
func TestReplayRestated(t *testing.T) {
	restated := func(id byte, kept uint64) Record {
		return Record{Type: Restated, Mailbox: [16]byte{id}, Kept: kept}
	}
	kept := func(id byte, seq uint64) Record {
		return Record{Type: Kept, Mailbox: [16]byte{id}, Message: Message{Seq: seq, Body: []byte("1")}}
	}
	acked := func(id byte) Record { return Record{Type: Acked, Mailbox: [16]byte{id}, Seq: 9} }
	call := Record{Type: KeptCall, Mailbox: [16]byte{1}, Message: Message{Meta: &Meta{Kind: KindCall}}}
	watch, follow := Record{Type: KeptWatch, Mailbox: [16]byte{1}}, Record{Type: KeptFollow, Mailbox: [16]byte{1}}
	for name, test := range map[string]struct {
		entries [][]Record
		seal    int // before that entry; 0 for never
		want    string
	}{
		"whole":               {[][]Record{{restated(1, 2), kept(1, 1), kept(1, 2), acked(1)}}, 0, "1:7@1 1:8@1 1:8@1 1:3@1"},
		"of all kinds":        {[][]Record{{restated(1, 4), call, kept(1, 1), watch}, {follow, acked(1)}}, 0, "1:7@1 1:18@1 1:8@1 1:16@1 1:21@1 1:3@2"},
		"empty":               {[][]Record{{restated(1, 0), acked(1)}}, 0, "1:7@1 1:3@1"},
		"over many entries":   {[][]Record{{restated(1, 2)}, {kept(1, 1)}, {kept(1, 2), acked(1)}}, 0, "1:7@1 1:8@1 1:8@1 1:3@3"},
		"another between":     {[][]Record{{restated(1, 1), acked(2)}, {kept(1, 1)}}, 0, "2:3@1 1:7@1 1:8@1"},
		"two at once":         {[][]Record{{restated(1, 1), restated(2, 1)}, {kept(2, 1)}, {kept(1, 1)}}, 0, "2:7@1 2:8@1 1:7@1 1:8@1"},
		"the last one lacks":  {[][]Record{{acked(1), restated(1, 2), kept(1, 1)}}, 0, "1:3@1"},
		"sealed, and changed": {[][]Record{{restated(1, 2), kept(1, 1)}, {acked(1)}}, 1, "1:3@3"},
		"sealed, then told":   {[][]Record{{restated(1, 2), kept(1, 1)}, {restated(1, 1), kept(1, 2)}}, 1, "1:7@3 1:8@3"},
		"only the end":        {[][]Record{{kept(1, 1), kept(1, 2), acked(1)}}, 0, "1:3@1"},
		"sealed, another's":   {[][]Record{{restated(1, 1)}, {kept(1, 1)}}, 1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			log := &memLog{}
			var got, onAndOn []string
			note := func(to *[]string) func(*Record, *Origin) error {
				return func(r *Record, o *Origin) error {
					if r.Type != Sealed {
						*to = append(*to, fmt.Sprintf("%d:%d@%d", r.Mailbox[0], r.Type, o.Clock.Unix()-start.Unix()))
					}
					return nil
				}
			}
			on := NewReplay(log, note(&onAndOn))
			l := &lane{log: log, name: "a"}
			for i, records := range test.entries {
				if i > 0 && i == test.seal {
					log.seal("a")
					l = &lane{log: log, name: "b"}
				}
				entry := make([]byte, EntryHeaderSize)
				for _, r := range records {
					entry = r.AppendTo(entry)
				}
				l.putBytes(entry)
				if err := on.Read(context.Background()); err != nil {
					t.Fatal(err)
				}
			}
			err := NewReplay(log, note(&got)).Read(context.Background())
			if !slices.Equal(got, onAndOn) {
				t.Errorf("read entry by entry it is %q", onAndOn)
			}
			if got := strings.Join(got, " "); got != test.want || err != nil {
				t.Errorf("Replay = %q, %v; want %q", got, err, test.want)
			}
		})
	}
}

// TestReplayTrimmedBetween: what was trimmed between two reads, be it one entry, makes reading on impossible, and not damaged.
func TestReplayTrimmedBetween(t *testing.T) {
	for _, trimmed := range []uint64{2, 3, 4, 5, 6} {
		log := &memLog{}
		l := &lane{log: log, name: "a"}
		l.put(1)
		l.put(2)
		r := NewReplay(log, func(*Record, *Origin) error { return nil })
		if err := r.Read(context.Background()); err != nil {
			t.Fatal(err)
		}
		l.put(3)
		l.floor = trimmed
		l.put(4)
		l.put(5)
		log.Trim(context.Background(), trimmed)
		var want error
		if trimmed > 3 {
			want = ErrTrimmed
		}
		if err := r.Read(context.Background()); !errors.Is(err, want) {
			t.Errorf("trimmed up to %d: Read = %v, want %v", trimmed, err, want)
		}
		if seen := r.Seen(); want == nil && (seen.Last != 5 || seen.Records != 5) {
			t.Errorf("trimmed up to %d: it has seen %+v", trimmed, seen)
		}
	}
}

// TestReplayNothingNew: reading on where nothing was added sees nothing, and sees what is added later.
func TestReplayNothingNew(t *testing.T) {
	log := &memLog{}
	records := 0
	r := NewReplay(log, func(*Record, *Origin) error { records++; return nil })
	l := &lane{log: log, name: "a"}
	for want := range 3 {
		for range 2 {
			if err := r.Read(context.Background()); err != nil || records != want || r.Seen().Last != uint64(want) {
				t.Errorf("Read = %v, %d records, %+v; want %d", err, records, r.Seen(), want)
			}
		}
		l.put(uint64(want) + 1)
	}
}
