package web

import (
	"fmt"
	"math"
	"time"

	"github.com/genbrowser/genbrowser/web/problem"
)

// maySend returns the problem of a client that sends more than it may.
func (h *Handler) maySend(client string, size int) error {
	now := time.Now()
	if wait := h.messages.wait(client, 1, now); wait > 0 {
		return tooMany(h.messages, "messages", wait)
	}
	if wait := h.bytes.wait(client, size, now); wait > 0 {
		return tooMany(h.bytes, "bytes", wait)
	}
	return nil
}

func tooMany(l *limiter, what string, wait time.Duration) error {
	return &problem.Problem{
		Kind:       problem.TooManyMessages,
		Detail:     fmt.Sprintf("at most %d %s at once and %v a second", l.burst, what, float64(l.rate)),
		RetryAfter: wholeSeconds(wait),
	}
}

func wholeSeconds(d time.Duration) time.Duration {
	return time.Duration(math.Ceil(d.Seconds())) * time.Second
}
