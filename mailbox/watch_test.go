package mailbox

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestWatches(t *testing.T) {
	l := (&Limits{}).WithDefaults()
	m := New(&l, 1, start)
	one, two := Watch{Ref: "1", Reply: "a", Until: start.Unix() + 10}, Watch{Ref: "1", Reply: "b", Link: true}
	for _, w := range []Watch{one, two} {
		if known, err := m.CanWatch(&w); known || err != nil {
			t.Fatalf("%+v: %v, %v", w, known, err)
		}
		m.Watch(w)
	}
	if known, err := m.CanWatch(&one); !known || err != nil {
		t.Errorf("a watch that is there: %v, %v", known, err)
	}
	for i := 2; i < maxWatches; i++ {
		m.Watch(Watch{Ref: fmt.Sprint(i)})
	}
	more := Watch{Ref: "more"}
	if _, err := m.CanWatch(&more); !errors.Is(err, ErrWatched) {
		t.Errorf("one too many: %v, want ErrWatched", err)
	}
	if !m.Unwatch(&one) || m.Unwatch(&one) {
		t.Error("want it unwatched once")
	}
	if _, err := m.CanWatch(&more); err != nil {
		t.Errorf("one in the place of another: %v", err)
	}
	again := restored(t, &m, &l)
	if got, want := again.Watches(), m.Watches(); len(want) != maxWatches-1 || !slices.Equal(got, want) {
		t.Errorf("restored with %d watches, had %d", len(got), len(want))
	}
}

func TestFollows(t *testing.T) {
	l := (&Limits{}).WithDefaults()
	m := New(&l, 1, start)
	one := Follow{Watch{Ref: "1", Reply: "a"}, "till", true}
	two := Follow{Watch{Ref: "2", Reply: "b", Link: true, Until: start.Unix() + 10}, "till", false}
	for _, f := range []Follow{two, one} {
		if m.Follows(&f) || !m.MayFollow(&f, start) {
			t.Fatalf("%+v: it follows that, or may not", f)
		}
		m.Follow(f, start)
		if !m.Follows(&f) || m.MayFollow(&f, start) {
			t.Fatalf("%+v: it does not follow that, or may anew", f)
		}
	}
	if other := (Follow{one.Watch, "other", true}); m.Follows(&other) || !m.MayFollow(&other, start) {
		t.Error("it follows another process by the same ref, or may not")
	}
	again := restored(t, &m, &l)
	if got := again.Following(start); !slices.Equal(got, []Follow{one, two}) {
		t.Errorf("restored, it follows %+v", got)
	}
	if got := m.Following(start.Add(10 * time.Second)); !slices.Equal(got, []Follow{one}) {
		t.Errorf("it follows %+v, but the time of one is over", got)
	}
	tell := func(kind Kind, ref string) {
		t.Helper()
		if _, stored, err := m.Append(Message{Body: []byte("1"), Meta: &Meta{Kind: kind, Ref: ref}}, HashAnswer(ref), start); err != nil || !stored {
			t.Fatal(stored, err)
		}
	}
	tell(KindState, "3")
	tell(KindDown, "4")
	if !m.Follows(&one) {
		t.Error("it does not follow what nobody told the end of")
	}
	tell(KindDown, "1")
	tell(KindExited, "2")
	if m.Follows(&one) || m.Follows(&two) || m.watched.follows != nil {
		t.Error("it follows what has ended")
	}
	if m.MayFollow(&one, start) || !m.MayFollow(&one, start.Add(l.NameWindow)) {
		t.Error("it may follow by a ref that was answered, or may not once that is forgotten")
	}
}

// TestMaxFollows: those whose time is over make room, and none are left for long, live and in what is told.
func TestMaxFollows(t *testing.T) {
	l := (&Limits{}).WithDefaults()
	m, told := New(&l, 1, start), New(&l, 1, start)
	follow := func(ref string, until int64, now time.Time) bool {
		f := Follow{Watch{Ref: ref, Until: until}, "till", false}
		if !m.MayFollow(&f, now) {
			return false
		}
		m.Follow(f, now)
		if err := told.Apply(&Record{Type: Followed, Watch: f.Watch, Process: f.Process}, now); err != nil {
			t.Fatal(err)
		}
		return true
	}
	for i := range maxFollows {
		if !follow(fmt.Sprint(i), start.Unix()+10, start) {
			t.Fatalf("no room for %d", i)
		}
	}
	if follow("more", 0, start) {
		t.Error("it may follow one too many")
	}
	m.Unfollow("1")
	told.Unfollow("1")
	if !follow("more", 0, start) {
		t.Error("it may not follow one in the place of another")
	}
	if !follow("another", 0, start.Add(10*time.Second)) {
		t.Error("it may not follow one in the place of those whose time is over")
	}
	for i := range int64(50_000) { // one a second, each for a minute
		now := start.Add(time.Duration(10+i) * time.Second)
		if !follow(fmt.Sprint("r", i), now.Unix()+60, now) {
			t.Fatalf("no room for renewal %d", i)
		}
	}
	for name, m := range map[string]*Mailbox{"live": &m, "told": &told} {
		if got := len(m.watched.follows); got > maxFollows {
			t.Errorf("%s: %d are left, want %d at most", name, got, maxFollows)
		}
	}
	if live, told := m.Following(start.Add(50_000*time.Second)), told.Following(start.Add(50_000*time.Second)); !slices.Equal(live, told) {
		t.Errorf("it follows %d, and is told %d", len(live), len(told))
	}
}

// TestCalls holds that the newest calls are remembered, acknowledged or not, and again after a replay.
func TestCalls(t *testing.T) {
	l := (&Limits{Backlog: 2000}).WithDefaults()
	m, replayed := New(&l, 1, start), New(&l, 1, start)
	for i := range maxWatches + 2 {
		msg := Message{Body: []byte("1"), Meta: &Meta{Kind: KindCall, Ref: fmt.Sprint(i)}}
		c, _, err := m.Append(msg, NameHash{}, start)
		if err != nil {
			t.Fatal(err)
		}
		msg.Seq = c.Seq
		if err := replayed.Apply(&Record{Type: Appended, Message: msg}, start); err != nil {
			t.Fatal(err)
		}
		m.Append(Message{Body: []byte("1"), Meta: &Meta{Kind: KindReply, Ref: "x"}}, NameHash{}, start)
		m.Ack(m.Last().Seq)
		replayed = replayedTo(replayed, m.Last().Seq)
	}
	again := restored(t, &m, &l)
	for name, m := range map[string]*Mailbox{"live": &m, "replayed": &replayed, "restored": &again} {
		calls := m.Calls()
		if len(calls) != maxWatches || calls[0].Ref != "2" || calls[maxWatches-1].Ref != fmt.Sprint(maxWatches+1) {
			t.Errorf("%s: %d calls, from %v on; want 1000, from 2 on", name, len(calls), calls[0])
		}
	}
}

// TestOverCallsAreNotRestored holds that a snapshot has no calls whose answer nobody waits for, and none twice.
func TestOverCallsAreNotRestored(t *testing.T) {
	l := (&Limits{}).WithDefaults()
	m := New(&l, 1, start)
	for i := range 4 {
		m.Append(Message{Body: []byte("1"), Meta: &Meta{Kind: KindCall, Ref: fmt.Sprint(i), Reply: "gba_", Trace: "t"}}, NameHash{}, start)
	}
	m.Ack(2)
	var refs []string
	for _, r := range m.State(recordID, nil, 3, func(c *Meta) bool { return c.Ref != "1" }, start)[1:] {
		refs = append(refs, fmt.Sprint(r.Type, r.Message.Meta.Ref, r.Message.Meta.Trace))
	}
	if want := []string{fmt.Sprint(KeptCall, "0"), fmt.Sprint(KeptCall, "2"), fmt.Sprint(Kept, "3", "t")}; !slices.Equal(refs, want) {
		t.Errorf("restated with %v, want %v", refs, want)
	}
}

// restored is the mailbox as it is after a snapshot.
func restored(t *testing.T, m *Mailbox, l *Limits) Mailbox {
	state := m.State(recordID, nil, 0, everyCall, start)
	if want := uint64(len(state) - 1); state[0].Kept != want {
		t.Errorf("restated with %d records, said %d", want, state[0].Kept)
	}
	again := Restore(l, &state[0], start)
	for i := range state[1:] {
		if err := again.Apply(&state[1+i], start); err != nil {
			t.Fatal(err)
		}
	}
	return again
}

func everyCall(*Meta) bool { return true }

func replayedTo(m Mailbox, last uint64) Mailbox {
	m.last = last
	return m
}
