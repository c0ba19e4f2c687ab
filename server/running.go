package server

import (
	"fmt"
	"runtime/debug"
)

// wake has the process run. It must be called with all.mu and mu held.
func (p *process) wake() {
	if p.running {
		return
	}
	if p.idle != nil {
		p.idle.Stop()
	}
	p.running = true
	p.server.processes.running++
	p.server.crew.Go(p.run)
}

// wakeUp is wake for who holds all.mu only.
func (p *process) wakeUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wake()
}

// run handles what waits, until nothing does.
func (p *process) run() {
	rests := false
	defer func() {
		if !rests { // the handler ended the goroutine
			p.stopRunning()
		}
	}()
	for !rests {
		batch := p.batch()
		p.begin()
		for _, m := range batch {
			p.heed()
			p.take(m)
		}
		p.heed()
		if len(batch) == 0 {
			rests = p.rest()
		}
	}
	p.stopRunning()
}

func (p *process) batch() []Message {
	p.mu.Lock()
	defer p.mu.Unlock()
	batch := p.waiting
	p.waiting = nil
	return batch
}

// begin starts a service, unless it lives already, or sleeps until there is a message.
func (p *process) begin() {
	if p.service != nil && p.service.now == nil && p.keyed == nil && !p.dead {
		p.start()
	}
}

// heed does what the process was told to do before all else.
func (p *process) heed() {
	s := p.signal.Swap(nil)
	if s == nil || p.dead {
		return
	}
	p.terminate(s.reason)
	if !s.sleep {
		p.tellEnd(s.reason) // if it had not begun
		p.die()
	}
}

// take does with the message what the process is for.
func (p *process) take(m Message) {
	switch {
	case p.dead:
		p.drop(&m)
	case p.service != nil:
		p.serve(m)
	default:
		p.handle(m)
	}
	if m.timer != nil {
		return
	}
	p.server.counters.handled.Add(1)
	<-p.room
	p.server.account(-len(m.Body))
}

// drop tells who calls that nobody will answer.
func (p *process) drop(m *Message) {
	if p.spoilt {
		m.failed(errCrashed)
		return
	}
	m.failed(fmt.Errorf("%w: process %q ended", ErrGone, p.name))
}

// rest reports whether there is nothing to do, and ends the process if it is to end with its last message.
func (p *process) rest() bool {
	if p.toEnd() {
		p.terminate(Down{Reason: downNormal})
		p.die()
		return false
	}
	all := &p.server.processes
	all.mu.Lock()
	defer all.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) > 0 || p.signal.Load() != nil || !p.dead && (p.ended || all.ended) {
		return false
	}
	if p.keyed != nil {
		p.sleepOrIdle()
	}
	p.running = false
	return true
}

// toEnd reports whether the process ends now that nothing waits.
func (p *process) toEnd() bool {
	all := &p.server.processes
	all.mu.RLock()
	defer all.mu.RUnlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.dead && len(p.waiting) == 0 && (p.ended || all.ended)
}

func (p *process) stopRunning() {
	all := &p.server.processes
	all.mu.Lock()
	defer all.mu.Unlock()
	all.running--
	all.endIfQuiet()
}

// die has the process handle nothing any more; its name is free.
func (p *process) die() {
	defer p.server.endNamesIfOver(target{process: p.name}) // without the locks
	all := &p.server.processes
	all.mu.Lock()
	defer all.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead, p.ended = true, true
	if all.byName[p.name] == p {
		delete(all.byName, p.name)
		p.server.named.Add(1)
	}
	if p.keyed != nil {
		p.keyed.forget(p)
	}
	if all.leaving[p] {
		delete(all.leaving, p)
		if c := p.server.cluster; c != nil && len(all.leaving) == 0 {
			c.nudge() // its shard may go
		}
	}
}

// terminate ends what lives of the process, and tells those who watch it.
func (p *process) terminate(reason Down) {
	if p.service != nil {
		if c := p.service.now; c != nil {
			c.end(reason)
		} else if !p.isReleased() {
			return // they were told
		}
	}
	p.tellEnd(reason)
}

// tellEnd tells who watches the process that it ended. One that was released, and whose name another has by now, has nobody
// left to tell: register did.
func (p *process) tellEnd(why Down) {
	all := &p.server.processes
	all.mu.RLock()
	now := all.byName[p.name]
	all.mu.RUnlock()
	if now == nil || now == p {
		p.server.ended(p.name, why)
	}
}

func (p *process) handle(m Message) {
	defer func() {
		if r := recover(); r != nil {
			p.server.panicked("handler", p.name, r)
			m.failed(errCrashed)
			p.tellEnd(crashed(r))
		}
	}()
	if err := p.handler.Handle(p.server.processes.handlers, m); err != nil {
		p.server.log.Error("handler failed", "process", p.name, "error", err)
		m.failed(err)
	}
}

// failed answers a call that has no answer yet.
func (m *Message) failed(err error) {
	if m.later != nil {
		m.later.Fail(err)
	}
}

func (s *Server) panicked(what, process string, reason any) {
	s.log.Error(what+" panicked", "process", process, "reason", fmt.Sprint(reason), "stack", string(debug.Stack()))
}
