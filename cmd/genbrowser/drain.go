package main

import (
	"errors"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

const (
	// silence is how long nobody must call until a draining listener closes.
	silence = 200 * time.Millisecond
	// drainTime is how long it waits for silence. Senders that were told to come back after a while, as they
	// are with 503, do not call meanwhile.
	drainTime = time.Second
)

// draining is a listener that can be closed without resetting the connections that the system holds for it.
// Closed at once, it would break off those who called just before: they could not tell whether what they sent
// was taken.
type draining struct {
	deadliner
	until atomic.Pointer[time.Time] // set while it drains
	pace  *rate.Limiter             // set before it is used; shared with other listeners
	slow  time.Duration             // so long a client may acknowledge nothing
}

// deadliner is what TCP and Unix listeners are.
type deadliner interface {
	net.Listener
	SetDeadline(time.Time) error
}

// Accept returns net.ErrClosed once the listener has drained.
func (d *draining) Accept() (net.Conn, error) {
	until := d.until.Load()
	if until != nil {
		d.listenUntil(*until)
	}
	c, err := d.deadliner.Accept()
	if err == nil && until == nil {
		time.Sleep(d.pace.Reserve().Delay())
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, net.ErrClosed
	}
	if err == nil {
		dropVanished(c, d.slow)
	}
	return c, err
}

// beginDrain makes Accept hand out the connections that wait, and then end.
func (d *draining) beginDrain() {
	until := time.Now().Add(drainTime)
	d.until.Store(&until)
	d.listenUntil(until)
}

func (d *draining) listenUntil(until time.Time) {
	if quiet := time.Now().Add(silence); quiet.Before(until) {
		until = quiet
	}
	d.SetDeadline(until)
}

// newcomers are the connections on which no request has begun. Clients open some to spare, and http.Server.Shutdown
// waits five seconds for each.
type newcomers struct {
	mu   sync.Mutex
	open map[net.Conn]bool
}

func (n *newcomers) note(c net.Conn, state http.ConnState) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if state == http.StateNew {
		n.open[c] = true
	} else {
		delete(n.open, c)
	}
}

// hurry ends those on which none begins soon.
func (n *newcomers) hurry() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.open {
		c.SetReadDeadline(time.Now().Add(silence))
	}
}
