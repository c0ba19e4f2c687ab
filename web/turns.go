package web

import (
	"runtime"
	"sync/atomic"
	"time"
)

// turns keeps answers back until all who are ready to run have had their turn. What came together is so taken and delivered
// together, and then answered: doing the same thing over and over costs less than each thing in turn, and who came last,
// whom the runtime lets run first, does not get in front of the others.
type turns struct {
	start   time.Time
	_       [64]byte     // each send writes to taken: nothing that others read may be on its cache line
	taken   atomic.Int64 // by how many
	_       [64]byte
	crowded atomic.Int64 // none is taken until then, nanoseconds since start
}

const (
	// turnTakes and eachTakes are how long a turn may take, of itself and for each of those that others take meanwhile.
	turnTakes = 4 * time.Millisecond
	eachTakes = 100 * time.Microsecond
)

// take takes a turn, and returns when it is over. Among others who compute all the time that would be late: then it does
// not, for a hundred times as long.
func (t *turns) take(now time.Time) time.Time {
	if int64(now.Sub(t.start)) < t.crowded.Load() {
		return now
	}
	mine := t.taken.Add(1)
	runtime.Gosched()
	end := time.Now()
	if took := end.Sub(now); took > turnTakes+eachTakes*time.Duration(t.taken.Load()-mine) {
		t.crowded.Store(int64(end.Sub(t.start) + 100*took))
	}
	return end
}
