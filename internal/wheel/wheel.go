// Package wheel is a hashed timing wheel (Varghese and Lauck, 1987): any number of timers for the price of one, each
// set and stopped in constant time, and each a few words of memory inside what it belongs to.
package wheel

import (
	"sync"
	"time"
)

const (
	// slots times span, four minutes, is how far ahead a timer can be without being looked at once a turn around.
	slots = 1024
	span  = 250 * time.Millisecond
	// finest is how often the wheel turns at most.
	finest = 10 * time.Millisecond
)

// Timer is what can be set: a type that embeds an [Entry] and is used by pointer. Fire is called when it is due, once
// for each time that it is set, with no lock held: it may set and stop timers. All others wait for it, so that it must
// not block.
type Timer interface {
	Fire()
	entry() *Entry
}

// Entry is a timer's place in a wheel, one at a time. The zero value is not set.
type Entry struct {
	next Timer         // of the same slot; nil: it is the last
	from *Timer        // what points here, next of the one before or the slot; nil: it is not set
	due  time.Duration // since the wheel's start
}

func (e *Entry) entry() *Entry { return e }

func (e *Entry) unlink() {
	if e.from == nil {
		return
	}
	*e.from = e.next
	if e.next != nil {
		e.next.entry().from = e.from
	}
	e.next, e.from = nil, nil
}

// Wheel fires timers once they are due. Make one with [New].
type Wheel struct {
	start   time.Time
	ticker  *time.Ticker
	done    chan struct{}
	turning sync.WaitGroup

	mu    sync.Mutex
	tick  time.Duration
	slots [slots]Timer
	now   int64 // the newest slot that was looked at; there may be more to come in it
}

// New returns a wheel that begins to turn at start, by a clock that goes on from there whatever happens to the system's: a
// time that has a monotonic reading is taken by that, and another one by start's wall clock. Nothing fires by itself
// before [Wheel.Start].
func New(start time.Time) *Wheel {
	return &Wheel{start: start, ticker: time.NewTicker(span), done: make(chan struct{}), tick: span}
}

// Exact makes the wheel turn so often that timers are late by no more than that, or by 10 ms. It is 250 ms at first, and
// what others ask for holds too.
func (w *Wheel) Exact(to time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if to = max(to, finest); to < w.tick {
		w.tick = to
		w.ticker.Reset(to)
	}
}

// Set makes a timer due at a time, whether it was set before or not.
func (w *Wheel) Set(t Timer, at time.Time) {
	due := at.Sub(w.start)
	w.mu.Lock()
	defer w.mu.Unlock()
	e := t.entry()
	e.unlink()
	slot := &w.slots[max(int64(due/span), w.now)%slots]
	e.next, e.from, e.due = *slot, slot, due
	if e.next != nil {
		e.next.entry().from = &e.next
	}
	*slot = t
}

// Stop keeps a timer that is set from being fired, unless that is about to happen.
func (w *Wheel) Stop(t Timer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t.entry().unlink()
}

// Turn fires what was due before now.
func (w *Wheel) Turn(now time.Time) {
	for _, t := range w.take(now.Sub(w.start)) {
		t.Fire()
	}
}

// take takes off what was due before now.
func (w *Wheel) take(now time.Duration) (due []Timer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	end := max(int64(now/span), w.now)
	// after a long pause, one turn around sees every slot
	for at := max(w.now, end-slots+1); at <= end; at++ {
		for t := w.slots[at%slots]; t != nil; {
			e := t.entry()
			next := e.next
			if e.due < now {
				e.unlink()
				due = append(due, t)
			}
			t = next
		}
	}
	w.now = end
	return due
}

// Start begins to turn the wheel, until [Wheel.Close].
func (w *Wheel) Start() { w.turning.Go(w.turn) }

func (w *Wheel) turn() {
	defer w.ticker.Stop()
	for {
		select {
		case <-w.done:
			return
		case <-w.ticker.C:
			w.Turn(time.Now())
		}
	}
}

// Close stops the wheel, and returns when the last Fire has. What is set stays so, and does not fire.
func (w *Wheel) Close() {
	close(w.done)
	w.turning.Wait()
}
