package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
)

// impatient marks, in a context, a sender that must not wait for room in a queue: a handler, or somebody outside.
type impatient struct{}

const (
	inHandler = iota
	outside
)

var fromOutside = context.WithValue(context.Background(), impatient{}, outside)

// names returns the names of the processes, in order. Keyed ones are not among them.
func (p *processes) names() []string {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return slices.Sorted(maps.Keys(p.byName))
}

func (s *Server) queueFor(ctx context.Context, name string, msg mailbox.Message, once mailbox.NameHash) error {
	m, err := s.message(msg)
	if err != nil {
		return err
	}
	if from := senderIn(ctx); from != nil {
		m.Sender = *from
	}
	for {
		p, err := s.processes.find(name, &m)
		if err != nil {
			return err
		}
		err = p.reserve(ctx, once)
		switch {
		case errors.Is(err, errRepeated):
			return repeated(&m)
		case err != nil:
			return err
		}
		err = p.add(m, once)
		if p.keyed == nil || !errors.Is(err, errAsleep) {
			return err
		}
	}
}

// took reports whether a message came before.
func (p *process) took(once mailbox.NameHash) bool {
	if once == (mailbox.NameHash{}) {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.names.Known(once, p.server.clock.now(), p.server.rememberNames())
}

// rememberNames are the limits of the names that a process remembers.
func (s *Server) rememberNames() *mailbox.Limits {
	return &mailbox.Limits{Names: max(s.limits.Names, processNames), NameWindow: s.limits.NameWindow}
}

// repeated is what a message that came before is answered.
func repeated(m *Message) error {
	if m.Kind.Answers() {
		return ErrReplied
	}
	return nil
}

// message is what a process gets for what came.
func (s *Server) message(msg mailbox.Message) (Message, error) {
	m := Message{Body: msg.Body}
	meta := msg.Meta
	if meta == nil {
		return m, nil
	}
	m.Kind, m.Ref, m.Via, m.Trace = meta.Kind, meta.Ref, meta.Via, meta.Trace
	if meta.Reply != "" {
		reply, err := address.Parse(meta.Reply)
		if err != nil {
			return m, err
		}
		m.Reply = reply
	}
	if m.Kind == mailbox.KindCall {
		m.later = &Later{server: s, reply: m.Reply, ref: m.Ref, trace: m.Trace}
	}
	return m, nil
}

// find returns the process of that name, which takes the message. It may be a keyed one that begins with it.
func (p *processes) find(name string, m *Message) (*process, error) {
	p.mu.RLock()
	proc := p.byName[name]
	k, key := p.keyedOf(name)
	ended := p.ended
	p.mu.RUnlock()
	switch {
	case ended:
		return nil, ErrShuttingDown
	case k != nil:
		if err := k.server.validate(name, k.options.Validate, m); err != nil {
			return nil, err
		}
		return k.awaken(key)
	case proc == nil:
		return nil, fmt.Errorf("%w: process %q", ErrGone, name)
	}
	return proc, proc.server.validate(proc.name, proc.check, m)
}

// validate keeps a panic of the check from its sender's goroutine.
func (s *Server) validate(name string, check func(*Message) error, m *Message) (err error) {
	if check == nil {
		return nil
	}
	defer func() {
		if r := recover(); r != nil {
			s.panicked("validator", name, r)
			err = fmt.Errorf("%w: validation failed", ErrRefused)
		}
	}()
	if err := check(m); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return nil
}

// errRepeated says that a message came before, and needs no place again.
var errRepeated = errors.New("repeated")

// reserve takes a place in the queue, and waits for one unless the sender is impatient.
func (p *process) reserve(ctx context.Context, once mailbox.NameHash) error {
	select {
	case p.room <- struct{}{}:
		return nil
	default:
	}
	if p.took(once) {
		return errRepeated
	}
	if ctx.Value(impatient{}) != nil {
		return fmt.Errorf("%w: %q has %d messages waiting", ErrFull, p.name, cap(p.room))
	}
	select {
	case p.room <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrFull, ctx.Err())
	case <-p.server.processes.ctx.Done():
		return ErrShuttingDown
	}
}

// errAsleep says that a keyed process ended before the message came: it will have to be started anew.
var errAsleep = fmt.Errorf("%w: it sleeps", ErrGone)

// processNames is how many idempotency keys a process remembers, at least: those of many senders.
const processNames = 10_000

// add puts the message into the place that was reserved, unless it came before under the same idempotency key, or another
// node runs the process by now.
func (p *process) add(m Message, once mailbox.NameHash) error {
	all := &p.server.processes
	all.mu.Lock()
	defer all.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case all.ended:
		<-p.room
		return ErrShuttingDown
	case p.single && p.server.isElsewhere(p.name):
		<-p.room
		return errElsewhere
	case p.ended && p.keyed != nil:
		<-p.room
		return errAsleep
	case p.ended:
		<-p.room
		return fmt.Errorf("%w: process %q", ErrGone, p.name)
	}
	if once != (mailbox.NameHash{}) {
		if p.names.Remember(once, p.server.clock.now(), p.server.rememberNames()) {
			<-p.room
			return repeated(&m)
		}
	}
	p.waiting = append(p.waiting, m)
	all.queued++
	p.server.account(len(m.Body))
	p.wake()
	return nil
}

// addOwn queues what the process has for itself. It needs no room, and is dropped once the process has ended.
func (p *process) addOwn(m Message) {
	all := &p.server.processes
	all.mu.Lock()
	defer all.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !all.ended {
		p.waiting = append(p.waiting, m)
		p.wake()
	}
}
