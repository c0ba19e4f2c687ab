package server

import (
	"fmt"
	"time"

	"github.com/genbrowser/genbrowser/address"
)

// Restart says when a [Service] that ended is made anew.
type Restart uint8

const (
	Permanent Restart = iota // always, but for an exit
	Transient                // when it crashed, or stopped with a reason other than normal
	Temporary                // never
)

// ProcessOptions say how a [Service] runs. The zero value is a good one.
type ProcessOptions struct {
	// Restart says what comes after an end. The next incarnation handles the messages that wait; the one that the
	// process crashed on is gone.
	Restart Restart
	// MaxRestarts within Window is how often it is restarted: one more, and its name is released, what waits is
	// dropped, and later messages get ErrGone. 3 within 5 s.
	MaxRestarts int
	Window      time.Duration
	// Queue is how many messages may wait: Options.Queue of the server.
	Queue int
	// Validate refuses a message while its sender still waits for the answer. It runs in the sender's goroutine, at
	// the same time as others and as the service. Nil takes all.
	Validate func(m *Message) error
	// Single has one node of a cluster at a time run it, as HandleSingle does.
	Single bool
}

// withDefaults returns the options with nothing left out, or what is wrong with them.
func (o ProcessOptions) withDefaults(s *Server) (ProcessOptions, error) {
	if o.MaxRestarts < 0 || o.Window < 0 || o.Queue < 0 {
		return o, fmt.Errorf("server: MaxRestarts %d, Window %v, Queue %d: want none below 0", o.MaxRestarts, o.Window, o.Queue)
	}
	if o.Restart > Temporary {
		return o, fmt.Errorf("server: Restart %d: want Permanent, Transient or Temporary", o.Restart)
	}
	if o.MaxRestarts == 0 {
		o.MaxRestarts = 3
	}
	if o.Window == 0 {
		o.Window = 5 * time.Second
	}
	if o.Queue == 0 {
		o.Queue = s.queue
	}
	return o, nil
}

// Reasons of the ends that come about here; [Down] has all.
const (
	downNormal  = "normal"
	downCrashed = "crashed"
)

// errCrashed is what those are told who called a process that crashed.
var errCrashed = fmt.Errorf("%w: the process crashed", ErrCallFailed)

// crashed is the end of what panicked or failed.
func crashed(why any) Down {
	return Down{Reason: downCrashed, Detail: fmt.Sprintf("%.200s", fmt.Sprint(why))}
}

// Serve starts the service that new makes as the process of that name, and returns its address once the service's
// Init has returned; if that fails, nothing was started. The name must not be taken. new is called for each
// incarnation: what is to outlive a restart must not be in what it returns.
func (s *Server) Serve(name string, new func() Service, o ProcessOptions) (address.Address, error) {
	o, err := o.withDefaults(s)
	if err != nil {
		return address.Address{}, err
	}
	first := make(chan error, 1)
	v := &service{new: new, options: o, first: first}
	p := &process{name: name, single: o.Single, server: s, service: v, check: o.Validate, room: make(chan struct{}, o.Queue)}
	if err := s.register(p); err != nil {
		return address.Address{}, err
	}
	all := &s.processes
	all.mu.Lock()
	p.wakeUp()
	all.mu.Unlock()
	if err := <-first; err != nil {
		return address.Address{}, fmt.Errorf("server: %q did not start: %w", name, err)
	}
	return p.address, nil
}

// service is what a process with state has beside its queue. Only the goroutine that runs the process uses it.
type service struct {
	new      func() Service
	options  ProcessOptions
	now      *Context    // the incarnation that lives; nil between two
	first    chan error  // takes what the first Init returned; nil once it has
	restarts []time.Time // within the window
}

// started tells who waits in Serve.
func (v *service) started(err error) {
	if v.first != nil {
		v.first <- err
		v.first = nil
	}
}

// start makes a new incarnation, again and again if it does not last, until the process ends.
func (p *process) start() {
	for !p.dead && p.service.now == nil {
		c := p.incarnate()
		err := c.init()
		if err == nil {
			p.service.started(nil)
			p.follow(c)
			continue
		}
		c.close(errCrashed)
		p.tellEnd(crashed(err))
		if p.service.first != nil {
			p.die()
			p.service.started(err)
			return
		}
		p.server.log.Error("process did not start", "process", p.name, "error", err)
		p.endOrRestart(crashed(err))
	}
}

// follow ends the incarnation if that is what came of what it did, and decides what comes after.
func (p *process) follow(c *Context) {
	reason, ends := c.outcome()
	if !ends {
		return
	}
	if reason.Reason == "" {
		reason.Reason = downNormal
	}
	p.terminate(reason)
	p.endOrRestart(reason)
}

// endOrRestart has the process end for good unless its policy says otherwise. A keyed process starts anew with the
// next message, be it one that waits.
func (p *process) endOrRestart(reason Down) {
	o := &p.service.options
	if p.keyed != nil && reason.Reason == downNormal {
		return
	}
	if p.keyed == nil && (o.Restart == Temporary || o.Restart == Transient && reason.Reason == downNormal) {
		p.die()
		return
	}
	if p.service.tooMany(time.Now()) {
		p.server.log.Error("process given up: it was restarted too often", "process", p.name,
			"restarts", o.MaxRestarts, "within", o.Window, "reason", reason.Reason, "detail", reason.Detail)
		p.spoilt = true
		p.die()
	}
}

// tooMany counts a restart, and reports whether it is one too many.
func (v *service) tooMany(now time.Time) bool {
	for len(v.restarts) > 0 && now.Sub(v.restarts[0]) >= v.options.Window {
		v.restarts = v.restarts[1:]
	}
	v.restarts = append(v.restarts, now)
	return len(v.restarts) > v.options.MaxRestarts
}
