package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
)

// Service is a process that keeps state. It is given one message at a time, so that it needs no locks; it may have
// more methods, which are those of [Initializer], [Informer] and [Terminator].
//
// A panic in any of them ends this incarnation, and [ProcessOptions] say what comes after.
type Service interface {
	// Call answers a call with what it returns, which is marshalled to JSON. An error is a failure to the caller:
	// 422 refused if it wraps [ErrRefused]; that of a call which this one made, if it wraps a [*Failure], [ErrClosed],
	// [ErrExited], [ErrExpired], [ErrGone] or [ErrCallTimeout]; 502 call-failed otherwise. [NoReply] leaves the answer
	// to what [Context.Later] returned.
	Call(ctx *Context, m Message) (reply any, err error)
	// Cast takes a message that wants no answer. An error is logged.
	Cast(ctx *Context, m Message) error
}

// Initializer is a [Service] that is told to begin, before its first message. An error ends it, as a panic does.
type Initializer interface {
	Init(ctx *Context) error
}

// Informer is a [Service] that takes what is neither a call nor a cast: replies and failures, the down and exited of
// what it watches, and what its own timers were given. An error is logged. With no such method, they are dropped,
// and an exited ends the service with the same reason.
type Informer interface {
	Info(ctx *Context, m Message) error
}

// Terminator is a [Service] that is told of its end, whatever ends it but the end of the program. What was put off
// with [Context.Later] can still be answered.
type Terminator interface {
	Terminate(reason Down)
}

// NoReply is what [Service.Call] returns when the caller gets its answer later.
var NoReply any = noReply{}

type noReply struct{}

// Context is a [Service]'s own: what one incarnation of it can do. As a context.Context it ends with the incarnation,
// and may be used by any goroutine; its own methods are for the service's, within the call that was given it.
type Context struct {
	context.Context
	process *process
	service Service
	cancel  context.CancelFunc

	// of the process's goroutine
	message  *Message // that is being handled
	put      bool     // Later was called for it
	next     []func(*Context) error
	stopped  *Down              // by Stop
	broken   *Down              // by a panic
	client   string             // the ref of the link with the client whose process this is; empty if it is nobody's
	watching map[string]telling // what takes its monitors and links back, by ref; those that told are not in here

	mu      sync.Mutex
	over    bool
	timers  map[*Timer]struct{}
	owed    map[*Later]struct{}
	sweepAt int // how many are owed when it is worth looking for those that are too late
}

// incarnate makes a new instance of the service.
func (p *process) incarnate() *Context {
	c := &Context{process: p, sweepAt: sweepOwed}
	c.Context, c.cancel = context.WithCancel(p.server.processes.handlers)
	p.mu.Lock()
	p.cancel = c.cancel
	p.mu.Unlock()
	p.service.now = c
	return c
}

// init makes the service and starts it.
func (c *Context) init() (err error) {
	c.protect("Init", func() {
		c.service = c.process.service.new()
		if s, ok := c.service.(Initializer); ok {
			err = s.Init(c)
		}
	})
	if c.broken != nil {
		return fmt.Errorf("it panicked: %v", c.broken.Detail)
	}
	if err == nil {
		err = c.companion()
	}
	if err == nil {
		c.goOn()
	}
	return err
}

// Self returns the process's address.
func (c *Context) Self() address.Address { return c.process.address }

// Name returns the process's name.
func (c *Context) Name() string { return c.process.name }

// Sender is who sent the message that is being handled, as its Sender says; the zero value within Init and Continue.
func (c *Context) Sender() Sender {
	if c.message == nil {
		return Sender{}
	}
	return c.message.Sender
}

// Send is [Server.Send], which does not wait for a full queue here.
func (c *Context) Send(to address.Address, body any) error {
	return c.process.server.Send(c, to, body)
}

// Call is [Server.Call]. The process handles nothing else meanwhile, so that two that call each other wait until one
// gives up, and one that calls itself is told that it does; Later and a goroutine do better.
func (c *Context) Call(ctx context.Context, to address.Address, body any) (json.RawMessage, error) {
	var g address.Grant
	s := c.process.server
	if s.keys.Verify(&g, to.String()) == nil && g.Kind() == address.Process && string(g.Name()) == c.process.name {
		return nil, fmt.Errorf("server: process %q calls itself, and would wait for itself: use Continue", c.process.name)
	}
	return s.Call(ctx, to, body)
}

// Continue has f run when what is going on returns, before the next message. f may call Continue, too.
func (c *Context) Continue(f func(*Context) error) { c.next = append(c.next, f) }

// Stop ends the process when what is going on returns: what that returns is still the caller's answer. The zero reason
// is normal. Whether the process is restarted is its policy's to say. A later call changes nothing.
func (c *Context) Stop(reason Down) {
	if c.stopped == nil {
		c.stopped = &reason
	}
}

// Later puts off the answer to the call that is being handled: [Service.Call] returns [NoReply], and whoever has what
// Later returns answers. If the process ends before, the call fails. A process owes at most 10,000 answers, not
// counting those that nobody waits for any more; the next calls fail with [ErrCallFailed].
func (c *Context) Later() *Later {
	l := c.message.answerable()
	if l != nil {
		c.put = true
		c.owe(l)
	}
	return l
}

func (m *Message) answerable() *Later {
	if m == nil {
		return nil
	}
	return m.later
}

const (
	maxOwed   = 10_000
	sweepOwed = 1000
)

func (c *Context) owe(l *Later) {
	c.mu.Lock()
	if len(c.owed) >= c.sweepAt {
		c.sweep()
	}
	full := len(c.owed) >= maxOwed
	if !full {
		if c.owed == nil {
			c.owed = make(map[*Later]struct{})
		}
		c.owed[l] = struct{}{}
		l.owner = c
	}
	c.mu.Unlock()
	if full {
		l.Fail(fmt.Errorf("%w: %q owes %d answers", ErrFull, c.process.name, maxOwed))
	}
}

// sweep forgets answers that would come too late. It must be called with mu held.
func (c *Context) sweep() {
	for l := range c.owed {
		if l.late(time.Now()) {
			delete(c.owed, l)
		}
	}
	c.sweepAt = max(sweepOwed, 2*len(c.owed))
}

// busy reports whether timers run or answers are owed.
func (c *Context) busy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sweep()
	return len(c.timers) > 0 || len(c.owed) > 0
}

// serve has the service do with the message what it is for.
func (p *process) serve(m Message) {
	if m.timer != nil && !m.timer.due(p.service.now) {
		return
	}
	if p.service.now == nil && p.beginsWith(&m) {
		p.start()
	}
	c := p.service.now
	if c == nil {
		p.drop(&m)
		return
	}
	c.handle(&m)
	p.follow(c)
	if p.keyed == nil && !p.dead && p.service.now == nil {
		p.start()
	}
}

// handle gives the service a message, and does what it left to be done.
func (c *Context) handle(m *Message) {
	c.message, c.put = m, false
	c.protect("service", func() { c.deliver(m) })
	c.message = nil
	c.goOn()
	switch {
	case m.later == nil || c.put:
	case c.broken != nil:
		m.later.Fail(errCrashed)
	case c.stopped != nil:
		c.process.drop(m)
	default:
		m.later.Fail(fmt.Errorf("%w: the process did not answer: it returned NoReply without Later", ErrCallFailed))
	}
}

// goOn does what Continue was given.
func (c *Context) goOn() {
	for len(c.next) > 0 && c.broken == nil && c.stopped == nil {
		f := c.next[0]
		c.next = c.next[1:]
		c.protect("continuation", func() { c.report(f(c)) })
	}
}

func (c *Context) deliver(m *Message) {
	if m.Kind == mailbox.KindDown || m.Kind == mailbox.KindExited {
		delete(c.watching, m.Ref)
	}
	switch {
	case m.Kind == mailbox.KindCall:
		answer, err := c.service.Call(c, *m)
		c.answer(m.later, answer, err)
	case m.Kind == mailbox.KindMessage && m.timer == nil:
		c.report(c.service.Cast(c, *m))
	default:
		c.inform(m)
	}
}

func (c *Context) inform(m *Message) {
	s, ok := c.service.(Informer)
	if ok {
		c.report(s.Info(c, *m))
	}
	if m.Kind != mailbox.KindExited || ok && (m.Ref == "" || m.Ref != c.client) {
		return
	}
	var reason Down
	if err := json.Unmarshal(m.Body, &reason); err != nil {
		c.report(err)
		return
	}
	c.Stop(reason)
}

// answer answers a call with what the service returned. A caller whose reply cannot be sent is told so.
func (c *Context) answer(l *Later, answer any, err error) {
	if err == nil && answer == NoReply {
		return
	}
	if err == nil {
		if err = l.Reply(c, answer); err == nil || errors.Is(err, ErrReplied) {
			return
		}
		err = fmt.Errorf("%w: the reply cannot be sent: %w", ErrCallFailed, err)
	}
	c.report(err)
	l.Fail(err)
}

func (c *Context) report(err error) {
	if err != nil && !errors.Is(err, ErrRefused) {
		c.process.server.log.Error("service failed", "process", c.process.name, "error", err)
	}
}

// protect notes a panic of f as the end of the incarnation.
func (c *Context) protect(what string, f func()) {
	defer func() {
		if r := recover(); r != nil {
			c.process.server.panicked(what, c.process.name, r)
			down := crashed(r)
			c.broken = &down
		}
	}()
	f()
}

// outcome returns the reason with which the incarnation is to end, if it is.
func (c *Context) outcome() (Down, bool) {
	switch {
	case c.broken != nil:
		return *c.broken, true
	case c.stopped != nil:
		return *c.stopped, true
	}
	return Down{}, false
}

// end tells the service of its end, and takes back what it had going.
func (c *Context) end(reason Down) {
	if s, ok := c.service.(Terminator); ok {
		c.protect("Terminate", func() { s.Terminate(reason) })
	}
	why := fmt.Errorf("%w: process %q ended before it answered", ErrGone, c.process.name)
	if reason.Reason == downCrashed {
		why = errCrashed
	}
	c.close(why)
}

// close cancels the incarnation's context and timers, takes back what it watches, and fails the calls that it owes an
// answer.
func (c *Context) close(why error) {
	c.process.service.now = nil
	c.cancel()
	c.takeWatchesBack()
	c.process.mu.Lock()
	c.process.cancel = nil
	c.process.mu.Unlock()
	c.mu.Lock()
	c.over = true
	timers, owed := c.timers, c.owed
	c.timers, c.owed = nil, nil
	c.mu.Unlock()
	for t := range timers {
		t.timer.Stop()
	}
	for l := range owed {
		l.Fail(why)
	}
}
