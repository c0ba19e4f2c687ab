package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/internal/crew"
	"github.com/genbrowser/genbrowser/internal/options"
	"github.com/genbrowser/genbrowser/internal/wheel"
	"github.com/genbrowser/genbrowser/internal/yield"
	"github.com/genbrowser/genbrowser/mailbox"
)

// Options configure a [Server]. Only Keys is needed.
type Options struct {
	Keys *address.Ring
	// Log is where mailboxes outlive the process; nil: they do not. The server has it for itself and closes it.
	Log mailbox.Log
	// Mesh connects this server with others that share the log; nil: it is alone. Node is its name among them,
	// for people.
	Mesh         Mesh
	Node         string
	Snapshot     int64          // bytes that the log may grow by, at least, until it is written anew and trimmed; 64 MiB
	Limits       mailbox.Limits // of each mailbox
	MaxMailboxes int            // 1,000,000
	MaxBytes     int64          // of bodies that wait in mailboxes and queues, together; 1 GiB
	Queue        int            // messages that may wait for one process; 1,000
	Calls        int            // calls of this server's that may wait for their replies; 10,000. Those over HTTP leave a quarter to the program's
	Logger       *slog.Logger   // slog.Default

	MaxRegistered int // names that Register gave at this server and it keeps, at most; 10,000

	clock    clock    // the system's; tests have others
	patience patience // with the other nodes: usual
	offline  bool     // it only has the log, and does nothing by itself
}

// Server is the post office. Make one with [New] and end it with [Server.Shutdown]; any number of goroutines
// may use it.
type Server struct {
	// fixed after construction
	keys         *address.Ring
	limits       mailbox.Limits
	maxMailboxes int64
	maxBytes     int64
	snapshot     int64
	queue        int
	offline      bool
	log          *slog.Logger
	clock        clock
	member       *member  // of the log; nil: nothing outlives the process
	cluster      *cluster // nil: this server is alone
	wheel        *wheel.Wheel
	crew         crew.Crew // of processes
	done         chan struct{}
	background   sync.WaitGroup

	shards    [shardCount]shard
	processes processes
	gone      gone
	tenants   tenants
	notices   notices
	untold    untold
	watchers  watchers // of processes
	callers   callers
	exports   exports
	names     names
	placement atomic.Uint64 // how often mailboxes or processes changed nodes
	named     atomic.Uint64 // how often the names of processes, or those of exported ones, changed

	relief yield.Point // where readers make room

	counters  counters
	mailboxes atomic.Int64
	bytes     atomic.Int64
	config    atomic.Pointer[[]byte]
	stopping  atomic.Bool
	closed    atomic.Bool // it shuts down, and nothing is added to mailboxes any more
	stop      sync.Once
}

// New starts a post office.
func New(o Options) (*Server, error) {
	if o.Keys == nil {
		return nil, errors.New("server: Options.Keys is needed; see address.NewRing")
	}
	if err := o.Limits.Check(); err != nil {
		return nil, err
	}
	if err := options.NotNegative(o); err != nil {
		return nil, fmt.Errorf("server: Options.%w", err)
	}
	s := &Server{
		keys:         o.Keys,
		limits:       o.Limits.WithDefaults(),
		maxMailboxes: 1_000_000,
		maxBytes:     1 << 30,
		snapshot:     64 << 20,
		queue:        1000,
		log:          o.Logger,
		clock:        o.clock,
		offline:      o.offline,
		done:         make(chan struct{}),
	}
	if o.MaxMailboxes > 0 {
		s.maxMailboxes = int64(o.MaxMailboxes)
	}
	if o.MaxBytes > 0 {
		s.maxBytes = o.MaxBytes
	}
	if o.Snapshot > 0 {
		s.snapshot = o.Snapshot
	}
	if o.Queue > 0 {
		s.queue = o.Queue
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	if o.patience == (patience{}) {
		o.patience = usual
	}
	if s.clock == (clock{}) {
		s.clock = clock{time.Now()}
	}
	for i := range s.shards {
		s.shards[i].number = uint8(i)
		if o.Log == nil {
			s.shards[i].own(boxes{}, nil, 0, 0)
		}
	}
	if s.offline {
		s.notices.end()
	}
	s.processes.init()
	s.names.init(o.MaxRegistered)
	if err := s.callers.init(s.keys, o.Calls); err != nil {
		return nil, err
	}
	s.counters.init()
	s.SetConfig(struct{}{})
	s.wheel = wheel.New(s.clock.start)
	s.wheel.Exact(min(s.limits.Asleep/8, stateEvery/4))
	if o.Log != nil {
		if err := s.join(o); err != nil {
			return nil, err
		}
	}
	if !s.offline {
		s.wheel.Start()
	}
	return s, nil
}

// Wheel returns what fires the server's timers, such as those of mailboxes that expire, for what stands on top of the
// server and has timers too, such as heartbeats. It turns until [Server.Shutdown] has ended every reader.
func (s *Server) Wheel() *wheel.Wheel { return s.wheel }

// Limits returns the limits of each mailbox, defaults filled in.
func (s *Server) Limits() mailbox.Limits { return s.limits }

// SetConfig sets what every client is given when it opens its mailbox: any value that marshals to JSON,
// addresses included. It is {} until it is set.
func (s *Server) SetConfig(v any) error {
	config, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("server: config: %w", err)
	}
	s.config.Store(&config)
	return nil
}

// Config returns the JSON that SetConfig was given.
func (s *Server) Config() json.RawMessage { return *s.config.Load() }

// ShuttingDown reports whether Shutdown was called.
func (s *Server) ShuttingDown() bool { return s.stopping.Load() }

// Ready returns nil while the server takes messages, [ErrShuttingDown] once Shutdown was called, and [ErrUnavailable]
// while nothing can be stored, or there are mailboxes that no node of the cluster has.
func (s *Server) Ready() error {
	if s.stopping.Load() {
		return ErrShuttingDown
	}
	if s.member == nil {
		return nil
	}
	if s.cluster != nil && len(s.cluster.missing()) > 0 {
		return fmt.Errorf("%w: nodes are about to take their shards", ErrUnavailable)
	}
	return s.member.current().ready()
}

// Shutdown ends the server: it takes no more messages from outside, lets every process finish what is queued
// for it, and then ends every reader, which may still read what its mailbox holds. If ctx ends first, the
// context of the handlers that still run is cancelled, and the rest is done all the same.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stopping.Store(true)
	if s.cluster != nil {
		s.cluster.retire(ctx) // processes and mailboxes serve the others meanwhile
	}
	err := s.processes.finish(ctx)
	s.stop.Do(func() {
		for _, k := range s.processes.prefixes() {
			s.endSleepers(k)
		}
		close(s.done)
		s.notices.end()
		s.cluster.stopClaiming() // a snapshot may wait for that
		s.background.Wait()
		if s.cluster != nil {
			err = errors.Join(err, s.cluster.yield(ctx))
		}
		s.closed.Store(true)
		for i := range s.shards {
			for _, b := range s.shards[i].all() {
				b.shutDown()
			}
		}
		s.wheel.Close()
		s.crew.Close()
	})
	return err
}

// Stop stores what is left to store, until ctx ends, and lets go of the log. Call it after [Server.Shutdown], when
// the readers are gone.
func (s *Server) Stop(ctx context.Context) error {
	if s.member == nil {
		return nil
	}
	if err := s.member.leave(ctx); err != nil {
		return fmt.Errorf("server: stop: %w", err)
	}
	return nil
}

// account counts the bytes that a mailbox or queue took or gave back.
func (s *Server) account(delta int) {
	if delta != 0 {
		s.bytes.Add(int64(delta))
	}
}

// Stats is how much a server holds.
type Stats struct {
	Mailboxes int64
	Bytes     int64 // of bodies that wait
}

// Stats returns how much the server holds now.
func (s *Server) Stats() Stats { return Stats{s.mailboxes.Load(), s.bytes.Load()} }
