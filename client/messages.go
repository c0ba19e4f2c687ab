package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/web/problem"
)

// Message is one that arrived.
type Message struct {
	Body  json.RawMessage
	Kind  string          // "message", "call" or "reply"
	Ref   string          // ties a reply to its call
	Reply address.Address // where a call wants its reply
	Via   []string        // labels of the address that was used
	Trace string          // W3C traceparent
}

// GapError says that messages are missing before the next one. Reading goes on.
type GapError struct{ Missing uint64 }

func (e *GapError) Error() string { return fmt.Sprintf("gap: %d messages are missing", e.Missing) }

// Messages yields what arrives, in order, each message once, and heals the connection when it breaks. A
// message counts as handled when the loop's body is done with it, also if it leaves the loop: reading again
// goes on after it.
//
// A [*GapError] is no end. Any other error is the last thing that is yielded: the context's, or the problem
// that makes going on senseless, such as [problem.Expired], [problem.Closed] or [problem.TakenOver].
func (m *Mailbox) Messages(ctx context.Context) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		r := &reading{m: m, yield: yield}
		if err := r.run(ctx); err != nil && !errors.Is(err, errLeft) {
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

	attempt int           // tries since the last one that was good for something
	least   time.Duration // what the server asked to wait
	count   int           // messages handled since the last acknowledgement
	bytes   int           // of their bodies
}

// run connects until it makes no sense any more.
func (r *reading) run(ctx context.Context) error {
	for {
		began := time.Now()
		err := r.connection(ctx)
		switch {
		case errors.Is(err, errLeft):
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case final(err):
			return err
		}
		if p := (*problem.Problem)(nil); errors.As(err, &p) {
			r.least = max(r.least, p.RetryAfter)
			if p.Kind == problem.UnknownCursor || p.Kind == problem.CursorAhead {
				if r.m.Cursor() == "" {
					return err
				}
				r.m.moveTo("")
				if !r.yield(Message{}, &GapError{}) {
					return errLeft
				}
			}
		}
		if time.Since(began) > time.Second {
			r.attempt = 0
		}
		if err := r.pause(ctx); err != nil {
			return err
		}
	}
}

// final reports whether trying again would end the same way.
func final(err error) bool {
	p := (*problem.Problem)(nil)
	if !errors.As(err, &p) {
		return false
	}
	switch p.Kind {
	case problem.UnknownCursor, problem.CursorAhead:
		return false
	}
	return p.Kind.Status/100 != 5 && p.Kind.Status != 429
}

// pause waits for nothing after the first break, then for a random time that doubles in the mean.
func (r *reading) pause(ctx context.Context) error {
	wait := r.least
	if r.attempt > 0 {
		most := min(r.m.client.maxPause, time.Second/2<<min(r.attempt, 16))
		wait = max(wait, rand.N(most))
	}
	r.attempt++
	r.least = 0
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// connection reads one stream to its end.
func (r *reading) connection(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, ended := r.m.stream(ctx)
	for e := range events {
		if err := r.event(ctx, e); err != nil {
			cancel()
			for range events {
			}
			<-ended
			return err
		}
	}
	return <-ended
}

// event handles one event of a stream.
func (r *reading) event(ctx context.Context, e event) error {
	switch e.name {
	case "init":
		var o opened
		if err := json.Unmarshal(e.data, &o); err != nil {
			return fmt.Errorf("client: init: %w", err)
		}
		r.m.learn(&o)
		if o.Gap > 0 && !r.yield(Message{}, &GapError{o.Gap}) {
			return errLeft
		}
		r.m.moveTo(e.id)
	case "gap":
		var g struct{ Missing uint64 }
		if err := json.Unmarshal(e.data, &g); err != nil {
			return fmt.Errorf("client: gap: %w", err)
		}
		if !r.yield(Message{}, &GapError{g.Missing}) {
			return errLeft
		}
		r.m.moveTo(e.id)
	case "bye":
		return r.bye(e.data)
	case "", "message":
		return r.message(ctx, e, Message{Body: e.data, Kind: "message"})
	case "envelope":
		m := Message{Kind: "message"}
		if err := json.Unmarshal(e.data, &m); err != nil {
			return fmt.Errorf("client: envelope: %w", err)
		}
		return r.message(ctx, e, m)
	}
	return nil // an event of a newer server
}

func (r *reading) message(ctx context.Context, e event, m Message) error {
	stay := r.yield(m, nil)
	r.m.moveTo(e.id)
	r.attempt = 0
	r.count++
	r.bytes += len(m.Body)
	if l := r.m.limits; r.count >= max(1, l.Backlog/4) || r.bytes >= max(1, l.BacklogBytes/4) {
		// if this fails, so will the stream, or the next one does it
		if r.m.Ack(ctx) == nil {
			r.count, r.bytes = 0, 0
		}
	}
	if !stay {
		return errLeft
	}
	return nil
}

// bye ends the stream in the way that the server asks for.
func (r *reading) bye(data []byte) error {
	var b struct {
		Reason string
		Retry  int64 // milliseconds
	}
	if err := json.Unmarshal(data, &b); err != nil {
		return fmt.Errorf("client: bye: %w", err)
	}
	switch b.Reason {
	case "taken-over":
		return &problem.Problem{Kind: problem.TakenOver}
	case "closed":
		return &problem.Problem{Kind: problem.Closed}
	case "expired":
		return &problem.Problem{Kind: problem.CapabilityExpired}
	}
	r.least = time.Duration(b.Retry) * time.Millisecond
	return errors.New("client: the server ended the stream: " + b.Reason)
}
