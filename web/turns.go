package web

import (
	"sync/atomic"
	"time"

	"github.com/genbrowser/genbrowser/internal/yield"
)

// turns let all who are ready to run do one step of what they do before any of them does the next: to take messages, to
// deliver them, and to answer. Doing the same thing over and over costs less than each thing in turn; what came together for
// a reader is written to it together; and who came last, whom the runtime lets run first, does not get in front of the others.
type turns struct {
	_     [64]byte     // each send writes to done: nothing that others read may be on its cache line
	done  atomic.Int64 // steps, of each message
	_     [64]byte
	point yield.Point
}

const (
	// turnTakes and stepTakes are how long a turn may take, of itself and for each step that others do meanwhile.
	turnTakes = 4 * time.Millisecond
	stepTakes = 100 * time.Microsecond
)

// take takes a turn after a step of n messages, and returns when it is over.
func (t *turns) take(now time.Time, n int) time.Time {
	mine := t.done.Add(int64(n))
	end := t.point.Yield(now, func() time.Duration {
		return turnTakes + stepTakes*time.Duration(t.done.Load()-mine)
	})
	t.done.Add(int64(n)) // the step after it, for those whose turn is not over
	return end
}
