// Package yield lets all who are ready to run have their turn, where what they do costs less together.
package yield

import (
	"runtime"
	"sync/atomic"
	"time"
)

// Point is a place where goroutines yield. The zero Point is ready for use.
type Point struct {
	crowded atomic.Pointer[time.Time] // nobody yields until then; nil if it was never so
}

// Yield returns when all who are ready to run have had their turn, and what time it is then. Among others who compute all
// the time that would be late. If it took longer than fair says, which is asked afterwards, nobody yields here for a
// hundred times as long: whoever comes to Yield meanwhile returns at once.
func (p *Point) Yield(now time.Time, fair func() time.Duration) time.Time {
	if until := p.crowded.Load(); until != nil && now.Before(*until) {
		return now
	}
	runtime.Gosched()
	end := time.Now()
	if took := end.Sub(now); took > fair() {
		until := end.Add(100 * took)
		p.crowded.Store(&until)
	}
	return end
}
