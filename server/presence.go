package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/genbrowser/genbrowser/internal/wheel"
	"github.com/genbrowser/genbrowser/mailbox"
)

// State says whether a mailbox has a reader: the body of messages of kind state.
type State struct {
	State string `json:"state"` // connected or asleep
}

const (
	stateConnected = "connected"
	stateAsleep    = "asleep"
	// downDisconnected is the reason of a down that tells of a mailbox without a reader, which lives on.
	downDisconnected = "disconnected"
)

const (
	// stateEvery is how far apart the states are that one watcher is told, at least, and how long a mailbox is without a
	// reader until that counts: a page that is reloaded does not fall asleep.
	stateEvery = time.Second
	// maxGrace is the longest grace that a monitor may ask for.
	maxGrace = 24 * time.Hour
)

// monitor is what a monitor may ask for beside the end: the body of messages of kind monitor.
type monitor struct {
	States bool   `json:"states,omitempty"`
	Grace  *int64 `json:"grace,omitempty"` // seconds
}

// readMonitor takes what a monitor asks for into its watch.
func readMonitor(w *mailbox.Watch, body []byte) error {
	var m monitor
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return fmt.Errorf(`%w: the body of a monitor: want null, or an object with "states" and "grace"`, ErrEnvelope)
	}
	w.States = m.States
	if m.Grace == nil {
		return nil
	}
	if most := int64(maxGrace / time.Second); *m.Grace < 1 || *m.Grace > most {
		return fmt.Errorf("%w: grace: want 1 to %d seconds", ErrEnvelope, most)
	}
	w.Grace = *m.Grace
	return nil
}

// presence is those who want to know whether a mailbox has a reader. It is guarded by the mailbox's lock.
type presence struct {
	wheel.Entry // when there will be something to tell

	box     *box
	watches []presenceWatch
}

type presenceWatch struct {
	mailbox.Watch
	told    string    // the newest state; empty if nobody knows
	at      time.Time // when it was told; zero before the first
	telling bool      // that is under way, or that it is over; there is never more than this one thing to tell
}

// watchPresence begins to tell states, the present one first; mu is held.
func (b *box) watchPresence(w *mailbox.Watch) {
	if !w.States && w.Grace == 0 {
		return
	}
	b.addPresence(presenceWatch{Watch: *w})
	b.look()
}

func (b *box) addPresence(w presenceWatch) {
	if b.watched == nil {
		b.watched = &presence{box: b}
	}
	b.watched.watches = append(b.watched.watches, w)
}

// resumePresence goes on telling states of a mailbox that was read from the log. What was told last is not in there, and
// a reader may be about to come back. mu is held.
func (b *box) resumePresence() {
	for _, w := range b.mail.Watches() {
		if w.States || w.Grace != 0 {
			b.addPresence(presenceWatch{Watch: w, at: b.server.clock.now()})
		}
	}
	b.look()
}

// unwatchPresence tells a watch nothing any more; mu is held.
func (b *box) unwatchPresence(w *mailbox.Watch) {
	if b.watched == nil {
		return
	}
	all := &b.watched.watches
	*all = slices.DeleteFunc(*all, func(have presenceWatch) bool { return w.Is(have.Watch) })
	if len(*all) == 0 {
		b.dropPresence()
	}
}

// dropPresence tells nobody any more; mu is held.
func (b *box) dropPresence() {
	if b.watched != nil {
		b.server.wheel.Stop(b.watched)
		b.watched = nil
	}
}

// find returns a watch; nil if there is none any more. mu is held.
func (p *presence) find(w *mailbox.Watch) *presenceWatch {
	if p == nil {
		return nil
	}
	i := slices.IndexFunc(p.watches, func(have presenceWatch) bool { return w.Is(have.Watch) })
	if i < 0 {
		return nil
	}
	return &p.watches[i]
}

// Fire implements [wheel.Timer].
func (p *presence) Fire() {
	p.box.mu.Lock()
	defer p.box.mu.Unlock()
	p.box.look()
}

// look tells who watches the mailbox what is to be told by now, and comes back when there will be more; mu is held.
func (b *box) look() {
	if b.watched == nil || b.ending() != nil {
		return
	}
	now := b.server.clock.now()
	var next time.Time
	if b.log.ready() != nil { // another node may have the mailbox by now
		next = now.Add(time.Second)
	} else {
		since, asleep := b.mail.Asleep()
		for i := range b.watched.watches {
			at := b.lookFor(&b.watched.watches[i], since, asleep, now)
			if !at.IsZero() && (next.IsZero() || at.Before(next)) {
				next = at
			}
		}
	}
	if next.IsZero() {
		b.server.wheel.Stop(b.watched)
		return
	}
	b.server.wheel.Set(b.watched, next)
}

// lookFor tells one watcher, or returns when to look again; the zero value if that is when something changed.
func (b *box) lookFor(w *presenceWatch, since time.Time, asleep bool, now time.Time) (again time.Time) {
	if w.telling {
		return again
	}
	state := stateConnected
	if asleep {
		state = stateAsleep
	}
	if w.Grace != 0 && asleep {
		again = since.Add(time.Duration(w.Grace) * time.Second)
		if !now.Before(again) {
			b.tellWatch(w, mailbox.KindDown, Down{Reason: downDisconnected})
			return time.Time{}
		}
	}
	if !w.States || state == w.told {
		return again
	}
	earliest := w.at
	if asleep && since.After(earliest) {
		earliest = since
	}
	if earliest = earliest.Add(stateEvery); !w.at.IsZero() && now.Before(earliest) {
		if again.IsZero() || earliest.Before(again) {
			again = earliest
		}
		return again
	}
	w.told, w.at = state, now
	b.tellWatch(w, mailbox.KindState, State{state})
	return again
}

// tellWatch tells a watcher something, unless the watch is over before it can be told.
func (b *box) tellWatch(w *presenceWatch, kind mailbox.Kind, body any) {
	w.telling = true
	watch := w.Watch
	b.server.notices.add(notice{
		server:   b.server,
		tellings: []telling{{reply: watch.Reply, ref: watch.Ref, kind: kind, body: mustMarshal(body)}},
		still: func() bool {
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.watched.find(&watch) != nil
		},
		done: func(told bool) { b.toldWatch(&watch, told && kind == mailbox.KindDown) },
	})
}

// toldWatch looks what became of the mailbox meanwhile, unless the watch is over now. Who could not be told of a state
// hears of the next change; of a grace that is over, it is tried again.
func (b *box) toldWatch(watch *mailbox.Watch, over bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	w := b.watched.find(watch)
	switch {
	case w == nil || b.ending() != nil: // who is told of the end as well hears only what comes first
	case over:
		b.mail.Unwatch(watch)
		b.unwatchPresence(watch)
		b.note(&mailbox.Record{Type: mailbox.Unwatched, Watch: *watch})
	default:
		w.telling = false
		b.look()
	}
}
