package client

import (
	"context"
	"errors"
	"iter"
)

// read reads the mailbox until it ends or ctx does, and returns why.
func (p *Peer) read(ctx context.Context) error {
	for m, err := range p.box.Messages(ctx) {
		var gap *GapError
		switch {
		case err == nil:
			p.route(m)
		case errors.As(err, &gap):
			p.inbox.put(item{err: err}, p.box.bound())
		default:
			return err
		}
	}
	return errClosed
}

// route hands a message to who waits for it.
func (p *Peer) route(m Message) {
	switch m.Kind {
	case "reply", "failure":
		p.replied(m)
	case "down":
		p.down(m)
	case "state":
		p.state(m)
	case "exited":
		p.unlinked(m.Ref)
		p.inbox.put(item{message: m}, p.box.bound())
		return
	default:
		p.inbox.put(item{message: m}, p.box.bound())
		return
	}
	m.receipt.take()
}

// Receive returns the next message, waiting for it until ctx ends: a plain one, a call, which wants [Peer.Reply] or
// [Peer.Fail], or an exited one, which [Message.End] reads. A [*GapError] says that messages are missing before
// the next one; any other error is the end. What came before the end can be received still, except after [Peer.Leave].
func (p *Peer) Receive(ctx context.Context) (Message, error) {
	for {
		if it, ok := p.inbox.take(); ok {
			return it.message, it.err
		}
		select {
		case <-p.inbox.ready:
		case <-p.life.Done():
			if it, ok := p.inbox.take(); ok {
				return it.message, it.err
			}
			return Message{}, p.ended("receive")
		case <-ctx.Done():
			return Message{}, ctx.Err()
		}
	}
}

// Messages yields what Receive returns, until the loop is left. It ends without an error when the peer is closed
// by its own program; otherwise the last thing that is yielded is the error that ended it. Once ctx ended it takes no
// more, whatever waits.
func (p *Peer) Messages(ctx context.Context) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		for {
			if err := ctx.Err(); err != nil {
				yield(Message{}, err)
				return
			}
			m, err := p.Receive(ctx)
			var gap *GapError
			end := err != nil && !errors.As(err, &gap)
			if end && ctx.Err() == nil && p.done() {
				return
			}
			if !yield(m, err) || end {
				return
			}
		}
	}
}

// Handle calls f for each message, one at a time, until ctx or the peer ends, and returns why: nil if the peer was
// closed by its own program. Gaps are logged.
func (p *Peer) Handle(ctx context.Context, f func(ctx context.Context, m Message)) error {
	for m, err := range p.Messages(ctx) {
		var gap *GapError
		switch {
		case err == nil:
			f(ctx, m)
		case errors.As(err, &gap):
			p.log.Warn("messages are missing", "error", err)
		default:
			return err
		}
	}
	return nil
}
