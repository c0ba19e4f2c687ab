package client

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/web/problem"
)

// State is what a program keeps to be the same [Peer] when it is started again: see DialOptions.Resume. Make one with
// [Peer.State], or of a [Peer.Key] alone.
//
// It is a secret. Formatted or marshalled it hides its key; [State.Reveal] and [ParseState] are for storing it.
type State struct {
	Key address.Key
	// Cursor is the position after the messages that the program took. Empty: after those that were acknowledged, so that
	// messages that the program took last may come again.
	Cursor string
}

// Reveal returns the state as a secret text, for [ParseState].
func (s State) Reveal() string {
	if s.Cursor == "" {
		return s.Key.Reveal()
	}
	return s.Key.Reveal() + "." + s.Cursor
}

// ParseState reads what [State.Reveal] returned.
func ParseState(text string) (State, error) {
	key, cursor, _ := strings.Cut(text, ".")
	k, err := address.ParseKey(key)
	if err != nil {
		return State{}, fmt.Errorf("client: state: %w", err)
	}
	return State{k, cursor}, nil
}

// State returns what the peer can be resumed by from here on: after the messages that Receive, Messages, Handle or Serve
// took, up to the first that none of them took. A message is taken when it is handed over: who must not miss one stores
// the state once it is handled.
func (p *Peer) State() State {
	p.box.mu.Lock()
	defer p.box.mu.Unlock()
	return State{p.box.key, p.box.ledger.cursor}
}

// errLeftOff is what is done to a peer after its Leave.
var errLeftOff = &problem.Problem{Kind: problem.Closed, Detail: "this peer was left by its own program"}

// Leave ends the peer as [Peer.Close] does, but keeps its mailbox, which DialOptions.Resume takes over by the state that it
// returns: nobody is told of an end, and what is sent to the peer waits there until it slept for too long. What was
// taken is acknowledged, and what was not comes to who resumes, not out of Receive any more; an error says that the server could not be told of that, or that the peer had ended otherwise.
// A Close that follows changes nothing.
func (p *Peer) Leave(ctx context.Context) (State, error) {
	p.up.settle(ctx, errLeftOff)
	p.end(errLeftOff)
	p.inbox.close()
	p.running.Wait()
	var err error
	if p.Err() == errLeftOff {
		err = p.box.Ack(ctx)
	} else {
		err = p.ended("leave")
	}
	p.release()
	return p.State(), err
}

// done reports whether the program itself ended the peer.
func (p *Peer) done() bool {
	err := p.Err()
	return err == errClosed || err == errLeftOff
}

var errNoKey = errors.New("client: DialOptions.Resume has no key")

// open opens a mailbox for a peer, or takes that of the state over, if there is one.
func (o *DialOptions) open(ctx context.Context, c *Client) (*Mailbox, error) {
	l := &ledger{}
	var resume State
	if o.Resume != nil {
		if resume = *o.Resume; resume.Key.IsZero() {
			return nil, errNoKey
		}
		l.cursor = resume.Cursor
	}
	box, err := c.openUntil(ctx, resume)
	if err != nil {
		return nil, err
	}
	box.ledger = l
	return box, nil
}
