package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/web/problem"
)

// Down tells of the end of a mailbox or process.
type Down struct {
	Address address.Address `json:"-"`      // of what ended; the zero value if it was they who linked
	Reason  string          `json:"reason"` // "normal", "closed", "expired", "disconnected", "exit", "crashed", "node-lost" or "gone"
	Detail  json.RawMessage `json:"detail"` // how it crashed, or what the exit said; nil for nothing
}

// End reads a message of kind down or exited; ok is false for any other.
func (m Message) End() (d Down, ok bool) {
	if m.Kind != "down" && m.Kind != "exited" {
		return d, false
	}
	err := json.Unmarshal(m.Body, &d)
	return d, err == nil
}

// Monitor waits for the end of a mailbox or process. Make one with [Peer.Monitor].
type Monitor struct {
	peer  *Peer
	to    address.Address
	ref   string
	reply address.Address
	asks  monitorBody
	c     chan Down
	done  chan struct{}

	once sync.Once
	down Down  // once done is closed
	err  error // then: why there is no down

	mu     sync.Mutex
	over   bool
	states chan string // has room for one

	asked atomic.Bool // it is to be taken back, and nobody said that it is
}

// MonitorOptions say what a monitor of a mailbox tells beside its end. A process has neither.
type MonitorOptions struct {
	// States has [Monitor.States] tell whether the mailbox has a reader.
	States bool
	// Grace is how long the mailbox may be without a reader, in whole seconds up to a day: after that the monitor tells
	// Down with the reason "disconnected", and is over, although the mailbox lives on. 0: as long as it lives.
	Grace time.Duration
}

// monitorBody is what the server is asked for.
type monitorBody struct {
	States bool  `json:"states,omitempty"`
	Grace  int64 `json:"grace,omitempty"` // seconds
}

// errStopped is what waits for a monitor that was stopped.
var errStopped = errors.New("client: the monitor was stopped")

// Monitor asks to be told when a mailbox or process ends. If there is none any more, that is told at once. It needs
// the monitor right. The monitored is told nothing. One value of options, at most, asks for more.
func (p *Peer) Monitor(ctx context.Context, to address.Address, options ...MonitorOptions) (*Monitor, error) {
	var asks monitorBody
	for _, o := range options {
		if o.Grace%time.Second != 0 || o.Grace < 0 {
			return nil, fmt.Errorf("client: monitor: a grace of %v: want whole seconds", o.Grace)
		}
		asks = monitorBody{o.States, int64(o.Grace / time.Second)}
	}
	ref := random(16)
	reply, err := p.replyAddress(ref, address.Send)
	if err != nil {
		return nil, err
	}
	m := &Monitor{peer: p, to: to, ref: ref, reply: reply, asks: asks, c: make(chan Down, 1), done: make(chan struct{}), states: make(chan string, 1)}
	p.mu.Lock()
	if p.err != nil {
		p.mu.Unlock()
		return nil, p.ended("monitor")
	}
	p.monitors[ref] = m
	p.mu.Unlock()
	if err := p.up.send(ctx, m.ask("monitor")); err != nil {
		p.unmonitor(ref)
		if errors.Is(err, ErrUnanswered) { // it may be there, and nobody could stop it
			p.up.post(m.ask("demonitor"))
		}
		return nil, err
	}
	return m, nil
}

func (m *Monitor) ask(kind string) Outgoing {
	return Outgoing{To: m.to, Kind: kind, Ref: m.ref, Reply: m.reply, Body: m.asks}
}

// States gives "connected" when the mailbox has a reader and "asleep" when it has none: the present state first, and
// then what it changed to last, if [MonitorOptions] asked for that. It is closed when the monitor is over.
func (m *Monitor) States() <-chan string { return m.states }

// tellState leaves the newest state for whoever reads next.
func (m *Monitor) tellState(state string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.over {
		return
	}
	select {
	case <-m.states:
	default:
	}
	m.states <- state
}

// endStates tells no more states.
func (m *Monitor) endStates() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.over = true
	close(m.states)
}

// C gives one Down when the end comes. It is closed after that, and without one by Stop and when the peer ends.
func (m *Monitor) C() <-chan Down { return m.c }

// Wait returns when the end comes, as often as it is called. An error says why it will not be told: ctx ended, the
// monitor was stopped, or the peer ended.
func (m *Monitor) Wait(ctx context.Context) (Down, error) {
	select {
	case <-m.done:
		return m.down, m.err
	case <-ctx.Done():
		return Down{}, ctx.Err()
	}
}

// Stop takes the monitor back; once it returns, nothing comes to C any more. That the end came before is no error. After an
// error the server may still have the monitor, and Stop can be called again.
func (m *Monitor) Stop(ctx context.Context) error {
	if m.peer.unmonitor(m.ref) != nil {
		m.end(errStopped)
		m.asked.Store(true)
	}
	if !m.asked.Load() {
		return nil
	}
	err := notGone(m.peer.up.send(ctx, m.ask("demonitor")))
	if err == nil {
		m.asked.Store(false)
	}
	return err
}

// notGone leaves out that there is nothing to be taken back from any more.
func notGone(err error) error {
	if errors.Is(err, problem.Gone) || errors.Is(err, problem.Closed) || errors.Is(err, problem.Expired) {
		return nil
	}
	return err
}

func (m *Monitor) end(err error) {
	m.once.Do(func() {
		m.err = err
		m.endStates()
		close(m.c)
		close(m.done)
	})
}

func (m *Monitor) tell(d Down) {
	m.once.Do(func() {
		m.down = d
		m.endStates()
		m.c <- d
		close(m.c)
		close(m.done)
	})
}

// unmonitor returns the monitor with a ref, which is no more; nil if it was none.
func (p *Peer) unmonitor(ref string) *Monitor {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.monitors[ref]
	delete(p.monitors, ref)
	return m
}

// state tells the monitor that a message is for; one that was stopped meanwhile is none.
func (p *Peer) state(message Message) {
	p.mu.Lock()
	m := p.monitors[message.Ref]
	p.mu.Unlock()
	var told struct{ State string }
	if m != nil && json.Unmarshal(message.Body, &told) == nil {
		m.tellState(told.State)
	}
}

// down tells the monitor that a message is for; one that was stopped meanwhile is none.
func (p *Peer) down(message Message) {
	m := p.unmonitor(message.Ref)
	if m == nil {
		return
	}
	d, ok := message.End()
	if !ok {
		m.end(fmt.Errorf("%w: a down with the body %.80s", errProtocol, message.Body))
		return
	}
	d.Address = m.to
	m.tell(d)
}
