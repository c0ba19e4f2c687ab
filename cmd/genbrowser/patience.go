package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// patience ends a context once a server that owes answers has given none for so long.
type patience struct {
	limit time.Duration
	end   context.CancelCauseFunc

	mu    sync.Mutex
	owed  int
	timer *time.Timer // nil until the first is owed
}

// ask notes that one more answer is owed.
func (p *patience) ask() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.owed++; p.owed == 1 {
		p.wait()
	}
}

// answered notes that one came.
func (p *patience) answered() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.owed--; p.owed > 0 {
		p.wait()
	} else {
		p.timer.Stop()
	}
}

func (p *patience) wait() {
	if p.timer == nil {
		p.timer = time.AfterFunc(p.limit, func() { p.end(lateError(p.limit)) })
		return
	}
	p.timer.Reset(p.limit)
}

// lateError is that of a server that did not answer for so long.
type lateError time.Duration

func (e lateError) Error() string {
	return fmt.Sprintf("no answer for %v (--timeout); the message may have arrived or not", time.Duration(e))
}
