package server

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

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

	// Sender is who sent it, as far as that is proved. Who may do what is usually the address's to say: it is a
	// capability.
	Sender Sender

	value any    // Body decoded, where the process is typed
	later *Later // answers it, if it is a call
	timer *Timer // it is no message of others, but what a timer was given
}

// Answer answers a call; body is marshalled to JSON. It may be called once, by any goroutine, also when Handle has
// returned long ago: [ErrReplied] if the call has its answer. What is no call cannot be answered.
func (m *Message) Answer(ctx context.Context, body any) error { return m.later.Reply(ctx, body) }

// Timer returns what [Context.After] was given, and whether the message is of a timer.
func (m *Message) Timer() (value any, ok bool) {
	if m.timer == nil {
		return nil, false
	}
	return m.timer.value, true
}

// Handler handles a process's messages, one at a time. The context ends when the server's shutdown does. What
// Handle returns or panics with is logged, and hurts no other message; the sender has gone on long ago, unless it
// calls: then [Message.Answer] answers it, and an error or a panic is its answer if it has none yet. A panic tells
// those who monitor the process that it crashed, and it goes on with the next message: what keeps state that a
// panic may spoil is better off as a [Service].
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

// processes are those of one server, by name.
type processes struct {
	ctx      context.Context // of the processes
	handlers context.Context // the same, for the handlers: who has it does not wait for room
	cancel   context.CancelFunc

	mu      sync.RWMutex
	byName  map[string]*process
	keyed   map[string]*keyed // by prefix
	exits   mailbox.Names     // idempotency keys of exits: who has the name next is not to end by a repeated one
	queued  int64             // messages, since the server started
	running int               // goroutines
	leaving map[*process]bool // keyed ones that end because another node is to have their shard
	quiet   chan struct{}     // made by finish, closed when nothing runs and every service has terminated
	closed  bool              // quiet is
	ended   bool              // nothing is taken any more

	vacating [shardCount]atomic.Int64 // since when no process begins in a shard that is to go, in Unix nanoseconds; 0: they do
}

func (p *processes) init() {
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.handlers = context.WithValue(p.ctx, impatient{}, inHandler)
	p.byName = make(map[string]*process)
	p.keyed = make(map[string]*keyed)
	p.leaving = make(map[*process]bool)
}

// finish waits until every queue is empty, and has every service terminate. When ctx ends first, it cancels what runs.
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
	p.endIfQuiet()
	if p.closed {
		return nil
	}
	p.end()
	return fmt.Errorf("server: shutdown: processes still run: %w", ctx.Err())
}

// endIfQuiet must be called with mu held, and that of no process. What runs last are the ends of the processes.
func (p *processes) endIfQuiet() {
	if p.running > 0 || p.quiet == nil {
		return
	}
	p.end()
	if p.running == 0 && !p.closed {
		p.closed = true
		close(p.quiet)
	}
}

// end has every process end that has nothing to do; others do once they have done it. It must be called with mu held.
func (p *processes) end() {
	if p.ended {
		return
	}
	p.ended = true
	for _, proc := range p.byName {
		proc.wakeUp()
	}
	for _, k := range p.keyed {
		for _, proc := range k.awake {
			proc.wakeUp()
		}
	}
}

// process runs a goroutine only while it has messages.
type process struct {
	// fixed after construction
	name    string
	single  bool // one node at a time runs it
	server  *Server
	address address.Address
	check   func(m *Message) error // refuses messages; nil: takes all
	handler Handler                // nil: it is a service
	service *service               // nil: it is a handler
	keyed   *keyed                 // nil: it is none of many
	room    chan struct{}          // holds a token for each message that waits

	mu      sync.Mutex
	names   mailbox.Names // of messages that came
	waiting []Message
	running bool
	ended   bool               // nothing is taken any more
	cancel  context.CancelFunc // of the incarnation that lives; nil between two, and for handlers
	idle    *time.Timer        // of a keyed process that is awake

	signal atomic.Pointer[signal] // what it does before anything that waits

	// of the goroutine that runs it
	dead   bool // it will handle nothing any more
	spoilt bool // it crashed too often
}

// signal tells a process to end.
type signal struct {
	reason Down
	sleep  bool // only until there is a message
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
	p := &process{name: name, single: single, server: s, handler: h, room: make(chan struct{}, s.queue)}
	if v, ok := h.(Validator); ok {
		p.check = v.Validate
	}
	return p.address, s.register(p)
}

// register gives the process its name and address.
func (s *Server) register(p *process) (err error) {
	if p.address, err = s.keys.Process(p.name); err != nil {
		return err
	}
	if !s.processes.knows(p.name) {
		s.ended(p.name, Down{Reason: downNormal}) // one that was released may still handle what waited for it
	}
	all := &s.processes
	all.mu.Lock()
	defer all.mu.Unlock()
	if all.ended {
		return ErrShuttingDown
	}
	if all.byName[p.name] != nil {
		return fmt.Errorf("%w: %q", ErrNameTaken, p.name)
	}
	if k, _ := all.keyedOf(p.name); k != nil {
		return fmt.Errorf("%w: %q is of the keyed processes %q", ErrNameTaken, p.name, k.prefix)
	}
	all.byName[p.name] = p
	s.named.Add(1)
	return nil
}

// Release ends the process of that name, or the keyed processes of that prefix: messages that wait are still handled,
// later ones get [ErrGone]. No policy restarts them.
func (s *Server) Release(name string) {
	defer s.reviewNames() // without the lock
	all := &s.processes
	all.mu.Lock()
	if p := all.byName[name]; p != nil {
		delete(all.byName, name)
		s.named.Add(1)
		p.release()
	}
	k := all.keyed[name]
	if k != nil {
		delete(all.keyed, name)
		for _, p := range k.awake {
			p.release()
		}
	}
	all.mu.Unlock()
	if k != nil {
		s.endSleepers(k)
	}
}

// release must be called with all.mu held.
func (p *process) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	if !p.server.processes.ended {
		p.wake()
	}
}

// exitProcess ends the process of that name for good, ahead of what waits for it, and cancels the context of what it
// does. A keyed process starts anew with its next message. It reports whether there is such a process, awake, or was when an
// exit with that idempotency key came before.
func (s *Server) exitProcess(name string, once mailbox.NameHash, reason Down) bool {
	all := &s.processes
	all.mu.Lock()
	defer all.mu.Unlock()
	p := all.byName[name]
	k, key := all.keyedOf(name)
	if k != nil {
		p = k.awake[key]
	}
	if all.exitedBefore(name, once, p != nil || k != nil, s) {
		return true // the one that it was for
	}
	if p == nil || all.ended {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.signal.Store(&signal{reason: reason})
	if p.cancel != nil {
		p.cancel()
	}
	p.wake()
	return true
}

// exitedBefore reports whether an exit came before under the same idempotency key, and remembers that it came if it is for a
// process that is here. It must be called with mu held.
func (p *processes) exitedBefore(name string, once mailbox.NameHash, here bool, s *Server) bool {
	if once == (mailbox.NameHash{}) {
		return false
	}
	once = mailbox.HashName(name + " " + string(once[:]))
	now, limits := s.clock.now(), s.rememberNames()
	if !here {
		return p.exits.Known(once, now, limits)
	}
	return p.exits.Remember(once, now, limits)
}

// knows reports whether messages to that name would be taken here. A keyed process that sleeps counts.
func (p *processes) knows(name string) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	k, _ := p.keyedOf(name)
	return p.byName[name] != nil || k != nil
}
