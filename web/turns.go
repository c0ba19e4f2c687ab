package web

import (
	"sync/atomic"
	"time"

	"github.com/genbrowser/genbrowser/internal/yield"
)

// turns keeps answers back until all who are ready to run have had their turn. What came together is so taken and delivered
// together, and then answered: doing the same thing over and over costs less than each thing in turn, and who came last,
// whom the runtime lets run first, does not get in front of the others.
type turns struct {
	_     [64]byte     // each send writes to taken: nothing that others read may be on its cache line
	taken atomic.Int64 // by how many
	_     [64]byte
	point yield.Point
}

const (
	// turnTakes and eachTakes are how long a turn may take, of itself and for each of those that others take meanwhile.
	turnTakes = 4 * time.Millisecond
	eachTakes = 100 * time.Microsecond
)

// take takes a turn, and returns when it is over.
func (t *turns) take(now time.Time) time.Time {
	mine := t.taken.Add(1)
	return t.point.Yield(now, func() time.Duration {
		return turnTakes + eachTakes*time.Duration(t.taken.Load()-mine)
	})
}
