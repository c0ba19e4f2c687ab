// Package crew runs functions in goroutines that are used again: the stack of a new one has to grow anew each time, which
// costs more than many a function that it is for.
package crew

import (
	"slices"
	"sync"
	"time"
)

const (
	// keep is how many goroutines wait for the next function at most.
	keep = 64
	// linger is how often those that there was nothing for since the last time are let go.
	linger = time.Second
)

// Crew runs functions. The zero value is ready.
type Crew struct {
	mu     sync.Mutex
	idle   []chan func() // the one that waits longest first
	least  int           // how many were idle at least since trim looked
	timer  *time.Timer   // of trim; nil while nobody is idle
	closed bool
}

// Go runs f in a goroutine.
func (c *Crew) Go(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := len(c.idle) - 1
	if last < 0 {
		go c.work(f)
		return
	}
	c.idle[last] <- f // which has room for one
	c.idle = c.idle[:last]
	c.least = min(c.least, last)
}

func (c *Crew) work(f func()) {
	next := make(chan func(), 1)
	for f != nil {
		f()
		if !c.rest(next) {
			return
		}
		f = <-next
	}
}

// rest reports whether a goroutine may wait for something to do.
func (c *Crew) rest(next chan func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || len(c.idle) >= keep {
		return false
	}
	c.idle = append(c.idle, next)
	if c.timer == nil {
		c.least = 0
		c.timer = time.AfterFunc(linger, c.trim)
	}
	return true
}

// trim lets the goroutines go that nobody needed.
func (c *Crew) trim() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, next := range c.idle[:c.least] {
		close(next)
	}
	c.idle = slices.Delete(c.idle, 0, c.least)
	c.least = len(c.idle)
	if c.least > 0 {
		c.timer.Reset(linger)
	} else {
		c.timer = nil
	}
}

// Close lets the goroutines go that wait. What runs goes on, and Go still works.
func (c *Crew) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, next := range c.idle {
		close(next)
	}
	c.idle, c.least = nil, 0
}
