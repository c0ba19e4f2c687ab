// Package yield lets all who are ready to run have their turn, where what they do costs less together.
package yield

import (
	"runtime"
	"sync/atomic"
	"time"
)

// Point is a place where goroutines yield. The zero Point is ready for use.
type Point struct {
	late    atomic.Pointer[time.Time] // when the last turn ended, if it took too long; else nil
	crowded atomic.Pointer[time.Time] // nobody yields until then; nil if it was never so
}

// Yield returns when all who are ready to run have had their turn, and what time it is then. Among others who compute all
// the time that would be late. If it took longer than fair says, which is asked afterwards, and the next turn does so too,
// nobody yields here for a hundred times as long: whoever comes to Yield meanwhile returns at once. A single one may be
// the garbage collector's, or the machine's.
func (p *Point) Yield(now time.Time, fair func() time.Duration) time.Time {
	if until := p.crowded.Load(); until != nil && now.Before(*until) {
		return now
	}
	runtime.Gosched()
	end := time.Now()
	p.judge(now, end, fair())
	return end
}

// judge looks at a turn that is over.
func (p *Point) judge(began, end time.Time, fair time.Duration) {
	took, late := end.Sub(began), p.late.Load()
	switch {
	case late != nil && began.Before(*late): // it was under way beside that one, and says nothing new
	case took <= fair:
		if late != nil {
			p.late.CompareAndSwap(late, nil)
		}
	case late == nil:
		p.late.CompareAndSwap(nil, at(end))
	default:
		p.crowded.Store(at(end.Add(100 * took)))
		p.late.Store(nil)
	}
}

func at(t time.Time) *time.Time { return &t }
