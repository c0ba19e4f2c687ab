package server

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
)

// MonitorOptions say what a monitor of a mailbox tells beside its end. A process has neither.
type MonitorOptions struct {
	// States has it tell, too, whether the mailbox has a reader: a message of kind state, whose body is a [State], at
	// once, and whenever that changed.
	States bool
	// Grace is how long the mailbox may be without a reader, in whole seconds up to a day: after that the monitor tells
	// down with reason disconnected, and is over, although the mailbox lives on. 0: as long as it lives.
	Grace time.Duration
}

// Monitor lets the service know when a mailbox or process ends, wherever it is: a message of kind down with the ref
// comes to its Info, once. That comes soon if there is none any more. One value of options, at most, asks for more.
// Monitors and links are taken back when the incarnation ends; what they tell just then may come to the next one. Where
// other nodes run a process of that name, too, each for itself, there is neither: they could be told instead.
func (c *Context) Monitor(to address.Address, options ...MonitorOptions) (ref string, err error) {
	ref = newRef()
	var asks monitor
	for _, o := range options {
		if asks, err = o.asks(); err != nil {
			return "", err
		}
	}
	return ref, c.watch(to, mailbox.KindMonitor, ref, mustMarshal(asks))
}

func (o MonitorOptions) asks() (monitor, error) {
	if o.Grace%time.Second != 0 || o.Grace < 0 || o.Grace > maxGrace {
		return monitor{}, fmt.Errorf("server: monitor: a grace of %v: want whole seconds up to %v", o.Grace, maxGrace)
	}
	m := monitor{States: o.States}
	if seconds := int64(o.Grace / time.Second); seconds > 0 {
		m.Grace = &seconds
	}
	return m, nil
}

// Demonitor takes a monitor back.
func (c *Context) Demonitor(to address.Address, ref string) error {
	return c.unwatch(to, mailbox.KindDemonitor, ref)
}

// Link is Monitor in both directions, with a message of kind exited: who ends first takes the other one along, unless
// that handles exited in its Info.
func (c *Context) Link(to address.Address) (ref string, err error) {
	ref = newRef()
	return ref, c.watch(to, mailbox.KindLink, ref, []byte("null"))
}

// Unlink takes a link back.
func (c *Context) Unlink(to address.Address, ref string) error {
	return c.unwatch(to, mailbox.KindUnlink, ref)
}

// watch asks to be told, and remembers what is to be taken back when the incarnation ends.
func (c *Context) watch(to address.Address, kind mailbox.Kind, ref string, body []byte) error {
	s, name := c.process.server, c.process.name
	if !s.processes.isOne(name) && len(s.cluster.haveProcess(name)) > 0 {
		return fmt.Errorf("server: %v: other nodes run %q, too, and could be told instead: want a process that is Single, or Keyed", kind, name)
	}
	reply, err := c.ask(to, kind, ref, body)
	back := telling{of: to, kind: mailbox.KindDemonitor, reply: reply, ref: ref}
	if kind == mailbox.KindLink {
		back.kind = mailbox.KindUnlink
	}
	if err != nil { // it may watch all the same, or one end of a link may
		if s.notices.offer(notice{server: s, tellings: []telling{back}}) != nil {
			s.log.Warn("a watch that failed could not be taken back", "process", name)
		}
		return err
	}
	if c.watching == nil {
		c.watching = make(map[string]telling)
	}
	c.watching[ref] = back
	return nil
}

func (c *Context) unwatch(to address.Address, kind mailbox.Kind, ref string) error {
	_, err := c.ask(to, kind, ref, []byte("null"))
	if err == nil {
		delete(c.watching, ref)
	}
	return err
}

// ask asks to watch or not to, and returns the reply address by which that watch is known.
func (c *Context) ask(to address.Address, kind mailbox.Kind, ref string, body []byte) (string, error) {
	reply, err := c.Self().Attenuate(askingCaveats(kind == mailbox.KindLink || kind == mailbox.KindUnlink, ref)...)
	if err != nil {
		return "", fmt.Errorf("server: %v: %w", kind, err)
	}
	l := &Letter{Body: body, Meta: mailbox.Meta{Kind: kind, Ref: ref, Reply: reply.String()}}
	return l.Reply, c.process.server.ask(c, to, l)
}

// askingCaveats are those of the reply address with which a process asks to watch.
func askingCaveats(link bool, ref string) []address.Caveat {
	rights := address.Send
	if link {
		rights |= address.Link
	}
	return []address.Caveat{address.Only(rights), address.Reply(ref)}
}

// takeWatchesBack has nobody tell an incarnation that ended. Its links go over to the other nodes' process of that name,
// if it ends because this node leaves.
func (c *Context) takeWatchesBack() {
	n := notice{server: c.process.server}
	for _, t := range c.watching {
		if t.kind == mailbox.KindDemonitor || !n.server.othersServe(c.process.name) {
			n.tellings = append(n.tellings, t)
		}
	}
	c.watching = nil
	n.server.notices.add(n)
}

// takeBack removes a watch for its watcher, which ended. What it is linked with knows of that end by the other one.
func (s *Server) takeBack(t *telling) (posted Posted, err error) {
	var g address.Grant
	if err := s.keys.Verify(&g, t.of.String()); err != nil {
		return posted, err
	}
	if !s.knowsWay(&g) {
		return posted, ErrUnavailable
	}
	meta := mailbox.Meta{Kind: t.kind, Ref: t.ref, Reply: t.reply}
	if g.Kind() == address.Process {
		return s.toProcess(fromOutside, string(g.Name()), mailbox.Message{Body: []byte("null"), Meta: &meta}, mailbox.NameHash{})
	}
	w := mailbox.Watch{Link: t.kind == mailbox.KindUnlink, Ref: t.ref, Reply: t.reply}
	err = s.at(g.Mailbox(), func(b *box) error {
		stored, err := b.watch(&w, true)
		posted = Posted{added: added{box: b}, commit: stored}
		return err
	}, func(n *node) error {
		posted = Posted{call: n.askWatch(g.Mailbox(), &w, true)}
		return nil
	})
	return posted, err
}

// Exit ends a mailbox or process, with an address that has the right to. Its monitors and links are told the reason
// exit, and why as its detail, which is marshalled to JSON.
func (s *Server) Exit(ctx context.Context, to address.Address, why any) error {
	body, err := json.Marshal(why)
	if err != nil {
		return fmt.Errorf("server: exit: %w", err)
	}
	return s.ask(ctx, to, &Letter{Body: body, Meta: mailbox.Meta{Kind: mailbox.KindExit}})
}

// ask delivers what is asked of the server by its own Go code.
func (s *Server) ask(ctx context.Context, to address.Address, l *Letter) error {
	var g address.Grant
	if err := s.keys.Verify(&g, to.String()); err != nil {
		return err
	}
	posted, err := s.deliver(context.WithValue(ctx, impatient{}, inHandler), &g, l)
	if err == nil {
		_, err = posted.Wait()
	}
	return err
}
