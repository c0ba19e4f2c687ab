// Package standstill tells tests how long something took, without the time that their machine stood still: a virtual one, or
// one that has much else to do, does at times, for a second or more.
package standstill

import (
	"sync"
	"testing"
	"time"
)

const (
	every = 10 * time.Millisecond
	// least is how late a tick is that counts: less is a machine that is busy, and what is tested may be the cause.
	least = 250 * time.Millisecond
)

// Clock is one that stands still with the machine.
type Clock struct {
	mu      sync.Mutex
	last    time.Time
	elapsed time.Duration
	stood   time.Duration
}

// Start starts a clock, which runs until the test ends.
func Start(t testing.TB) *Clock {
	c := &Clock{last: time.Now()}
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-end:
				return
			case <-ticker.C:
				c.Elapsed()
			}
		}
	}()
	t.Cleanup(func() { close(end); <-ended })
	return c
}

// Elapsed returns how long the clock has run.
func (c *Clock) Elapsed() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at(time.Now())
}

func (c *Clock) at(now time.Time) time.Duration {
	if passed := now.Sub(c.last); passed < every+least {
		c.elapsed += passed
	} else {
		c.elapsed += every
		c.stood += passed - every
	}
	c.last = now
	return c.elapsed
}

// Stood returns how long the clock stood still.
func (c *Clock) Stood() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at(time.Now())
	return c.stood
}
