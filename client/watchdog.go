package client

import (
	"context"
	"errors"
	"time"
)

// errMute means that a stream showed no sign of life for two and a half heartbeats.
var errMute = errors.New("client: the stream went mute")

// watchdog cancels a connection that lets its reader wait too long. While nobody reads, as when the program
// takes its time over a message, it does not watch.
type watchdog struct {
	m     *Mailbox
	timer *time.Timer
}

func newWatchdog(m *Mailbox, cancel context.CancelCauseFunc) *watchdog {
	w := &watchdog{m: m, timer: time.AfterFunc(time.Hour, func() { cancel(errMute) })}
	w.timer.Stop()
	return w
}

func (w *watchdog) begin() { w.timer.Reset(w.m.heartbeat() * 5 / 2) }
func (w *watchdog) end()   { w.timer.Stop() }

// heartbeat is the server's, or the usual one while it is not known.
func (m *Mailbox) heartbeat() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.beat <= 0 {
		return 15 * time.Second
	}
	return m.beat
}
