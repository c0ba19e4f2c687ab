package mailbox

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var start = time.Unix(1_800_000_000, 0)

func newMailbox(t testing.TB, l Limits) *Mailbox {
	t.Helper()
	l = l.WithDefaults()
	if err := l.Check(); err != nil {
		t.Fatal(err)
	}
	m := New(&l, 0x5f3a9c1b, start)
	return &m
}

func text(s string) Message { return Message{Body: []byte(s)} }

func mustAppend(t testing.TB, m *Mailbox, bodies ...string) {
	t.Helper()
	for _, b := range bodies {
		if _, stored, err := m.Append(text(b), NameHash{}, start); err != nil || !stored {
			t.Fatalf("Append(%s) = %v, %v", b, stored, err)
		}
	}
}

// read returns what After yields as a text: bodies, and "gap n".
func read(m *Mailbox, seq uint64, now time.Time) string {
	var got []string
	for msg, err := range m.After(seq, now) {
		var gap *GapError
		if errors.As(err, &gap) {
			got = append(got, fmt.Sprintf("gap %d", gap.Missing))
		} else {
			got = append(got, string(msg.Body))
		}
	}
	return strings.Join(got, " ")
}

func expect(t testing.TB, m *Mailbox, seq uint64, want string) {
	t.Helper()
	if got := read(m, seq, start); got != want {
		t.Errorf("After(%d) = %q, want %q", seq, got, want)
	}
}

func TestReadAfter(t *testing.T) {
	m := newMailbox(t, Limits{})
	expect(t, m, 0, "")
	mustAppend(t, m, "1", "2", "3")
	expect(t, m, 0, "1 2 3")
	expect(t, m, 2, "3")
	expect(t, m, 3, "")
	for msg := range m.After(0, start) { // an iteration may end early
		if msg.Seq != 1 {
			t.Errorf("Seq = %d, want 1", msg.Seq)
		}
		break
	}
}

func TestAck(t *testing.T) {
	m := newMailbox(t, Limits{})
	mustAppend(t, m, "1", "2", "3", "4")
	m.Ack(2)
	expect(t, m, 2, "3 4")
	expect(t, m, 1, "gap 1 3 4")
	expect(t, m, 0, "gap 2 3 4")
	if got := m.Start(); got.Seq != 2 {
		t.Errorf("Start = %v, want after 2", got)
	}
	m.Ack(1)
	expect(t, m, 2, "3 4")
	m.Ack(99) // beyond the last: all that is there, not what will come
	mustAppend(t, m, "5")
	expect(t, m, 4, "5")
	if n, bytes := m.Len(); n != 1 || bytes != 1 {
		t.Errorf("Len = %d, %d", n, bytes)
	}
}

func TestFull(t *testing.T) {
	for name, l := range map[string]Limits{"messages": {Backlog: 3}, "bytes": {Body: 4, BacklogBytes: 6}} {
		t.Run(name, func(t *testing.T) {
			m := newMailbox(t, l)
			mustAppend(t, m, "11", "22", "33")
			if _, _, err := m.Append(text("44"), NameHash{}, start); !errors.Is(err, ErrFull) {
				t.Errorf("Append to a full mailbox = %v, want ErrFull", err)
			}
			expect(t, m, 0, "11 22 33")

			m.Delivered(2) // makes room for two
			mustAppend(t, m, "44", "55")
			if _, _, err := m.Append(text("66"), NameHash{}, start); !errors.Is(err, ErrFull) {
				t.Errorf("only delivered messages make room: %v", err)
			}
			expect(t, m, 2, "33 44 55")
			expect(t, m, 0, "gap 2 33 44 55")

			m.Hold(true)
			m.Delivered(5)
			if _, _, err := m.Append(text("66"), NameHash{}, start); !errors.Is(err, ErrFull) {
				t.Errorf("held messages make no room: %v", err)
			}
			m.Ack(3)
			mustAppend(t, m, "66")
			expect(t, m, 3, "44 55 66")
		})
	}
}

func TestDropOldest(t *testing.T) {
	m := newMailbox(t, Limits{Backlog: 3, Overflow: DropOldest})
	mustAppend(t, m, "1", "2", "3", "4", "5")
	expect(t, m, 0, "gap 2 3 4 5")
	expect(t, m, 1, "gap 1 3 4 5")
	expect(t, m, 2, "3 4 5")
	m = newMailbox(t, Limits{Body: 10, BacklogBytes: 10, Overflow: DropOldest})
	mustAppend(t, m, "1", "2", "3", "1234567890")
	expect(t, m, 0, "gap 3 1234567890")
}

// A mailbox writes over bodies that have gone, and over no other; what it was given is its caller's again at once.
func TestBodiesAreKept(t *testing.T) {
	const backlog = 5
	for _, l := range []Limits{{Backlog: backlog}, {Backlog: backlog, Overflow: DropOldest}} {
		m := newMailbox(t, l)
		m.Wake()
		var want []string
		given := make([]byte, 0, 2*maxSpare)
		for i := range 2000 {
			body := strconv.Quote(strings.Repeat(string(rune('a'+i%26)), i*i%(maxSpare+maxSpare/4)))
			given = append(given[:0], body...)
			if _, _, err := m.Append(Message{Body: given}, NameHash{}, start); err != nil {
				t.Fatal(err)
			}
			clear(given)
			if want = append(want, body); len(want) > backlog {
				want = want[1:]
			}
			if i%7 == 0 {
				m.Ack(m.Last().Seq - 1)
				want = want[len(want)-1:]
			}
			if got := read(m, m.floor, start); got != strings.Join(want, " ") {
				t.Fatalf("after message %d it holds %.100q, want %.100q", i, got, strings.Join(want, " "))
			}
			m.Delivered(m.Last().Seq)
		}
		if m.Sleep(start); m.spare != nil {
			t.Error("it keeps room for the next body while it sleeps")
		}
	}
}

func TestNames(t *testing.T) {
	m := newMailbox(t, Limits{Names: 2, NameWindow: time.Minute})
	send := func(name string, at time.Duration, want bool) {
		t.Helper()
		if _, stored, err := m.Append(text("1"), HashName(name), start.Add(at)); err != nil || stored != want {
			t.Errorf("%q at %v: stored %v, %v; want %v", name, at, stored, err, want)
		}
	}
	send("a", 0, true)
	send("a", 0, false)
	send("", 0, true)
	send("", 0, true)
	send("b", time.Second, true)
	send("a", time.Second, false)
	send("c", 2*time.Second, true) // a is forgotten: two names are kept
	send("b", 2*time.Second, false)
	send("a", 2*time.Second, true)
	send("c", 61*time.Second, false)
	send("c", 62*time.Second, true) // its minute is over

	full := newMailbox(t, Limits{Backlog: 1})
	mustAppend(t, full, "1")
	if _, _, err := full.Append(text("2"), HashName("n"), start); !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
	full.Ack(1)
	if _, stored, err := full.Append(text("2"), HashName("n"), start); err != nil || !stored {
		t.Errorf("a name that was refused counts as used: %v, %v", stored, err)
	}
}

func TestNamesAreBounded(t *testing.T) {
	m := newMailbox(t, Limits{})
	for i := range 100_000 {
		m.Append(text("1"), HashName(fmt.Sprint("name ", i)), start)
		m.Ack(m.Last().Seq)
	}
	if len(m.names.seen) > 1000 || cap(m.names.order) > 8000 {
		t.Errorf("%d names in %d places are kept, want at most 1000", len(m.names.seen), cap(m.names.order))
	}
}

func TestTTL(t *testing.T) {
	m := newMailbox(t, Limits{Backlog: 3})
	ttl := func(body string, s int64) {
		t.Helper()
		if _, _, err := m.Append(Message{Body: []byte(body), Expires: start.Unix() + s}, NameHash{}, start); err != nil {
			t.Fatal(err)
		}
	}
	mustAppend(t, m, "1")
	ttl("2", 5)
	ttl("3", 10)
	for at, want := range map[int64]string{4: "1 2 3"} {
		if got := read(m, 0, start.Add(time.Duration(at)*time.Second)); got != want {
			t.Errorf("after %ds: %q, want %q", at, got, want)
		}
	}
	// full, but what expired makes room, and that is no gap
	if _, _, err := m.Append(text("4"), NameHash{}, start.Add(5*time.Second)); err != nil {
		t.Errorf("expired messages make no room: %v", err)
	}
	if got := read(m, 0, start.Add(9*time.Second)); got != "1 3 4" {
		t.Errorf("after 9s: %q", got)
	}
	if got := read(m, 0, start.Add(10*time.Second)); got != "1 4" {
		t.Errorf("after 10s: %q", got)
	}
	if n, bytes := m.Len(); n != 2 || bytes != 2 {
		t.Errorf("Len = %d, %d", n, bytes)
	}
}

func TestSleep(t *testing.T) {
	m := newMailbox(t, Limits{Asleep: time.Minute})
	if d, ok := m.Deadline(); !ok || !d.Equal(start.Add(time.Minute)) {
		t.Errorf("a new mailbox: Deadline = %v, %v", d, ok)
	}
	m.Wake()
	if _, ok := m.Deadline(); ok {
		t.Error("a mailbox that is awake has a deadline")
	}
	m.Sleep(start.Add(time.Hour))
	if d, ok := m.Deadline(); !ok || !d.Equal(start.Add(time.Hour+time.Minute)) {
		t.Errorf("asleep again: Deadline = %v, %v", d, ok)
	}
}

func TestClose(t *testing.T) {
	m := newMailbox(t, Limits{})
	mustAppend(t, m, "1")
	m.Close()
	m.Close()
	if _, _, err := m.Append(text("2"), NameHash{}, start); !errors.Is(err, ErrClosed) {
		t.Errorf("Append = %v, want ErrClosed", err)
	}
	if n, bytes := m.Len(); n != 0 || bytes != 0 {
		t.Errorf("Len = %d, %d", n, bytes)
	}
}

func TestCursor(t *testing.T) {
	m := newMailbox(t, Limits{})
	mustAppend(t, m, "1")
	for text, want := range map[string]error{
		"5f3a9c1b.0": nil, "5f3a9c1b.1": nil,
		"5f3a9c1b.2": ErrCursorAhead, "5f3a9c1b.18446744073709551615": ErrCursorAhead,
		"5f3a9c1c.1": ErrUnknownCursor,
		"":           ErrMalformedCursor, ".": ErrMalformedCursor, "5f3a9c1b": ErrMalformedCursor, "5f3a9c1b.": ErrMalformedCursor,
		"5f3a9c1b.-1": ErrMalformedCursor, "5f3a9c1b.+1": ErrMalformedCursor, "5f3a9c1b.01": ErrMalformedCursor, "5f3a9c1b.1 ": ErrMalformedCursor,
		"5F3A9C1B.1": ErrMalformedCursor, "+f3a9c1b.1": ErrMalformedCursor, "f3a9c1b.1": ErrMalformedCursor, "5f3a9c1b.1.1": ErrMalformedCursor,
		"5f3a9c1b.18446744073709551616": ErrMalformedCursor, "5f3a9c1b--1": ErrMalformedCursor,
	} {
		c, err := ParseCursor(text)
		if err == nil {
			if c.String() != text {
				t.Errorf("ParseCursor(%q) = %v", text, c)
			}
			err = m.Check(c)
		}
		if !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", text, err, want)
		}
	}
}

func TestLimits(t *testing.T) {
	l := Limits{Body: 5, Depth: 2, BacklogBytes: 5}.WithDefaults()
	for body, want := range map[string]error{
		"12345": nil, "123456": ErrTooLarge, "[[1]]": nil, "[[[]]": ErrMalformedJSON, "": ErrEmptyBody, " ": ErrEmptyBody, "x": ErrMalformedJSON, "\"\xff\"": ErrUTF8,
	} {
		if err := l.CheckBody([]byte(body)); !errors.Is(err, want) {
			t.Errorf("CheckBody(%q) = %v, want %v", body, err, want)
		}
	}
	for _, bad := range []Limits{{Body: -1}, {Depth: 10_000}, {Backlog: -1}, {BacklogBytes: 1}, {Asleep: -1}, {TTL: 1}, {Names: -1}, {NameWindow: -1}, {Overflow: 2}} {
		if bad.Check() == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}

func TestOneLine(t *testing.T) {
	body := []byte("{\r\n\t\"a\\n\":\n1\r}")
	OneLine(body)
	if want := "{  \t\"a\\n\": 1 }"; string(body) != want {
		t.Errorf("OneLine = %q, want %q", body, want)
	}
}

// TestModel holds random walks against the plainest mailbox that could be written.
func TestModel(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		l := Limits{Backlog: 1 + r.IntN(40), Overflow: Overflow(r.IntN(2))}
		m := newMailbox(t, l)
		var model []uint64
		var last, delivered, floor uint64
		held := false
		for range 400 {
			switch r.IntN(6) {
			case 0, 1, 2:
				for len(model) >= l.Backlog && (l.Overflow == DropOldest || !held && model[0] <= delivered) {
					floor, model = model[0], model[1:]
				}
				_, _, err := m.Append(text("1"), NameHash{}, start)
				if full := len(model) >= l.Backlog; full != errors.Is(err, ErrFull) {
					t.Fatalf("seed %d: Append = %v with %d of %d", seed, err, len(model), l.Backlog)
				} else if !full {
					last++
					model = append(model, last)
				}
			case 3:
				delivered = max(delivered, r.Uint64N(last+1))
				m.Delivered(delivered)
			case 4:
				seq := r.Uint64N(last + 1)
				m.Ack(seq)
				floor = max(floor, seq)
				model = slices.DeleteFunc(model, func(s uint64) bool { return s <= seq })
			case 5:
				held = !held
				m.Hold(held)
			}
			after := r.Uint64N(last + 1)
			var got, want []uint64
			var missing uint64
			for msg, err := range m.After(after, start) {
				var gap *GapError
				if errors.As(err, &gap) {
					missing = gap.Missing
				} else {
					got = append(got, msg.Seq)
				}
			}
			for _, s := range model {
				if s > after {
					want = append(want, s)
				}
			}
			if wantMissing := max(floor, after) - after; !slices.Equal(got, want) || missing != wantMissing {
				t.Fatalf("seed %d: After(%d) = %v, gap %d; want %v, gap %d", seed, after, got, missing, want, wantMissing)
			}
			if n, bytes := m.Len(); n != len(model) || bytes != len(model) {
				t.Fatalf("seed %d: Len = %d, %d; want %d", seed, n, bytes, len(model))
			}
		}
	}
}

func FuzzParseCursor(f *testing.F) {
	f.Add("5f3a9c1b.42")
	f.Fuzz(func(t *testing.T, text string) {
		if c, err := ParseCursor(text); err == nil && c.String() != text {
			t.Errorf("%q is another form of %q", text, c)
		}
	})
}
