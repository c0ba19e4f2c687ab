package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/genbrowser/genbrowser/address"
)

// Step is a pure process: what a message makes of a state, and what is to be sent then. It does nothing else, needs no
// server, and must not change what state refers to, such as a map's entries.
type Step[S any] func(state S, m Message) (S, []Outgoing, error)

// Outgoing is a message that a [Step] wants sent.
type Outgoing struct {
	To   address.Address
	Ref  string // of the call that it replies to; empty for a message
	Body any    // marshalled to JSON
}

// ReplyTo returns the reply to a call, at once or in a later step: of m, its Reply and Ref are all that is needed.
func ReplyTo(m Message, body any) Outgoing { return Outgoing{To: m.Reply, Ref: m.Ref, Body: body} }

// Pure makes step the process of that name, with a state that begins as initial, and returns its address. What a step
// wants sent is sent once it has succeeded, in its order. One that returns an error or panics, or that wants something
// sent that is no JSON, leaves the state as it was and sends nothing; its call fails. What cannot be sent is logged.
//
// In a cluster, it is as with [Server.HandleSingle].
func Pure[S any](s *Server, name string, initial S, step Step[S]) (address.Address, error) {
	return s.HandleSingle(name, &pure[S]{s, name, step, initial})
}

type pure[S any] struct {
	server *Server
	name   string
	step   Step[S]
	state  S
}

func (p *pure[S]) Handle(ctx context.Context, m Message) error {
	state, out, err := p.try(m)
	if err != nil {
		return err
	}
	p.state = state
	var errs []error
	for _, o := range out {
		if err := p.send(ctx, &m, &o); err != nil {
			errs = append(errs, fmt.Errorf("sent after a step: %w", err))
		}
	}
	if len(errs) > 0 {
		p.server.log.Error("pure process could not send", "process", p.name, "error", errors.Join(errs...))
	}
	return nil
}

// try returns what the step makes of the message. Bodies are marshalled before the state is replaced.
func (p *pure[S]) try(m Message) (state S, out []Outgoing, err error) {
	defer func() {
		if r := recover(); r != nil {
			p.server.panicked("step", p.name, r)
			err = errCrashed
		}
	}()
	state, out, err = p.step(p.state, m)
	if err != nil {
		return state, nil, err
	}
	for i := range out {
		if out[i].To.IsZero() {
			return state, nil, fmt.Errorf("step: message %d has no address", i)
		}
		text, err := json.Marshal(out[i].Body)
		if err != nil {
			return state, nil, fmt.Errorf("step: message %d: %w", i, err)
		}
		out[i].Body = json.RawMessage(text)
	}
	return state, out, nil
}

func (p *pure[S]) send(ctx context.Context, m *Message, o *Outgoing) error {
	switch {
	case o.Ref == "":
		return p.server.Send(ctx, o.To, o.Body)
	case m.later != nil && o.Ref == m.Ref && o.To == m.Reply:
		return m.Answer(ctx, o.Body)
	}
	return (&Later{server: p.server, reply: o.To, ref: o.Ref}).Reply(ctx, o.Body)
}
