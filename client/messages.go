package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/web/problem"
)

// Message is one that arrived.
type Message struct {
	Body  json.RawMessage `json:"body"`
	Kind  string          `json:"kind"`  // "message", "call", "reply", "failure", "down", "state" or "exited"
	Ref   string          `json:"ref"`   // ties a reply to its call
	Reply address.Address `json:"reply"` // where a call wants its reply; the zero value if there is none
	Via   []string        `json:"via"`   // labels of the address that was used, outermost last
	Trace string          `json:"trace"` // W3C traceparent

	receipt *receipt // to be taken, if a peer read it
}

// GapError says that messages are missing before the next one. Reading goes on.
type GapError struct {
	Missing uint64 // how many; 0 if nobody knows, because the position to resume from was of another history
}

// Error implements error.
func (e *GapError) Error() string {
	if e.Missing == 0 {
		return "gap: messages may be missing"
	}
	return fmt.Sprintf("gap: %d messages are missing", e.Missing)
}

// ErrBusy is what a second loop over the messages of one mailbox gets.
var ErrBusy = errors.New("client: another loop reads this mailbox")

// Messages yields what arrives, in order, each message once, and heals the connection when it breaks. A
// message counts as handled when the loop's body is done with it, also if it leaves the loop: reading again
// goes on after it. If the body panics, the message was not handled.
//
// A [*GapError] is no end. Any other error is the last thing that is yielded: the context's, or what makes
// going on senseless, such as the problems [problem.Expired], [problem.Gone] or [problem.TakenOver].
func (m *Mailbox) Messages(ctx context.Context) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		if !m.reading.CompareAndSwap(false, true) {
			yield(Message{}, ErrBusy)
			return
		}
		defer m.reading.Store(false)
		r := &reading{m: m, yield: yield}
		err := r.run(ctx)
		closed := m.closing.Load() && errors.Is(err, problem.Closed)
		if err != errLeft && !closed {
			yield(Message{}, err)
		}
	}
}

// errLeft means that the loop over the messages was left.
var errLeft = errors.New("left")

// reading is one loop over the messages, over as many connections as it takes.
type reading struct {
	m     *Mailbox
	yield func(Message, error) bool
	acks  *acks

	// of the connection under way
	since   time.Time // when its init came
	handled bool      // it brought a message
}

// run connects until it makes no sense any more, and says why.
func (r *reading) run(ctx context.Context) error {
	r.acks = r.m.startAcks(ctx)
	defer r.acks.end()
	r.m.looks(r.acks.look)
	for failures := 0; ; {
		err := r.connection(ctx)
		if r.m.changed != nil {
			r.m.changed(false, err)
		}
		switch {
		case err == errLeft:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case r.restarts(err):
			if !r.yield(Message{}, &GapError{}) {
				return errLeft
			}
			continue
		case final(err):
			return err
		}
		wait := least(err)
		worked := r.handled || r.opened() && time.Since(r.since) >= r.m.heartbeat()
		switch {
		case worked:
			failures = 0
		case r.opened() && failures == 0: // one that breaks again and again doesn't get that each time
			failures = 1
		default:
			failures++
			wait += r.m.client.jitter(failures)
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
}

func (r *reading) opened() bool { return !r.since.IsZero() }

// restarts goes back to the start if the server does not know the cursor, which it can't say of none.
func (r *reading) restarts(err error) bool {
	if !errors.Is(err, problem.UnknownCursor) && !errors.Is(err, problem.CursorAhead) {
		return false
	}
	m := r.m
	m.mu.Lock()
	defer m.mu.Unlock()
	had := m.cursor != ""
	m.cursor, m.unacked = "", unacked{}
	if m.ledger != nil {
		m.ledger.read, m.ledger.cursor = nil, ""
	}
	return had
}

// connection reads one stream to its end.
func (r *reading) connection(ctx context.Context) error {
	r.since, r.handled = time.Time{}, false
	s := r.m.stream(ctx)
	defer s.close()
	for e := range s.events {
		if err := r.event(e); err != nil {
			return err
		}
	}
	if r.m.isKnown() {
		return passing(s.err)
	}
	return s.err
}

// event handles one event of a stream.
func (r *reading) event(e event) error {
	switch e.name {
	case "init":
		var o opened
		if err := e.decode(&o); err != nil {
			return err
		}
		r.m.learn(&o)
		r.since = time.Now()
		if r.m.changed != nil {
			r.m.changed(true, nil)
		}
		defer r.acks.look()
		return r.gap(o.Gap, e.id)
	case "gap":
		var g struct {
			Missing uint64 `json:"missing"`
		}
		if err := e.decode(&g); err != nil {
			return err
		}
		return r.gap(g.Missing, e.id)
	case "bye":
		b := &bye{}
		if err := e.decode(b); err != nil {
			return err
		}
		return b.err()
	case "", "message":
		return r.message(e, Message{Body: e.data, Kind: "message"})
	case "envelope":
		m, err := e.envelope()
		if err != nil {
			return err
		}
		return r.message(e, m)
	}
	return nil // an event of a newer server
}

func (r *reading) message(e event, m Message) error {
	m.receipt = r.m.enter(e.id, len(m.Body))
	stay := r.yield(m, nil)
	r.m.handled(e.id, len(m.Body))
	r.handled = true
	r.acks.look()
	if !stay {
		return errLeft
	}
	return nil
}

// gap tells of missing messages, if there are any, and moves past them.
func (r *reading) gap(missing uint64, cursor string) error {
	stay := missing == 0 || r.yield(Message{}, &GapError{missing})
	r.m.moveTo(cursor)
	if !stay {
		return errLeft
	}
	return nil
}

// bye is the server's word that it ends the stream.
type bye struct {
	Reason string `json:"reason"`
	Retry  *int64 `json:"retry"` // milliseconds; nil if coming back makes no sense

	retry time.Duration
}

// Error implements error.
func (b *bye) Error() string { return "client: the server ended the stream: " + b.Reason }

// byes are the reasons that end reading.
var byes = map[string]*problem.Kind{
	"taken-over": problem.TakenOver,
	"closed":     problem.Closed,
	"expired":    problem.CapabilityExpired,
}

// err is what the bye means for reading.
func (b *bye) err() error {
	if kind := byes[b.Reason]; kind != nil {
		return &problem.Problem{Kind: kind}
	}
	if b.Retry == nil {
		kind := problem.Gone
		if b.Reason == "disconnected" { // the mailbox lives on
			kind = problem.Disconnected
		}
		return &problem.Problem{Kind: kind, Detail: "the server ended the stream: " + b.Reason}
	}
	b.retry = time.Duration(*b.Retry) * time.Millisecond
	return b
}

// errEnded is a stream that ended without a bye.
var errEnded = fmt.Errorf("client: the stream ended: %w", io.ErrUnexpectedEOF)
