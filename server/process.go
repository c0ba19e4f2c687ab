package server

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"sync"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
)

// Message is what a process is given.
type Message struct {
	Body  json.RawMessage
	Kind  mailbox.Kind
	Ref   string          // ties a reply to its call
	Reply address.Address // where a call wants its reply; the zero value if there is none
	Via   []string        // labels of the address that was used
	Trace string          // W3C traceparent

	value any // Body decoded, where the handler is typed
}

// Handler handles a process's messages, one at a time. The context ends when the server's shutdown does. What
// Handle returns or panics with is logged, and hurts no other message; the sender has gone on long ago.
type Handler interface {
	Handle(ctx context.Context, m Message) error
}

// HandlerFunc is a function as a [Handler].
type HandlerFunc func(ctx context.Context, m Message) error

// Handle calls f.
func (f HandlerFunc) Handle(ctx context.Context, m Message) error { return f(ctx, m) }

// Validator is a [Handler] that can refuse a message while its sender still waits for the answer. Validate
// runs in the sender's goroutine, at the same time as others and as Handle.
type Validator interface {
	Handler
	Validate(m *Message) error
}

// Typed returns a handler whose messages are decoded into T. One that is no T is refused to its sender with
// [ErrRefused]; so is one whose Validate method, if *T has one, returns an error.
func Typed[T any](f func(ctx context.Context, value T, m Message) error) Handler { return typed[T](f) }

type typed[T any] func(ctx context.Context, value T, m Message) error

func (f typed[T]) Validate(m *Message) error {
	var value T
	if err := json.Unmarshal(m.Body, &value); err != nil {
		return err
	}
	if v, ok := any(&value).(interface{ Validate() error }); ok {
		if err := v.Validate(); err != nil {
			return err
		}
	}
	m.value = value
	return nil
}

func (f typed[T]) Handle(ctx context.Context, m Message) error {
	value, ok := m.value.(T)
	if !ok { // T is an interface, and the message null
		var none T
		value = none
	}
	return f(ctx, value, m)
}

// processes are those of one server, by name.
type processes struct {
	ctx    context.Context // of the handlers
	cancel context.CancelFunc

	mu      sync.RWMutex
	byName  map[string]*process
	queued  int64         // messages, since the server started
	running int           // goroutines
	quiet   chan struct{} // made by finish, closed when nothing runs
	ended   bool          // nothing is taken any more
}

func (p *processes) init() {
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.byName = make(map[string]*process)
}

// finish waits until every queue is empty. When ctx ends first, it cancels what runs.
func (p *processes) finish(ctx context.Context) error {
	p.mu.Lock()
	if p.quiet == nil {
		p.quiet = make(chan struct{})
		p.endIfQuiet()
	}
	p.mu.Unlock()
	defer p.cancel()
	select {
	case <-p.quiet:
		return nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running == 0 {
		return nil
	}
	p.ended = true
	return fmt.Errorf("server: shutdown: processes still run: %w", ctx.Err())
}

// endIfQuiet must be called with mu held. Nothing begins to run again once it has ended, so quiet is closed once.
func (p *processes) endIfQuiet() {
	if p.running == 0 && p.quiet != nil {
		p.ended = true
		close(p.quiet)
	}
}

// process runs a goroutine only while it has messages.
type process struct {
	name    string
	single  bool // one node at a time runs it
	server  *Server
	handler Handler
	room    chan struct{} // holds a token for each message that waits

	mu      sync.Mutex
	waiting []Message
	running bool
	ended   bool
}

// Handle makes h the process of that name and returns its address. The name must not be taken.
//
// In a cluster, each node's own process handles what comes to that node; what has no room in its queue, or comes to
// a node that has no process of that name, goes to one of the others.
func (s *Server) Handle(name string, h Handler) (address.Address, error) {
	return s.handle(name, h, false)
}

// HandleSingle is Handle for a process that keeps state: in a cluster, whose nodes must all have it, one of them at
// a time is sent all its messages. When another one takes that over, it begins with the state that it has.
func (s *Server) HandleSingle(name string, h Handler) (address.Address, error) {
	return s.handle(name, h, true)
}

func (s *Server) handle(name string, h Handler, single bool) (address.Address, error) {
	addr, err := s.keys.Process(name)
	if err != nil {
		return address.Address{}, err
	}
	p := &s.processes
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byName[name] != nil {
		return address.Address{}, fmt.Errorf("%w: %q", ErrNameTaken, name)
	}
	p.byName[name] = &process{name: name, single: single, server: s, handler: h, room: make(chan struct{}, s.queue)}
	return addr, nil
}

// Release ends the process of that name: messages that wait are still handled, later ones get [ErrGone].
func (s *Server) Release(name string) {
	p := &s.processes
	p.mu.Lock()
	proc := p.byName[name]
	delete(p.byName, name)
	p.mu.Unlock()
	if proc != nil {
		proc.mu.Lock()
		proc.ended = true
		proc.mu.Unlock()
	}
}

// impatient marks, in a context, a sender that must not wait for room in a queue: a handler, or somebody outside.
type impatient struct{}

const (
	inHandler = iota
	outside
)

var fromOutside = context.WithValue(context.Background(), impatient{}, outside)

// names returns the names of the processes, in order.
func (p *processes) names() []string {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return slices.Sorted(maps.Keys(p.byName))
}

func (s *Server) queueFor(ctx context.Context, name string, msg mailbox.Message) error {
	p := &s.processes
	p.mu.RLock()
	proc := p.byName[name]
	p.mu.RUnlock()
	if proc == nil {
		return fmt.Errorf("%w: process %q", ErrGone, name)
	}
	m := Message{Body: msg.Body}
	if meta := msg.Meta; meta != nil {
		m.Kind, m.Ref, m.Via, m.Trace = meta.Kind, meta.Ref, meta.Via, meta.Trace
		if meta.Reply != "" {
			reply, err := address.Parse(meta.Reply)
			if err != nil {
				return err
			}
			m.Reply = reply
		}
	}
	if v, ok := proc.handler.(Validator); ok {
		if err := proc.validate(v, &m); err != nil {
			return fmt.Errorf("%w: %w", ErrRefused, err)
		}
	}
	if err := proc.reserve(ctx); err != nil {
		return err
	}
	return proc.add(m)
}

// validate keeps a panic of the validator from its sender's goroutine.
func (p *process) validate(v Validator, m *Message) (err error) {
	defer func() {
		if r := recover(); r != nil {
			p.panicked("validator", r)
			err = fmt.Errorf("validation failed")
		}
	}()
	return v.Validate(m)
}

// reserve takes a place in the queue, and waits for one unless the sender is impatient.
func (p *process) reserve(ctx context.Context) error {
	select {
	case p.room <- struct{}{}:
		return nil
	default:
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

// add puts the message into the place that was reserved.
func (p *process) add(m Message) error {
	all := &p.server.processes
	all.mu.Lock()
	defer all.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case all.ended:
		<-p.room
		return ErrShuttingDown
	case p.ended:
		<-p.room
		return fmt.Errorf("%w: process %q", ErrGone, p.name)
	}
	p.waiting = append(p.waiting, m)
	all.queued++
	p.server.account(len(m.Body))
	if !p.running {
		p.running = true
		all.running++
		go p.run()
	}
	return nil
}

// run handles what waits, until nothing does.
func (p *process) run() {
	all := &p.server.processes
	defer func() {
		all.mu.Lock()
		defer all.mu.Unlock()
		all.running--
		all.endIfQuiet()
	}()
	ctx := context.WithValue(all.ctx, impatient{}, inHandler)
	for {
		p.mu.Lock()
		batch := p.waiting
		p.waiting = nil
		p.running = len(batch) > 0
		p.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		for _, m := range batch {
			p.handle(ctx, m)
			p.server.counters.handled.Add(1)
			<-p.room
			p.server.account(-len(m.Body))
		}
	}
}

func (p *process) handle(ctx context.Context, m Message) {
	defer func() {
		if r := recover(); r != nil {
			p.panicked("handler", r)
		}
	}()
	if err := p.handler.Handle(ctx, m); err != nil {
		p.server.log.Error("handler failed", "process", p.name, "error", err)
	}
}

func (p *process) panicked(what string, reason any) {
	p.server.log.Error(what+" panicked", "process", p.name, "reason", fmt.Sprint(reason), "stack", string(debug.Stack()))
}
