// Package wheel is a hashed timing wheel (Varghese and Lauck, 1987): any number of deadlines for the price of
// one timer, each set and stopped in constant time, and each a few words of memory inside what it belongs to.
package wheel

import (
	"sync"
	"time"
)

// slots times the tick is how far ahead a deadline can be without being looked at once a turn.
const slots = 1024

// Item is one deadline; it belongs inside what it is about, which Value says. One wheel at a time may hold it.
type Item[T any] struct {
	Value      T
	next, prev *Item[T] // nil while it is not set
	due        int64    // in ticks
}

// Wheel holds items until they are due. Make one with [New].
type Wheel[T any] struct {
	tick  time.Duration
	start time.Time

	mu    sync.Mutex
	heads [slots]Item[T]
	now   int64 // the last tick that was looked at
}

// New returns a wheel that is exact to a tick, which begins to turn at now.
func New[T any](tick time.Duration, now time.Time) *Wheel[T] {
	w := &Wheel[T]{tick: tick, start: now}
	w.now = w.ticks(now)
	for i := range w.heads {
		h := &w.heads[i]
		h.next, h.prev = h, h
	}
	return w
}

func (w *Wheel[T]) ticks(t time.Time) int64 { return t.UnixNano() / int64(w.tick) }

// Set makes it due at a time, rounded up to a tick, whether it was set before or not.
func (w *Wheel[T]) Set(it *Item[T], at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	it.unlink()
	it.due = max(w.ticks(at)+1, w.now+1)
	w.link(it)
}

// Stop takes it off the wheel, if it is set.
func (w *Wheel[T]) Stop(it *Item[T]) {
	w.mu.Lock()
	defer w.mu.Unlock()
	it.unlink()
}

func (w *Wheel[T]) link(it *Item[T]) {
	head := &w.heads[it.due&(slots-1)]
	it.next, it.prev = head, head.prev
	head.prev.next, head.prev = it, it
}

func (it *Item[T]) unlink() {
	if it.next == nil {
		return
	}
	it.next.prev, it.prev.next = it.prev, it.next
	it.next, it.prev = nil, nil
}

// Turn takes off what is due by now and calls f with each value. f may set and stop items.
func (w *Wheel[T]) Turn(now time.Time, f func(T)) {
	w.mu.Lock()
	var due []T
	end := w.ticks(now)
	// after a long pause, one turn around sees every slot
	for at := max(w.now+1, end-slots+1); at <= end; at++ {
		head := &w.heads[at&(slots-1)]
		for it := head.next; it != head; {
			next := it.next
			if it.due <= end {
				it.unlink()
				due = append(due, it.Value)
			}
			it = next
		}
	}
	w.now = max(w.now, end)
	w.mu.Unlock()
	for _, v := range due {
		f(v)
	}
}

// Run turns the wheel until done is closed, by a clock that goes on from New's now whatever happens to the system's.
func (w *Wheel[T]) Run(done <-chan struct{}, f func(T)) {
	ticker := time.NewTicker(w.tick)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return
		case <-ticker.C:
			w.Turn(w.start.Add(time.Since(w.start)), f)
		}
	}
}
