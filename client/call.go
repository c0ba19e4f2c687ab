package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/web/problem"
)

// longestTTL is what a server lets a message have, unless its operator says otherwise.
const longestTTL = 7 * 24 * time.Hour

// Call sends body, which is marshalled to JSON, to a mailbox or process that answers calls, waits for the reply, and
// unmarshals it into result, unless that is nil. It waits until ctx's deadline or, if that has none, for
// DialOptions.CallTimeout; a connection that breaks meanwhile does no harm, unless DialOptions.FailFast is set.
//
// A call that comes to nothing is a [*problem.Problem]: CallTimeout; Gone, Closed or Expired, if there is no callee
// any more; CallFailed, Refused or what else the callee says; what the server refuses; what the peer itself ended
// with. If ctx is cancelled the error wraps [context.Canceled]. A call that failed may have been handled.
func (p *Peer) Call(ctx context.Context, to address.Address, body, result any) error {
	ctx, cancel := p.limited(ctx)
	defer cancel()
	ref := random(16)
	deadline, _ := ctx.Deadline()
	expires := p.box.clock.latest(deadline).Add(2*time.Second - 1) // rounded up, and a second more
	reply, err := p.callReply(ref, expires)
	if err != nil {
		return err
	}
	answers, err := p.expect(ref)
	if err != nil {
		return err
	}
	defer p.forget(ref)
	left := min(time.Until(deadline), longestTTL-time.Second) + time.Second
	l, err := p.up.post(Outgoing{To: to, Body: body, Kind: "call", Ref: ref, Reply: reply, TTL: max(left, time.Second), late: true})
	if err != nil {
		return err
	}
	answer, err := p.await(ctx, l, answers)
	if err != nil {
		return err
	}
	return answer.result(result)
}

// CallAs is [Peer.Call] with a reply of type T.
func CallAs[T any](ctx context.Context, p *Peer, to address.Address, body any) (reply T, err error) {
	err = p.Call(ctx, to, body, &reply)
	return reply, err
}

// limited gives a context without a deadline the usual one.
func (p *Peer) limited(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, p.callTimeout)
}

// replyAddress makes an address with these rights that lets through what answers ref and nothing else.
func (p *Peer) replyAddress(ref string, rights address.Rights) (address.Address, error) {
	return narrowed(p.box.Address(), address.Only(rights), address.Reply(ref))
}

func narrowed(a address.Address, caveats ...address.Caveat) (address.Address, error) {
	if a == (address.Address{}) {
		return a, errors.New("client: reply address: the peer has no address, since its key was narrowed to none of an address's rights")
	}
	a, err := a.Attenuate(caveats...)
	if err != nil {
		return a, fmt.Errorf("client: reply address: %w", err)
	}
	return a, nil
}

// callReply is replyAddress until that time, to the second; what many calls share of it is made once.
func (p *Peer) callReply(ref string, expires time.Time) (address.Address, error) {
	p.mu.Lock()
	base := p.callBase
	p.mu.Unlock()
	if at := p.box.Address(); base.of != at || base.expires != expires.Unix() {
		shared, err := narrowed(at, address.Only(address.Send), address.Expires(expires))
		if err != nil {
			return shared, err
		}
		base = callBase{at, expires.Unix(), shared}
		p.mu.Lock()
		p.callBase = base
		p.mu.Unlock()
	}
	return base.shared.Attenuate(address.Reply(ref))
}

// callBase is what the reply addresses of calls that end in the same second have in common.
type callBase struct {
	of      address.Address
	expires int64
	shared  address.Address
}

// expect opens the place that an answer to ref comes to. It is closed, without one, if the connection breaks and
// nobody is to wait.
func (p *Peer) expect(ref string) (<-chan Message, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return nil, fmt.Errorf("client: call: %w", p.err)
	}
	if p.failFast && p.status == Reconnecting {
		return nil, fmt.Errorf("%w: the call was not sent", ErrBroken)
	}
	answers := make(chan Message, 1)
	p.waiting[ref] = answers
	return answers, nil
}

func (p *Peer) forget(ref string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.waiting, ref)
}

// replied hands an answer to the call that waits for it; one that nobody waits for any more is dropped.
func (p *Peer) replied(m Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if answers := p.waiting[m.Ref]; answers != nil {
		delete(p.waiting, m.Ref)
		answers <- m
	}
}

// broken has calls that shall not wait fail.
func (p *Peer) broken(error) {
	if !p.failFast {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for ref, answers := range p.waiting {
		delete(p.waiting, ref)
		close(answers)
	}
}

// lastWords is how long a call that was sent again, to a callee that ended meanwhile, waits for what the callee said
// before.
const lastWords = 10 * time.Second

// await waits for what answers a call: it may come before the server's word that the call was accepted, and although the
// server refuses to accept it again.
func (p *Peer) await(ctx context.Context, l *letter, answers <-chan Message) (Message, error) {
	accepted := l.answer
	var refused error
	var given <-chan time.Time // up, once it was refused
	for {
		select {
		case m, ok := <-answers:
			if !ok {
				p.up.leave(ctx, l)
				return m, fmt.Errorf("%w: the call may have been handled", ErrBroken)
			}
			return m, nil
		case err := <-accepted:
			if err != nil && !(l.again && isOver(err)) {
				return Message{}, err
			}
			accepted = nil
			if refused = err; refused != nil {
				given = time.After(lastWords)
			}
		case <-given:
			return Message{}, refused
		case <-p.life.Done():
			return Message{}, p.ended("call")
		case <-ctx.Done():
			if refused != nil && !errors.Is(ctx.Err(), context.Canceled) {
				return Message{}, refused
			}
			return Message{}, p.timeout(ctx, l, accepted == nil)
		}
	}
}

// isOver reports whether a refusal says that there is no callee any more, or no right to call it: there may have been one.
func isOver(err error) bool { return notGone(err) == nil || errors.Is(err, problem.CapabilityExpired) }

// timeout is the failure of a call whose time is over.
func (p *Peer) timeout(ctx context.Context, l *letter, accepted bool) error {
	detail := "the call was accepted, and not answered"
	if !accepted {
		switch err := p.up.leave(ctx, l); {
		case errors.Is(err, errNotSent):
			detail = "the call was " + errNotSent.Error() + lastly(p.up.why())
		case err != nil:
			detail = "the server has not answered; the call may have been handled" + lastly(p.up.why())
		}
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("client: call: %w: %s", ctx.Err(), detail)
	}
	return &problem.Problem{Kind: problem.CallTimeout, Detail: detail}
}

// result unmarshals a reply, or returns the problem of a failure.
func (m *Message) result(into any) error {
	if m.Kind == "failure" {
		return failure(m.Body)
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(m.Body, into); err != nil {
		return fmt.Errorf("client: call: the reply %.40s does not fit %T: %w", m.Body, into, err)
	}
	return nil
}

// failure is the problem that a failure's body describes.
func failure(body []byte) error {
	var m problem.Members
	if err := json.Unmarshal(body, &m); err != nil || m.Status/100 < 4 {
		return &problem.Problem{Kind: problem.CallFailed, Detail: fmt.Sprintf("the callee says %.200s, which is no problem", body)}
	}
	return m.Problem()
}
