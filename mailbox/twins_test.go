package mailbox

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"
)

// twins are a mailbox that lives, and one that learns of it by records only.
type twins struct {
	t      *testing.T
	seed   uint64
	rand   *rand.Rand
	limits Limits
	now    time.Time
	live   *Mailbox
	told   *Mailbox
	// untold is set while live lacks messages without a record of it: it was full, what was delivered made room,
	// the message did not fit all the same.
	untold bool
	asleep time.Duration // how far told may be off; restating rounds to milliseconds
}

func newTwins(t *testing.T, seed uint64) *twins {
	w := &twins{t: t, seed: seed, rand: rand.New(rand.NewPCG(seed, 2)), now: start.Add(123_456_789)}
	w.limits = Limits{
		Body: 8, Backlog: 1 + w.rand.IntN(5), BacklogBytes: 8 + w.rand.IntN(16), Names: 1 + w.rand.IntN(4),
		NameWindow: 4 * time.Second, Asleep: time.Minute, Overflow: Overflow(seed % 2),
	}.WithDefaults()
	live := New(&w.limits, 0x5f3a9c1b, w.now)
	w.live = &live
	w.restore(Record{Type: Opened, Epoch: 0x5f3a9c1b})
	return w
}

// stored returns the record as it comes back from a log.
func (w *twins) stored(r Record) *Record {
	w.t.Helper()
	r, rest, err := ParseRecord(r.AppendTo(nil))
	if err != nil || len(rest) > 0 {
		w.t.Fatalf("seed %d: ParseRecord = %x, %v", w.seed, rest, err)
	}
	return &r
}

func (w *twins) restore(r Record) {
	told := Restore(&w.limits, w.stored(r), w.now)
	w.told = &told
}

func (w *twins) tell(r Record) {
	w.t.Helper()
	if err := w.told.Apply(w.stored(r), w.now); err != nil {
		w.t.Fatalf("seed %d: Apply(%+v) = %v", w.seed, r, err)
	}
	if n, bytes := w.told.Len(); n > w.limits.Backlog || bytes > w.limits.BacklogBytes {
		w.t.Fatalf("seed %d: after %+v it holds %d messages, %d bytes; more than %+v", w.seed, r, n, bytes, w.limits)
	}
}

var (
	someKinds = []Kind{KindMessage, KindCall, KindReply, KindDown, KindExited}
	someRefs  = []string{"a", "b", "c"}
)

var someNames = []NameHash{HashName("a"), HashName("b"), HashName("c"), HashName("d"), HashName("e")}

func (w *twins) append() {
	msg := Message{Body: []byte("12345678")[:1+w.rand.IntN(8)]}
	if w.rand.IntN(2) == 0 {
		msg.Expires = w.now.Unix() + 1 + w.rand.Int64N(5)
	}
	if w.rand.IntN(4) == 0 {
		msg.Meta = &Meta{Kind: someKinds[w.rand.IntN(len(someKinds))], Ref: someRefs[w.rand.IntN(len(someRefs))], Via: []string{"label"}}
	}
	var name NameHash
	if w.rand.IntN(2) == 0 {
		name = someNames[w.rand.IntN(len(someNames))]
	}
	floor := w.live.Floor()
	at, stored, err := w.live.Append(msg, name, w.now)
	switch {
	case err != nil:
		w.untold = w.untold || w.live.Floor() > floor
	case stored:
		msg.Seq = at.Seq
		w.tell(Record{Type: Appended, Message: msg, Name: name, Floor: w.live.Floor()})
		w.untold = false
	}
}

func (w *twins) step() {
	last := w.live.Last().Seq
	switch w.rand.IntN(12) {
	case 0, 1, 2, 3:
		w.append()
	case 4:
		w.live.Delivered(w.rand.Uint64N(last + 1))
	case 5:
		seq := w.rand.Uint64N(last + 2) // one more than there are, too
		w.live.Ack(seq)
		w.tell(Record{Type: Acked, Seq: seq})
	case 6:
		hold := w.rand.IntN(2) == 0
		w.live.Wake()
		w.live.Hold(hold)
		w.tell(Record{Type: Awoke, Hold: hold})
	case 7:
		w.live.Sleep(w.now)
		w.tell(Record{Type: Slept})
		w.asleep = 0
	case 8:
		w.now = w.now.Add(time.Duration(w.rand.Int64N(int64(3 * time.Second))))
	case 9:
		if w.rand.IntN(4) == 0 {
			w.restate()
		}
	case 10:
		f := Follow{Watch{Ref: someRefs[w.rand.IntN(len(someRefs))], Until: w.now.Unix() + w.rand.Int64N(5)}, "till", w.rand.IntN(2) == 0}
		w.live.Follow(f, w.now)
		w.tell(Record{Type: Followed, Watch: f.Watch, Process: f.Process, Single: f.Single})
	case 11:
		f := Follow{Watch: Watch{Ref: someRefs[w.rand.IntN(len(someRefs))]}}
		w.live.Unfollow(f.Ref)
		w.tell(Record{Type: Unfollowed, Watch: f.Watch})
	}
}

func (w *twins) restate() {
	state := w.live.State(recordID, []byte("config"), 0, everyCall, w.now)
	old := func(n Name) bool { return n.Age >= w.limits.NameWindow }
	r := state[0]
	if r.Mailbox != recordID || string(r.Config) != "config" || len(r.Names) > w.limits.Names || slices.ContainsFunc(r.Names, old) {
		w.t.Fatalf("seed %d: restated as %+v", w.seed, r)
	}
	w.restore(r)
	for _, r := range state[1:] {
		if r.Message.expired(w.now) {
			w.t.Fatalf("seed %d: %+v is restated, but expired", w.seed, r)
		}
		w.tell(r)
	}
	w.untold, w.asleep = false, time.Millisecond
}

// collect returns the messages that After yields, and how many it says are missing.
func collect(m *Mailbox, seq uint64, now time.Time) (all []Message, missing uint64) {
	for msg, err := range m.After(seq, now) {
		var gap *GapError
		if errors.As(err, &gap) {
			missing = gap.Missing
		} else {
			all = append(all, *msg)
		}
	}
	return all, missing
}

func (w *twins) compare() {
	w.t.Helper()
	same := func(what string, live, told any) {
		w.t.Helper()
		if !reflect.DeepEqual(live, told) {
			w.t.Fatalf("seed %d: %s = %+v, and is told as %+v", w.seed, what, live, told)
		}
	}
	var first uint64
	if w.untold {
		first = w.live.Floor()
	}
	for seq := first; seq <= w.live.Last().Seq; seq++ {
		live, liveGap := collect(w.live, seq, w.now)
		told, toldGap := collect(w.told, seq, w.now)
		same("After", live, told)
		same("its gap", liveGap, toldGap)
		same("Gap", w.live.Gap(seq), w.told.Gap(seq))
	}
	if !w.untold {
		n, bytes := w.live.Len()
		toldN, toldBytes := w.told.Len()
		same("Len", []int{n, bytes}, []int{toldN, toldBytes})
	}
	same("Start", w.live.Start(), w.told.Start())
	same("Last", w.live.Last(), w.told.Last())
	same("held", w.live.held, w.told.held)
	same("Following", w.live.Following(w.now), w.told.Following(w.now))
	for _, c := range []Cursor{w.live.Last(), w.live.Cursor(w.live.Last().Seq + 1), {Epoch: 1}} {
		same("Check", w.live.Check(c), w.told.Check(c))
	}
	live, asleep := w.live.Deadline()
	told, toldAsleep := w.told.Deadline()
	same("whether it sleeps", asleep, toldAsleep)
	if live.Sub(told).Abs() > w.asleep {
		w.t.Fatalf("seed %d: Deadline = %v, and is told as %v", w.seed, live, told)
	}
	for _, name := range someNames {
		same("whether a name was used", w.live.names.has(name, w.now, &w.limits), w.told.names.has(name, w.now, &w.limits))
	}
}

func TestRecordsTellAll(t *testing.T) {
	for seed := range uint64(400) {
		w := newTwins(t, seed)
		for range 200 {
			w.step()
			if w.rand.IntN(8) == 0 {
				w.compare()
			}
		}
		w.compare()
	}
}
