package client

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/genbrowser/genbrowser/web/problem"
)

// unacked is what was handled since the last acknowledgement.
type unacked struct {
	count   int
	bytes   int    // of bodies
	acked   string // the cursor that was acknowledged last
	resumed bool   // from a cursor: what came before it was handled, and may be unacknowledged
}

// Ack lets the server forget the messages that were handled. [Mailbox.Messages] does so by itself, each time a
// quarter of what the mailbox can hold was handled.
func (m *Mailbox) Ack(ctx context.Context) error {
	m.mu.Lock()
	cursor, now := m.done(), m.unacked
	m.mu.Unlock()
	if cursor == "" {
		return nil
	}
	body, err := json.Marshal(map[string]string{"cursor": cursor})
	if err != nil {
		return err
	}
	if err := m.client.done(ctx, http.MethodPost, "/ack", m.key, body, http.StatusNoContent); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unacked.acked, m.unacked.resumed = cursor, false
	m.unacked.count = max(0, m.unacked.count-now.count)
	m.unacked.bytes = max(0, m.unacked.bytes-now.bytes)
	return nil
}

// handled moves past a message.
func (m *Mailbox) handled(cursor string, bytes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cursor = cursor
	if m.ledger == nil {
		m.unacked.count++
		m.unacked.bytes += bytes
	}
}

// ackDue reports whether it is time to acknowledge. A sender must find room for the longest message before so
// many bytes were handled.
func (m *Mailbox) ackDue() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	l, u, done := m.limits, m.unacked, m.done()
	if l.Backlog == 0 || done == "" || done == u.acked {
		return false
	}
	return u.resumed || u.count >= max(1, l.Backlog/4) || u.bytes >= min(l.BacklogBytes/4, l.BacklogBytes-l.Body)
}

const (
	// ackWithin is how long an acknowledgement may take.
	ackWithin = 10 * time.Second
	// ackGrace is how much longer the one under way may take once the loop over the messages ended.
	ackGrace = time.Second
)

// acks acknowledges beside a loop over the messages. An acknowledgement that failed is repeated even if no
// message follows: none can, once the mailbox is full.
type acks struct {
	m      *Mailbox
	cancel context.CancelFunc
	wake   chan struct{}
	stop   chan struct{}
	done   chan struct{}
}

func (m *Mailbox) startAcks(ctx context.Context) *acks {
	ctx, cancel := context.WithCancel(ctx)
	a := &acks{m: m, cancel: cancel, wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	go a.run(ctx)
	return a
}

// look has it look whether an acknowledgement is due.
func (a *acks) look() {
	if !a.m.ackDue() {
		return
	}
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// end acknowledges if that is due, and waits for that, but not for long.
func (a *acks) end() {
	close(a.stop)
	timer := time.AfterFunc(ackGrace, a.cancel)
	defer timer.Stop()
	<-a.done
	a.cancel()
}

func (a *acks) run(ctx context.Context) {
	defer close(a.done)
	var err error
	for failures := 0; ; {
		wake, again := a.wake, (<-chan time.Time)(nil)
		if failures > 0 {
			wake, again = nil, time.After(least(err)+a.m.client.jitter(failures))
		}
		stopped := false
		select {
		case <-wake:
		case <-again:
		case <-a.stop:
			stopped = true
		}
		if err = nil; a.m.ackDue() {
			err = a.ack(ctx)
		}
		switch {
		case errors.Is(err, problem.MissingRight):
			return // the key may only read
		case err != nil:
			failures++
		default:
			failures = 0
		}
		if stopped {
			return
		}
	}
}

func (a *acks) ack(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, ackWithin)
	defer cancel()
	return a.m.Ack(ctx)
}
