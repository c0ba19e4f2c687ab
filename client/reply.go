package client

import (
	"context"
	"errors"

	"github.com/genbrowser/genbrowser/web/problem"
)

// Reply answers a call that was received with body, which is marshalled to JSON. Answering it again does nothing.
func (p *Peer) Reply(ctx context.Context, call Message, body any) error {
	return p.answer(ctx, call, "reply", body)
}

// Fail answers a call that was received with what went wrong. A [*problem.Problem] or a problem.Kind within err is
// what the caller gets, with the text of err, 1 KiB at most, as its detail; any other err is a problem of kind CallFailed.
func (p *Peer) Fail(ctx context.Context, call Message, err error) error {
	return p.answer(ctx, call, "failure", toProblem(err))
}

func (p *Peer) answer(ctx context.Context, call Message, kind string, body any) error {
	if call.Kind != "call" {
		return errors.New("client: only a message of kind call can be answered, and this one is of kind " + call.Kind)
	}
	l, err := p.up.post(Outgoing{To: call.Reply, Kind: kind, Ref: call.Ref, Body: body})
	if err != nil {
		return err
	}
	err = p.up.answered(ctx, l)
	if errors.Is(err, problem.Replied) || isOver(err) && l.again {
		return nil // the latter, most likely, since this one had arrived, and its answer was lost
	}
	return err
}

func toProblem(err error) *problem.Problem {
	var kind *problem.Kind
	var found *problem.Problem
	switch {
	case errors.As(err, &found) && error(found) == err:
		return found
	case errors.As(err, &kind):
		return &problem.Problem{Kind: kind, Detail: err.Error()}
	}
	return &problem.Problem{Kind: problem.CallFailed, Detail: err.Error()}
}
