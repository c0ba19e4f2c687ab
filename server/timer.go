package server

import "time"

// Timer is one of a [Service]'s, from [Context.After].
type Timer struct {
	context *Context
	value   any
	timer   *time.Timer
}

// After has the service's Info be given a message with that value, which [Message.Timer] returns, after d. The timer
// is cancelled when the process ends, or is restarted.
func (c *Context) After(d time.Duration, value any) *Timer {
	t := &Timer{context: c, value: value}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return t
	}
	if c.timers == nil {
		c.timers = make(map[*Timer]struct{})
	}
	c.timers[t] = struct{}{}
	t.timer = time.AfterFunc(d, func() { c.process.addOwn(Message{timer: t}) })
	return t
}

// Stop cancels the timer, and reports whether its message will not come.
func (t *Timer) Stop() bool {
	c := t.context
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, runs := c.timers[t]; !runs {
		return false
	}
	delete(c.timers, t)
	t.timer.Stop()
	return true
}

// due reports whether the timer's message is still to be handled, by the incarnation that lives.
func (t *Timer) due(now *Context) bool { return t.context == now && t.Stop() }
