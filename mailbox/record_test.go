package mailbox

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/internal/pack"
)

var (
	recordID   = [16]byte([]byte("0123456789abcdef"))
	recordName = NameHash([]byte("ABCDEFGHIJKLMNOP"))
)

// golden is the log's format: a record, and its bytes in hexadecimal after the mailbox, where N stands for recordName.
var golden = map[string]struct {
	record Record
	bytes  string
}{
	"opened":            {Record{Type: Opened, Epoch: 0x5f3a9c1b}, "9bb8eaf905 00"},
	"opened, no config": {Record{Type: Opened, Epoch: 1<<32 - 1, Config: []byte{}}, "ffffffff0f 01"},
	"opened, config":    {Record{Type: Opened, Config: []byte("{}")}, "00 03 7b7d"},
	"appended":          {Record{Type: Appended, Message: Message{Seq: 1, Body: []byte("7")}}, "00 01 00 01 37"},
	"appended, name":    {Record{Type: Appended, Floor: 299, Message: Message{Seq: 300, Body: []byte("7")}, Name: recordName}, "ab02 ac02 01 N 01 37"},
	"appended, expires": {Record{Type: Appended, Message: Message{Seq: 1, Body: []byte("7"), Expires: 1_800_000_000}}, "00 01 02 80a4a7da06 01 37"},
	"appended, meta": {
		Record{Type: Appended, Message: Message{Seq: 1, Body: []byte("7"), Meta: &Meta{Kind: KindCall, Ref: "r", Reply: "re", Trace: "t", Via: []string{"a", "", "bc"}}}},
		"00 01 04 01 01 72 02 7265 01 74 03 01 61 00 02 6263 01 37",
	},
	"appended, all": {
		Record{Type: Appended, Floor: 1, Name: recordName, Message: Message{Seq: 2, Body: []byte("[]"), Expires: 1, Meta: &Meta{Kind: KindReply}}},
		"01 02 07 N 01 02 00 00 00 00 02 5b5d",
	},
	"acked":              {Record{Type: Acked, Seq: 1<<64 - 1}, "ffffffffffffffffff01"},
	"awoke":              {Record{Type: Awoke}, "00"},
	"awoke, hold":        {Record{Type: Awoke, Hold: true}, "01"},
	"slept":              {Record{Type: Slept}, ""},
	"closed":             {Record{Type: Ended, Reason: Closed}, "01 00"},
	"exited":             {Record{Type: Ended, Reason: Exited, Detail: []byte(`""`)}, "03 02 2222"},
	"expired":            {Record{Type: Ended, Reason: Expired}, "02 00"},
	"watched":            {Record{Type: Watched, Watch: Watch{Link: true, Until: 300, Ref: "r", Reply: "gba_"}}, "01 ac02 01 72 04 6762615f"},
	"watched for states": {Record{Type: Watched, Watch: Watch{States: true, Ref: "r", Reply: "gba_"}}, "02 00 01 72 04 6762615f"},
	"watched with grace": {Record{Type: Watched, Watch: Watch{Grace: 300, Ref: "r", Reply: "gba_"}}, "04 00 01 72 04 6762615f ac02"},
	"unwatched":          {Record{Type: Unwatched, Watch: Watch{Ref: "r", Reply: "gba_"}}, "00 00 01 72 04 6762615f"},
	"a kept watch":       {Record{Type: KeptWatch, Watch: Watch{Link: true, Ref: "r", Reply: "gba_"}}, "01 00 01 72 04 6762615f"},
	"followed":           {Record{Type: Followed, Watch: Watch{Link: true, Until: 300, Ref: "r", Reply: "gba_"}, Process: "till", Single: true}, "01 ac02 01 72 04 6762615f 04 74696c6c 01"},
	"unfollowed":         {Record{Type: Unfollowed, Watch: Watch{Ref: "r", Reply: "gba_"}, Process: "till"}, "00 00 01 72 04 6762615f 04 74696c6c 00"},
	"a kept follow":      {Record{Type: KeptFollow, Watch: Watch{Ref: "r", Reply: "gba_"}, Process: "till"}, "00 00 01 72 04 6762615f 04 74696c6c 00"},
	"a kept call":        {Record{Type: KeptCall, Message: Message{Body: []byte{}, Meta: &Meta{Kind: KindCall, Ref: "r", Reply: "gba_"}}}, "00 04 01 01 72 04 6762615f 00 00 00"},
	"told":               {Record{Type: Told}, ""},
	"untold":             {Record{Type: Untold, Message: Message{Body: []byte("7"), Meta: &Meta{Kind: KindDown, Ref: "r", Reply: "gba_"}}}, "00 04 04 01 72 04 6762615f 00 00 01 37"},
	"restated, awake": {
		Record{Type: Restated, Epoch: 1, Config: []byte("{}"), Seq: 2, Floor: 3, Last: 4, Hold: true, Asleep: -time.Millisecond},
		"01 03 7b7d 02 03 04 01 00 00 00",
	},
	"restated, asleep": {
		Record{Type: Restated, Asleep: 299 * time.Millisecond, Names: []Name{{recordName, 300 * time.Second}, {NameHash{}, 0}}},
		"00 00 00 00 00 00 ac02 02 N ac02 00000000000000000000000000000000 00 00",
	},
	"restated, just asleep": {Record{Type: Restated, Kept: 300}, "00 00 00 00 00 00 01 00 ac02"},
	"kept":                  {Record{Type: Kept, Message: Message{Seq: 5, Body: []byte("7"), Expires: 2, Meta: &Meta{Ref: "r"}}}, "05 06 02 00 01 72 00 00 00 01 37"},
}

// encoded returns the bytes of a record of recordID, written as in golden.
func encoded(t testing.TB, r RecordType, text string) []byte {
	t.Helper()
	text = strings.NewReplacer(" ", "", "N", hex.EncodeToString(recordName[:])).Replace(text)
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Concat([]byte{byte(r)}, recordID[:], b)
}

func TestRecordFormat(t *testing.T) {
	types := make(map[RecordType]bool)
	for name, g := range golden {
		types[g.record.Type] = true
		t.Run(name, func(t *testing.T) {
			g.record.Mailbox = recordID
			want := encoded(t, g.record.Type, g.bytes)
			if got := g.record.AppendTo([]byte("before"))[len("before"):]; !bytes.Equal(got, want) {
				t.Errorf("AppendTo =\n%x, want\n%x", got, want)
			}
			r, rest, err := ParseRecord(append(want, "after"...))
			if err != nil || !reflect.DeepEqual(r, g.record) || string(rest) != "after" {
				t.Fatalf("ParseRecord = %+v, %q, %v; want\n%+v", r, rest, err, g.record)
			}
			_, _ = append(r.Message.Body, '!'), append(r.Config, '!')
			if string(rest) != "after" {
				t.Errorf("what is appended to a part of the record goes into the next one: %q", rest)
			}
			for n := range want {
				if r, _, err := ParseRecord(want[:n]); !errors.Is(err, ErrRecord) {
					t.Errorf("its first %d bytes are %+v, %v; want ErrRecord", n, r, err)
				}
			}
		})
	}
	if len(types) != 17 {
		t.Errorf("%d types of records were tried, want 17", len(types))
	}
}

// TestKeptCallIsACall: without what it says of the call, the record is damaged.
func TestKeptCallIsACall(t *testing.T) {
	r := Record{Type: KeptCall, Message: Message{Body: []byte("1")}}
	if got, _, err := ParseRecord(r.AppendTo(nil)); !errors.Is(err, ErrRecord) {
		t.Errorf("ParseRecord = %+v, %v; want %v", got, err, ErrRecord)
	}
}

func TestRecordsOfShards(t *testing.T) {
	for _, kind := range []RecordType{Claimed, Owned, Released} {
		want := Record{Type: kind, Shards: []uint8{0, 7, 63}}
		bytesOf := []byte{byte(kind), 3, 0, 7, 63}
		if kind == Claimed {
			want.Epoch, bytesOf = 5, append(bytesOf, 5)
		}
		b := want.AppendTo(nil)
		if !bytes.Equal(b, bytesOf) {
			t.Errorf("AppendTo = %x", b)
		}
		got, rest, err := ParseRecord(append(b, 9))
		if err != nil || !reflect.DeepEqual(got, want) || len(rest) != 1 {
			t.Errorf("ParseRecord = %+v, %x, %v", got, rest, err)
		}
		if _, _, err := ParseRecord(b[:4]); !errors.Is(err, ErrRecord) {
			t.Errorf("a part of it: %v", err)
		}
	}
}

func TestAwakeIsAnyNegativeSleep(t *testing.T) {
	for _, asleep := range []time.Duration{-1, -time.Millisecond, -time.Hour} {
		r := Record{Type: Restated, Asleep: asleep}
		if got, _, err := ParseRecord(r.AppendTo(nil)); err != nil || got.Asleep >= 0 {
			t.Errorf("%v was read back as %v, %v", asleep, got.Asleep, err)
		}
	}
}

// damaged are records with a number that none can have, hostile lengths among them.
var damaged = map[string]struct {
	kind  RecordType
	bytes string
}{
	"type 0":                  {0, ""},
	"type 9":                  {9, ""},
	"epoch of 33 bits":        {Opened, "8080808010 00"},
	"number of 65 bits":       {Acked, "ffffffffffffffffff02"},
	"endless number":          {Acked, "ffffffffffffffffffffffffffff"},
	"reason 0":                {Ended, "00 00"},
	"reason 4":                {Ended, "04 00"},
	"unknown flag of a watch": {Watched, "08 00 01 72 01 61"},
	"unknown flag":            {Kept, "01 08 01 37"},
	"kind 12":                 {Kept, "01 04 0c 00 00 00 00 01 37"},
	"expires of 63 bits":      {Kept, "01 02 818080808080808040 01 37"},
	"asleep of 44 bits":       {Restated, "00 00 00 00 00 00 81808080808002 00"},
	"age of 34 bits":          {Restated, "00 00 00 00 00 00 01 01 N 8180808020"},
	"body of 2^32":            {Kept, "01 00 8080808010 37"},
	"body of 2^64-1":          {Kept, "01 00 ffffffffffffffffff01 37"},
	"config of 2^64-2":        {Opened, "00 ffffffffffffffffff01 37"},
	"ref of 2^63":             {Kept, "01 04 00 80808080808080808001 37"},
	"2^20 names":              {Restated, "00 00 00 00 00 00 01 808040 N 00"},
	"2^20 labels":             {Kept, "01 04 00 00 00 00 808040 00 00"},
	"a label of 2^20":         {Kept, "01 04 00 00 00 00 02 808040 00"},
	"more names than room":    {Restated, "00 00 00 00 00 00 01 03 N 00 N 00"},
}

func TestDamagedRecord(t *testing.T) {
	for name, d := range damaged {
		t.Run(name, func(t *testing.T) {
			b := encoded(t, d.kind, d.bytes)
			if r, _, err := ParseRecord(b); !errors.Is(err, ErrRecord) {
				t.Errorf("ParseRecord = %+v, %v; want ErrRecord", r, err)
			}
			checkSize(t, b)
		})
	}
}

// checkSize fails if parsing b, even in vain, makes far more than b.
func checkSize(t *testing.T, b []byte) {
	t.Helper()
	p := &parser{pack.Reader{Rest: b}}
	r := p.record()
	size := 24*cap(r.Names) + cap(r.Message.Body) + cap(r.Config)
	if m := r.Message.Meta; m != nil {
		size += 16*cap(m.Via) + len(m.Ref) + len(m.Reply) + len(m.Trace)
	}
	if size > 64*len(b) {
		t.Errorf("of %d bytes were made %d", len(b), size)
	}
}

func FuzzParseRecord(f *testing.F) {
	for _, g := range golden {
		f.Add(encoded(f, g.record.Type, g.bytes))
	}
	for _, d := range damaged {
		f.Add(encoded(f, d.kind, d.bytes))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		checkSize(t, b)
		r, rest, err := ParseRecord(b)
		if err != nil {
			return
		}
		if len(rest) >= len(b) || !bytes.HasSuffix(b, rest) {
			t.Fatalf("%x is left of %x", rest, b)
		}
		again, rest, err := ParseRecord(r.AppendTo(nil))
		if err != nil || len(rest) > 0 || !reflect.DeepEqual(again, r) {
			t.Errorf("%+v\nwas read back as\n%+v, %x, %v", r, again, rest, err)
		}
	})
}

// TestUnreadRecords holds that what expired does not pile up while records are read and nobody reads messages.
func TestUnreadRecords(t *testing.T) {
	l := Limits{Backlog: 3, NameWindow: time.Second}.WithDefaults()
	m := Restore(&l, &Record{Type: Opened}, start)
	for i := range uint64(100) {
		at := start.Add(time.Duration(i) * time.Second)
		r := Record{Type: Appended, Message: Message{Seq: i + 1, Body: []byte("1"), Expires: at.Unix() + 2}}
		if err := m.Apply(&r, at); err != nil {
			t.Fatal(err)
		}
	}
	if n, _ := m.Len(); n > 3 {
		t.Errorf("it holds %d messages, want at most 3", n)
	}
}

// TestNamesUnderOtherLimits reads names that were forgotten, and used again, where they are kept for longer.
func TestNamesUnderOtherLimits(t *testing.T) {
	l := Limits{NameWindow: time.Hour}.WithDefaults()
	m := Restore(&l, &Record{Type: Opened}, start)
	for i, use := range []struct {
		name NameHash
		at   time.Duration
	}{{someNames[0], 0}, {recordName, 0}, {recordName, 11 * time.Minute}} {
		r := Record{Type: Appended, Message: Message{Seq: uint64(i) + 1, Body: []byte("1")}, Name: use.name}
		if err := m.Apply(&r, start.Add(use.at)); err != nil {
			t.Fatal(err)
		}
	}
	want := []Name{{someNames[0], 30 * time.Minute}, {recordName, 19 * time.Minute}}
	if got := m.State(recordID, nil, 0, everyCall, start.Add(30*time.Minute))[0].Names; !slices.Equal(got, want) {
		t.Errorf("names are %v, want %v", got, want)
	}
	if !m.names.has(recordName, start.Add(70*time.Minute), &l) {
		t.Error("the name was forgotten with its first use")
	}
	if m.names.has(recordName, start.Add(71*time.Minute), &l) {
		t.Error("the name is remembered for longer than an hour")
	}
}

func TestApplyRefuses(t *testing.T) {
	kept := func(seq uint64) Record { return Record{Type: Kept, Message: Message{Seq: seq, Body: []byte("1")}} }
	appended := func(seq uint64) Record {
		return Record{Type: Appended, Message: Message{Seq: seq, Body: []byte("1")}}
	}
	for name, records := range map[string][]Record{
		"a message twice":        {appended(10), appended(10)},
		"a message left out":     {appended(11)},
		"kept, beyond the last":  {kept(10)},
		"kept twice":             {kept(8), kept(8)},
		"kept in another order":  {kept(8), kept(7)},
		"opened once more":       {{Type: Opened}},
		"restated, not Restored": {{Type: Restated}},
		"ended":                  {{Type: Ended, Reason: Closed}},
	} {
		t.Run(name, func(t *testing.T) {
			l := Limits{}.WithDefaults()
			m := Restore(&l, &Record{Type: Restated, Last: 9}, start)
			last := len(records) - 1
			for _, r := range records[:last] {
				if err := m.Apply(&r, start); err != nil {
					t.Fatalf("Apply(%+v) = %v", r, err)
				}
			}
			if err := m.Apply(&records[last], start); !errors.Is(err, ErrRecord) {
				t.Errorf("Apply(%+v) = %v, want ErrRecord", records[last], err)
			}
		})
	}
}

func TestApplyCopiesBodies(t *testing.T) {
	m := newMailbox(t, Limits{})
	r := Record{Type: Appended, Message: Message{Seq: 1, Body: []byte("1")}}
	if err := m.Apply(&r, start); err != nil {
		t.Fatal(err)
	}
	r.Message.Body[0] = '2'
	expect(t, m, 0, "1")
}

func TestResume(t *testing.T) {
	const window = 10 * time.Minute
	l := Limits{NameWindow: window, Asleep: time.Minute}.WithDefaults()
	then := start.Add(5 * time.Second)
	r := Record{Type: Restated, Asleep: 20 * time.Second, Names: []Name{{someNames[0], 9 * time.Minute}, {someNames[1], 0}}}
	for _, pause := range []time.Duration{time.Hour, -time.Hour} {
		now := then.Add(pause)
		m := Restore(&l, &r, then)
		m.Resume(then, now)
		if d, ok := m.Deadline(); !ok || d.Sub(now) != 40*time.Second {
			t.Errorf("after a pause of %v: it sleeps for another %v, %v; want 40s", pause, d.Sub(now), ok)
		}
		for i, left := range []time.Duration{time.Minute, window} {
			if !m.names.has(someNames[i], now.Add(left-time.Second), &l) || m.names.has(someNames[i], now.Add(left), &l) {
				t.Errorf("after a pause of %v: name %d is not remembered for another %v", pause, i, left)
			}
		}

		awake := Restore(&l, &Record{Type: Restated, Asleep: -1}, then)
		awake.Resume(then, now)
		if d, ok := awake.Deadline(); !ok || d.Sub(now) != time.Minute {
			t.Errorf("after a pause of %v, without its reader: it sleeps for %v, %v; want 1m", pause, d.Sub(now), ok)
		}
	}
}
