package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/internal/options"
	"github.com/genbrowser/genbrowser/web/problem"
)

// DialOptions configure a [Peer]. The zero value will do.
type DialOptions struct {
	Options // of the client underneath

	// Resume is the [Peer.State] of a peer before, such as of this program before it was started again, which is taken over:
	// the peer has its address, and gets what was sent to it meanwhile. That peer, if it lives, ends with problem.TakenOver.
	// If its mailbox is no more, Dial fails with problem.Gone, Closed or Expired. nil: a new peer.
	Resume *State

	CallTimeout time.Duration // of a Call whose context has no deadline; 10 s
	// Queue and QueueBytes bound the messages that wait to be sent or to be answered by the server, and what they
	// take in JSON; 1,000 and 1 MiB. Beyond that a sender waits for room, until its context ends.
	Queue      int
	QueueBytes int
	// FailFast has calls fail with [ErrBroken] as soon as a connection breaks, or if there is none. Otherwise they
	// wait, until their deadline, for it to heal.
	FailFast bool
	Calls    int            // how many calls Serve handles at a time; 256
	OnStatus func(s Status) // told of each change, in their order; it must neither wait nor use the peer
	// OnLost is told of each message of [Peer.Cast] that was not accepted, or of which nobody knows, and why: what the
	// server refused is a [*problem.Problem]. It must not wait. Without it, they are logged, once a second at most.
	OnLost func(cast Outgoing, err error)
	Logger *slog.Logger // of what nobody is there to be told: a lost cast, a failed handler, a panic; slog.Default
}

// logEvery is how often lost casts are logged at most.
const logEvery = time.Second

// ErrBroken is wrapped by the error of a call that did not wait for its connection to heal, because of
// DialOptions.FailFast. The callee may have handled it or not.
var ErrBroken = errors.New("client: the connection broke")

// Status says how a peer's stream fares.
type Status int

const (
	Connecting   Status = iota // for the first time
	Open                       // it reads
	Reconnecting               // it was open, or the first try failed; what others send waits at the server
	Closed                     // for good; [Peer.Err] says why
)

// String returns the status in lower case.
func (s Status) String() string {
	return [...]string{"connecting", "open", "reconnecting", "closed"}[s]
}

// Peer is this program as a process among others: it has an address, sends and is sent to, calls and is called,
// and knows when others end. Both of its connections, for what it sends and for what it reads, heal by themselves.
// Any number of goroutines may use it.
//
// What is sent goes out in the order in which it was asked for, whatever breaks meanwhile. What others send
// waits in memory until the program takes it, by one of Receive, Messages, Handle and Serve, and counts in the
// mailbox until then: a peer that takes nothing gets no replies either once its mailbox is full.
type Peer struct {
	// fixed after construction
	client      *Client
	owned       *http.Client // to be let go of; nil if it is the program's
	box         *Mailbox
	up          *uplink
	callTimeout time.Duration
	failFast    bool
	calls       int
	onStatus    func(Status)
	onLost      func(Outgoing, error)
	log         *slog.Logger
	inbox       *inbox
	life        context.Context // ends with the peer
	cancel      context.CancelFunc
	running     sync.WaitGroup

	mu       sync.Mutex
	status   Status
	err      error // why it ended
	waiting  map[string]chan Message
	monitors map[string]*Monitor
	links    map[address.Address]link
	callBase callBase
	casts    int       // that were lost since logged
	logged   time.Time // when such were logged
	named    registered
}

// Dial opens a mailbox at the server at endpoint, such as "https://example.com", or takes over that of
// DialOptions.Resume, and begins to read it. Like [Client.Open] it tries for at most Options.OpenWithin. With
// Options.Select or Options.AllowPlain it asks the server first how best to reach it, as [Connect] does; with
// Options.Name, whether it is the one that is wanted: that it tries for as long. The caller closes the peer, or leaves it.
func Dial(ctx context.Context, endpoint string, o DialOptions) (*Peer, error) {
	c, err := o.reach(ctx, endpoint)
	if err != nil {
		return nil, err
	}
	if o.HTTP != nil {
		return c.peer(ctx, o, nil)
	}
	c = c.apart()
	return c.peer(ctx, o, c.http)
}

func (o *DialOptions) reach(ctx context.Context, endpoint string) (*Client, error) {
	if o.Select != nil || o.AllowPlain != nil {
		return connect(ctx, endpoint, o.Options, true)
	}
	c, err := New(endpoint, o.Options)
	if err == nil && o.Name != "" {
		err = hello(ctx, endpoint, &o.Options)
	}
	return c, err
}

// apart returns the client with connections that nobody shares, so that none is left when they are closed.
func (c *Client) apart() *Client {
	if c.http != direct() || c.http.Transport == nil {
		return c
	}
	own := *c
	own.http = overTLS(nil)
	return &own
}

// Peer is [Dial] over a client that there is, whose connections outlive the peer; it leaves aside the Options within o.
func (c *Client) Peer(ctx context.Context, o DialOptions) (*Peer, error) { return c.peer(ctx, o, nil) }

// peer makes one. What is owned is let go of when it ends.
func (c *Client) peer(ctx context.Context, o DialOptions, owned *http.Client) (*Peer, error) {
	if err := options.NotNegative(o); err != nil {
		return nil, fmt.Errorf("client: DialOptions.%w", err)
	}
	p := &Peer{
		client:      c,
		owned:       owned,
		callTimeout: or(o.CallTimeout, usualCall),
		failFast:    o.FailFast,
		calls:       or(o.Calls, 256),
		onStatus:    o.OnStatus,
		onLost:      o.OnLost,
		log:         or(o.Logger, slog.Default()),
		inbox:       newInbox(),
		waiting:     make(map[string]chan Message),
		monitors:    make(map[string]*Monitor),
		links:       make(map[address.Address]link),
		named:       registered{turn: make(chan struct{}, 1), names: make(map[string]address.Address)},
	}
	box, err := o.open(ctx, c)
	if err != nil {
		p.release()
		return nil, err
	}
	p.box = box
	box.changed = p.changed
	p.up = newUplink(c, or(o.Queue, 1000), or(o.QueueBytes, 1<<20), box.heartbeat, p.broken, p.lost)
	p.start()
	return p, nil
}

func or[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

func (p *Peer) release() {
	if p.owned != nil {
		p.owned.CloseIdleConnections()
	}
}

// start reads and sends, until the peer ends.
func (p *Peer) start() {
	p.life, p.cancel = context.WithCancel(context.Background())
	p.running.Go(func() { p.end(p.read(p.life)) })
	p.running.Go(func() { p.end(p.up.run(p.life)) })
}

// Address is what others reach this program by, for as long as the peer lives. It is as [Mailbox.Address] says.
func (p *Peer) Address() address.Address { return p.box.Address() }

// Key makes addresses that may do more than [Peer.Address], such as end the peer: see [address.Key.AddressFor]. It is
// a secret; whoever reads by it takes the mailbox over.
func (p *Peer) Key() address.Key { return p.box.Key() }

// Status says how the stream fares at the moment.
func (p *Peer) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.status
}

// Done is closed when the peer ended.
func (p *Peer) Done() <-chan struct{} { return p.life.Done() }

// Err returns why the peer ended, or nil while it lives. It is a [*problem.Problem] of kind Closed after Close, and
// of the kind that the server told if it was the mailbox that ended: Closed, Expired, Gone, TakenOver; or Disconnected if
// an operator ended it, whose mailbox lives on.
func (p *Peer) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// errClosed is what is done to a peer after its Close.
var errClosed = &problem.Problem{Kind: problem.Closed, Detail: "this peer was closed by its own program"}

// Close ends the peer, and its mailbox at the server: those who monitor it or wait for its replies are told. What was
// sent or cast before goes out first, unless the connection is broken or ctx ends; calls under way fail. It returns
// once nothing of the peer is left here; an error says that the server could not be told, and keeps the mailbox until it expires.
func (p *Peer) Close(ctx context.Context) error {
	p.up.settle(ctx, errClosed)
	p.end(errClosed)
	var err error
	if p.Err() == errClosed {
		err = p.box.Close(ctx)
	}
	p.running.Wait()
	p.release()
	return err
}

// end ends the peer for that reason, unless it ended before.
func (p *Peer) end(reason error) {
	p.mu.Lock()
	if p.err != nil {
		p.mu.Unlock()
		return
	}
	p.err = reason
	monitors := p.monitors
	clear(p.waiting)
	clear(p.links)
	p.monitors = nil
	p.set(Closed)
	p.mu.Unlock()
	for _, m := range monitors {
		m.end(reason)
	}
	p.up.end(reason)
	p.cancel()
}

// set must be called with mu held, so that the changes are told in order.
func (p *Peer) set(s Status) {
	if p.status == s || p.status == Closed {
		return
	}
	p.status = s
	if p.onStatus != nil {
		p.onStatus(s)
	}
}

// changed is told by the stream how it fares.
func (p *Peer) changed(open bool, err error) {
	p.mu.Lock()
	if open {
		if p.status == Reconnecting {
			p.healed()
		}
		p.set(Open)
	} else if !final(err) {
		p.set(Reconnecting)
	}
	p.mu.Unlock()
	if !open {
		p.broken(err)
	}
}

// Send sends body, which is marshalled to JSON, to a mailbox or process, and returns once the server accepted it.
// What the server refuses is a [*problem.Problem], such as Gone or Full. Messages of one goroutine arrive in order, and
// once, whatever becomes of the connection. If ctx ends first, an error that wraps [ErrUnanswered] says that the message
// may have arrived or not; otherwise it has not and will not.
//
// A message whose answer was lost is sent again under the same idempotency key, of which a mailbox remembers the newest
// 1,000 for 10 minutes, unless its server's operator says otherwise. It arrives twice if the mailbox took so many others in
// between, as from many senders, or so much time went by.
//
// If the server shuts down or can store nothing at the moment, that is no answer: the message waits for better
// times, and what is sent after it waits behind it.
func (p *Peer) Send(ctx context.Context, to address.Address, body any) error {
	return p.up.send(ctx, Outgoing{To: to, Body: body})
}

// Cast sends as Send does, in the same order and as safe from breaks, but waits for no answer: it returns once the message is
// in the peer's queue, and waits no longer than for room in that. What the server refuses, as it does if the receiver has no
// room, is lost, and DialOptions.OnLost is told. So it costs a fraction of Send, and is for what may be lost then.
func (p *Peer) Cast(ctx context.Context, to address.Address, body any) error {
	return p.up.cast(ctx, Outgoing{To: to, Body: body})
}

// lost tells of a cast that was not accepted.
func (p *Peer) lost(l *letter, err error) {
	if p.onLost != nil {
		p.onLost(Outgoing{To: l.to, Body: l.body}, err)
		return
	}
	p.mu.Lock()
	p.casts++
	casts, due := p.casts, time.Since(p.logged) >= logEvery
	if due {
		p.casts, p.logged = 0, time.Now()
	}
	p.mu.Unlock()
	if due {
		p.log.Warn("casts were lost", "casts", casts, "error", err)
	}
}

// Whereis is [Client.Whereis].
func (p *Peer) Whereis(ctx context.Context, name string) (address.Address, error) {
	return p.client.Whereis(ctx, name)
}

// ended returns why the peer ended; it must have.
func (p *Peer) ended(doing string) error { return fmt.Errorf("client: %s: %w", doing, p.Err()) }
