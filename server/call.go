package server

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
)

// CallTimeout is how long a call waits whose context has no deadline.
const CallTimeout = 10 * time.Second

// callers are those on this server who wait for replies. Their reply addresses are of a process of its own, which
// has a name that no other server has.
type callers struct {
	name string
	home address.Address
	most int // may wait

	mu      sync.Mutex
	waiting map[string]chan<- answered // by ref
}

type answered struct {
	kind mailbox.Kind
	body []byte
}

// callersPrefix begins the names of processes that are the servers' own.
const callersPrefix = "~callers/"

func (c *callers) init(keys *address.Ring, most int) (err error) {
	if c.most = most; most == 0 {
		c.most = 10_000
	}
	c.name = callersPrefix + newRef()
	c.waiting = make(map[string]chan<- answered)
	c.home, err = keys.Process(c.name)
	return err
}

// newRef returns what no other call has.
func newRef() string {
	var b [16]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// Call sends body, which is marshalled to JSON, as a call to a mailbox or process, and returns the reply's body. It
// waits until ctx ends, or for [CallTimeout] if that has no deadline. The error is that of a message that is refused,
// [ErrCallTimeout] together with the context's once it was accepted, or a [*Failure].
func (s *Server) Call(ctx context.Context, to address.Address, body any) (json.RawMessage, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("server: call: %w", err)
	}
	return s.call(ctx, to.String(), &Letter{Body: text})
}

// PostCall is Call for a letter that came from outside to the address with that text, and so does not wait for room.
// The letter's Kind, Ref and Reply are set here.
func (s *Server) PostCall(ctx context.Context, to string, l *Letter) (json.RawMessage, error) {
	return s.call(context.WithValue(ctx, impatient{}, outside), to, l)
}

func (s *Server) call(ctx context.Context, to string, l *Letter) (json.RawMessage, error) {
	if s.stopping.Load() && ctx.Value(impatient{}) != inHandler {
		return nil, ErrShuttingDown
	}
	if _, has := ctx.Deadline(); !has {
		timeout, cancel := context.WithTimeoutCause(ctx, CallTimeout, ErrCallTimeout)
		defer cancel()
		ctx = timeout
	}
	var g address.Grant
	if err := s.keys.Verify(&g, to); err != nil {
		return nil, err
	}
	answer, err := s.callers.expect(ctx, l)
	if err != nil {
		return nil, err
	}
	defer s.callers.forget(l.Ref)
	posted, err := s.deliver(ctx, &g, l)
	if err != nil {
		return nil, err
	}
	wake, err := posted.Wait()
	if wake != nil {
		wake.Wake()
	}
	if err != nil {
		return nil, err
	}
	select {
	case a := <-answer:
		if a.kind == mailbox.KindFailure {
			return nil, parseFailure(a.body)
		}
		return a.body, nil
	case <-ctx.Done():
		why := context.Cause(ctx)
		if !errors.Is(why, ErrCallTimeout) {
			why = fmt.Errorf("%w: %w", ErrCallTimeout, why)
		}
		return nil, why
	}
}

// expect makes the letter a call, and returns where its answer will come.
func (c *callers) expect(ctx context.Context, l *Letter) (<-chan answered, error) {
	deadline, _ := ctx.Deadline()
	ref := newRef()
	reply, err := c.home.Attenuate(address.Only(address.Send), address.Expires(deadline.Add(2*time.Second)), address.Reply(ref))
	if err != nil {
		return nil, fmt.Errorf("server: call: %w", err)
	}
	l.Kind, l.Ref, l.Reply = mailbox.KindCall, ref, reply.String()
	answer := make(chan answered, 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	most := c.most
	if ctx.Value(impatient{}) == outside { // strangers leave some to the program
		most -= most / 4
	}
	if len(c.waiting) >= most {
		return nil, fmt.Errorf("%w: %d calls wait for their replies", ErrOverloaded, len(c.waiting))
	}
	c.waiting[ref] = answer
	return answer, nil
}

func (c *callers) forget(ref string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, ref)
}

// take gives an answer to who waits for it.
func (c *callers) take(msg *mailbox.Message) error {
	m := msg.Meta
	if m == nil || m.Kind != mailbox.KindReply && m.Kind != mailbox.KindFailure {
		return address.ErrReply
	}
	c.mu.Lock()
	answer := c.waiting[m.Ref]
	delete(c.waiting, m.Ref)
	c.mu.Unlock()
	if answer == nil {
		return ErrReplied // or nobody waits any more
	}
	answer <- answered{m.Kind, msg.Body}
	return nil
}

// fail answers a call with a failure.
func (s *Server) fail(m *Message, why error) {
	if m.Kind != mailbox.KindCall {
		return
	}
	ctx := context.WithValue(context.Background(), impatient{}, inHandler)
	if err := s.answer(ctx, m, mailbox.KindFailure, mustMarshal(FailureOf(why))); err != nil {
		s.log.Debug("a caller was not told that its call failed", "error", err)
	}
}

func (s *Server) answer(ctx context.Context, m *Message, kind mailbox.Kind, body []byte) error {
	var g address.Grant
	if err := s.keys.Verify(&g, m.Reply.String()); err != nil {
		return err
	}
	l := &Letter{Body: body, Meta: mailbox.Meta{Kind: kind, Ref: m.Ref, Trace: m.Trace}}
	posted, err := s.deliver(context.WithValue(ctx, impatient{}, inHandler), &g, l)
	if err != nil {
		return err
	}
	wake, err := posted.Wait()
	if wake != nil {
		wake.Wake()
	}
	return err
}
