package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
)

// Later answers one call, once, by any goroutine. A nil one answers with an error: what it came from is no call.
type Later struct {
	server *Server
	reply  address.Address
	ref    string
	trace  string
	owner  *Context // who owes the answer; nil: nobody keeps count

	answered atomic.Bool
}

var errNoCall = errors.New("server: this is no call: nobody waits for an answer")

// Reply answers the call with body, which is marshalled to JSON. A second answer is refused with [ErrReplied]; where
// the first one could not be sent, another one can.
func (l *Later) Reply(ctx context.Context, body any) error {
	if l == nil {
		return errNoCall
	}
	text, isText := body.(json.RawMessage) // which is checked on its way
	if !isText {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return fmt.Errorf("server: reply: %w", err)
		}
	}
	if !l.answered.CompareAndSwap(false, true) {
		return ErrReplied
	}
	if err := l.server.answer(ctx, l.call(), mailbox.KindReply, text); err != nil {
		l.answered.Store(false)
		return err
	}
	l.settle()
	return nil
}

// Fail answers the call with a failure: 422 refused if the error wraps [ErrRefused], and so on; 502 call-failed and
// the error's text for one that is not known.
func (l *Later) Fail(why error) error {
	if l == nil {
		return errNoCall
	}
	if !l.answered.CompareAndSwap(false, true) {
		return ErrReplied
	}
	l.server.fail(l.call(), why)
	l.settle()
	return nil
}

func (l *Later) call() *Message {
	return &Message{Kind: mailbox.KindCall, Reply: l.reply, Ref: l.ref, Trace: l.trace}
}

// settle takes the answer off its owner's books.
func (l *Later) settle() {
	if c := l.owner; c != nil {
		c.mu.Lock()
		delete(c.owed, l)
		c.mu.Unlock()
	}
}

// late reports whether nobody would get an answer any more.
func (l *Later) late(now time.Time) bool {
	var g address.Grant
	if l.server.keys.Verify(&g, l.reply.String()) != nil {
		return true
	}
	until, ends := g.Expires()
	return ends && now.After(until)
}
