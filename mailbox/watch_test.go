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
		if known, err := m.CanWatch(&w, start); known || err != nil {
			t.Fatalf("%+v: %v, %v", w, known, err)
		}
		m.Watch(w)
	}
	if known, err := m.CanWatch(&one, start); !known || err != nil {
		t.Errorf("a watch that is there: %v, %v", known, err)
	}
	for i := 2; i < maxWatches; i++ {
		m.Watch(Watch{Ref: fmt.Sprint(i)})
	}
	more := Watch{Ref: "more"}
	if _, err := m.CanWatch(&more, start.Add(9*time.Second)); !errors.Is(err, ErrWatched) {
		t.Errorf("one too many: %v, want ErrWatched", err)
	}
	if _, err := m.CanWatch(&more, start.Add(10*time.Second)); err != nil {
		t.Errorf("one in the place of one whose time is over: %v", err)
	}
	if m.Unwatch(&one) || !m.Unwatch(&two) || m.Unwatch(&two) {
		t.Error("want one unwatched once, and none whose time is over")
	}
	state := m.State(recordID, nil, 0, start)
	again := Restore(&l, &state[0], start)
	for i := range state[1:] {
		if err := again.Apply(&state[1+i], start); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := again.Watches(), m.Watches(); len(want) != maxWatches-2 || !slices.Equal(got, want) {
		t.Errorf("restored with %d watches, had %d", len(got), len(want))
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
	for name, m := range map[string]*Mailbox{"live": &m, "replayed": &replayed} {
		calls := m.Calls()
		if len(calls) != maxWatches || calls[0].Ref != "2" || calls[maxWatches-1].Ref != fmt.Sprint(maxWatches+1) {
			t.Errorf("%s: %d calls, from %v on; want 1000, from 2 on", name, len(calls), calls[0])
		}
	}
}

func replayedTo(m Mailbox, last uint64) Mailbox {
	m.last = last
	return m
}
