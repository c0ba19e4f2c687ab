package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/internal/wheel"
	"github.com/genbrowser/genbrowser/mailbox"
)

// box is a mailbox in its place: the lock around it, who reads it, and when it expires.
type box struct {
	// a cache line that a message in memory does not touch; it touches the other three
	wheel.Entry // its expiry, set while it sleeps
	id          uuid.UUID
	acking      uint64    // messages up to here will be forgotten once that is stored
	watched     *presence // nil: nobody wants to know whether it has a reader

	server *Server
	log    *journal // nil: it lives as long as the process

	mu      sync.Mutex    // guards what is below, and acking and watched
	visible uint64        // messages up to here are stored, and may be read
	sub     *Subscription // nil while it sleeps
	extra   *extra        // nil: it has none of that
	mail    mailbox.Mailbox
}

// extra is what few mailboxes have, and those that end: there may be a million that sleep.
type extra struct {
	config json.RawMessage // nil: the server's
	why    error           // set once it ended
	ending *commit         // once that is stored, the mailbox will have ended
}

// more returns the extra to be changed; mu is held.
func (b *box) more() *extra {
	if b.extra == nil {
		b.extra = &extra{}
	}
	return b.extra
}

// config returns what its clients are given, nil for the server's; mu is held.
func (b *box) config() json.RawMessage {
	if b.extra == nil {
		return nil
	}
	return b.extra.config
}

// why returns why the mailbox ended, nil if it has not; mu is held.
func (b *box) why() error {
	if b.extra == nil {
		return nil
	}
	return b.extra.why
}

// ending returns what is stored before the mailbox ends, nil if it is not about to; mu is held.
func (b *box) ending() *commit {
	if b.extra == nil {
		return nil
	}
	return b.extra.ending
}

// maxConfig is how long the config of one mailbox may be, in bytes.
const maxConfig = 64 << 10

// Mailbox is what opening one gives.
type Mailbox struct {
	Key     address.Key
	Address address.Address
	Cursor  mailbox.Cursor // before the first message
	Config  json.RawMessage
}

// Open makes a mailbox, asleep until somebody subscribes. Its client is given config, or the server's if that
// is nil. The errors are [ErrOverloaded], [ErrUnavailable] and [ErrShuttingDown].
func (s *Server) Open(config json.RawMessage) (Mailbox, error) {
	_, opened, err := s.open(config)
	return opened, err
}

func (s *Server) open(config json.RawMessage) (uuid.UUID, Mailbox, error) {
	if s.stopping.Load() {
		return uuid.UUID{}, Mailbox{}, ErrShuttingDown
	}
	if len(config) > maxConfig {
		return uuid.UUID{}, Mailbox{}, fmt.Errorf("server: a config of %d bytes; want at most %d", len(config), maxConfig)
	}
	id, start, err := s.openHere(config)
	if errors.Is(err, errElsewhere) {
		id, start, err = s.openElsewhere(config)
	}
	if err != nil {
		return id, Mailbox{}, err
	}
	opened := s.describe(id, config)
	opened.Cursor = start
	return id, opened, nil
}

// openHere makes a mailbox in a shard of this node's.
func (s *Server) openHere(config json.RawMessage) (id uuid.UUID, start mailbox.Cursor, err error) {
	sh, id, err := s.allot()
	if err != nil {
		return id, start, err
	}
	if s.mailboxes.Add(1) > s.maxMailboxes {
		s.mailboxes.Add(-1)
		return id, start, ErrOverloaded
	}
	now := s.clock.now()
	e := rand.Uint32()
	b := s.newBox(id, config, mailbox.New(&s.limits, e, now))
	start = b.mail.Start()
	stored, err := sh.open(b, &mailbox.Record{Type: mailbox.Opened, Epoch: e, Config: config})
	if err != nil {
		s.mailboxes.Add(-1)
		return id, start, err
	}
	s.wheel.Set(b, now.Add(s.limits.Asleep))
	s.counters.opened.Add(1)
	return id, start, stored.wait()
}

func (s *Server) newBox(id uuid.UUID, config json.RawMessage, mail mailbox.Mailbox) *box {
	b := &box{id: id, server: s, mail: mail, visible: math.MaxUint64}
	b.setConfig(config)
	return b
}

// setConfig is for who makes the mailbox.
func (b *box) setConfig(config json.RawMessage) {
	if config != nil {
		b.more().config = config
	}
}

// note stores a record of the mailbox, and returns what to wait for.
func (b *box) note(r *mailbox.Record) *commit {
	if b.log == nil {
		return nil
	}
	r.Mailbox = b.id
	return b.log.add(r)
}

// stored makes the messages up to seq visible, and returns the reader to wake, if there is one.
func (b *box) stored(seq uint64) Reader {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.visible = max(b.visible, seq)
	if b.sub == nil {
		return nil
	}
	return b.sub.reader
}

// describe mints the capabilities of a mailbox.
func (s *Server) describe(id uuid.UUID, config json.RawMessage) Mailbox {
	key, addr := s.keys.Mailbox(id)
	if config == nil {
		config = s.Config()
	}
	return Mailbox{Key: key, Address: addr, Config: config}
}

// Address returns the address of the mailbox with that id, for a server's own code that sends to a client by what
// operators see of it. Whether there is such a mailbox shows when it is sent to.
func (s *Server) Address(mailbox uuid.UUID) address.Address {
	_, a := s.keys.Mailbox(mailbox)
	return a
}

// Describe returns the mailbox that grant g, of which it needs the right to read, is for. Its Cursor is where
// reading begins, and its Key the zero value.
func (s *Server) Describe(g *address.Grant) (Mailbox, error) {
	if err := owner(g, address.Read); err != nil {
		return Mailbox{}, err
	}
	var config json.RawMessage
	var start mailbox.Cursor
	err := s.at(g.Mailbox(), func(b *box) (err error) {
		if err := b.log.ready(); err != nil { // it may be another node's by now
			return err
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		config, start = b.config(), b.mail.Start()
		return b.why()
	}, func(n *node) (err error) {
		config, start, err = n.describe(g.Mailbox())
		return err
	})
	if err != nil {
		return Mailbox{}, err
	}
	m := s.describe(g.Mailbox(), config)
	m.Key, m.Cursor = address.Key{}, start
	return m, nil
}

// Fire implements [wheel.Timer]: it ends the mailbox, which has slept too long unless a reader came meanwhile.
func (b *box) Fire() {
	if b.log.ready() != nil { // it may be another node's by now, and awake
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.why() == nil {
			b.server.wheel.Set(b, b.server.clock.now().Add(time.Second))
		}
		return
	}
	b.end(ErrExpired, nil, func() bool {
		deadline, asleep := b.mail.Deadline()
		return asleep && !deadline.After(b.server.clock.now())
	})
}

// Close ends the mailbox that grant g is for; its reader is told, its address answers [ErrClosed].
func (s *Server) Close(g *address.Grant) error {
	if err := owner(g, address.Close); err != nil {
		return err
	}
	return s.at(g.Mailbox(), (*box).close, func(n *node) error { return n.close(g.Mailbox()) })
}

func (b *box) close() error {
	if err := b.log.ready(); err != nil {
		return err
	}
	stored, err := b.end(ErrClosed, nil, func() bool { return true })
	if err != nil {
		return err
	}
	return stored.wait()
}

// end ends the mailbox, if it still has not ended and the condition holds; an exit's detail is JSON. With a log it does so
// once that is stored: nobody must be told of what may not have happened after a crash.
func (b *box) end(why error, detail []byte, still func() bool) (*commit, error) {
	if b.log == nil {
		return nil, b.finish(why, detail, still)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.why() != nil || b.ending() == nil && !still() {
		return nil, b.why()
	}
	if b.ending() == nil {
		r := mailbox.Record{Type: mailbox.Ended, Mailbox: b.id, Reason: reasons[why], Detail: detail}
		b.more().ending = b.log.addThen(&r, func() { b.finish(why, detail, func() bool { return true }) })
		b.server.untold.add(b.id, tellings(why, detail, b.mail.Watches(), b.mail.Calls())) // after that record, and before it is stored
	}
	return b.ending(), nil
}

// finish forgets the mailbox, if it still has not ended and the condition holds.
func (b *box) finish(why error, detail []byte, still func() bool) error {
	s := b.server
	sh := s.shard(b.id)
	sh.mu.Lock()
	b.mu.Lock()
	if b.why() != nil || !still() {
		defer sh.mu.Unlock()
		defer b.mu.Unlock()
		return b.why()
	}
	b.more().why = why
	_, bytes := b.mail.Len()
	telling := tellings(why, detail, b.mail.Watches(), b.mail.Calls())
	b.mail.Close()
	b.dropPresence()
	sub := b.sub
	b.sub = nil
	sh.boxes.remove(b.id)
	s.gone.add(b.id, why)
	b.mu.Unlock()
	sh.mu.Unlock()

	s.account(-bytes)
	s.mailboxes.Add(-1)
	s.tenants.leave(b.id)
	s.wheel.Stop(b)
	if sub != nil {
		sub.reader.End(why)
	}
	s.endNames(target{mailbox: b.id})
	s.tellEnd(b.id, telling, b.log)
	return nil
}

// over returns why the mailbox can't be changed any more, or not now; mu is held.
func (b *box) over() error {
	if why := b.why(); why != nil || b.ending() == nil {
		return why
	}
	return ErrUnavailable // until it is stored that it ends
}

// Ack forgets the messages up to a cursor.
func (s *Server) Ack(g *address.Grant, c mailbox.Cursor) error {
	if err := owner(g, address.Ack); err != nil {
		return err
	}
	return s.at(g.Mailbox(), func(b *box) error { return b.ackUpTo(c) }, func(n *node) error { return n.ack(g.Mailbox(), c) })
}

func (b *box) ackUpTo(c mailbox.Cursor) error {
	stored, err := b.tryAck(c)
	if err != nil {
		return err
	}
	return stored.wait()
}

func (b *box) tryAck(c mailbox.Cursor) (*commit, error) {
	if err := b.log.ready(); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.over(); err != nil {
		return nil, err
	}
	if err := b.mail.Check(c); err != nil {
		return nil, err
	}
	return b.ack(c.Seq), nil
}

// ack forgets the messages up to seq, with a log once that is stored; mu is held.
func (b *box) ack(seq uint64) *commit {
	switch {
	case seq <= b.mail.Start().Seq:
		return nil
	case b.log == nil:
		b.forget(seq)
		return nil
	case seq <= b.acking:
		return b.log.newest()
	}
	b.acking = seq
	r := mailbox.Record{Type: mailbox.Acked, Mailbox: b.id, Seq: seq}
	return b.log.addThen(&r, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.forget(seq)
	})
}

func (b *box) forget(seq uint64) {
	_, before := b.mail.Len()
	b.mail.Ack(seq)
	_, after := b.mail.Len()
	b.server.account(after - before)
}

// owner checks that a grant is for a mailbox and has the owner's right.
func owner(g *address.Grant, right address.Rights) error {
	if g.Kind() != address.Mailbox {
		return ErrNotAMailbox
	}
	return g.Permit(right, time.Now())
}

// moveAway forgets the mailbox, which another node owns from now on. Who is about to change it is sent there.
func (b *box) moveAway() {
	b.mu.Lock()
	if b.why() != nil {
		b.mu.Unlock()
		return
	}
	b.more().why = errElsewhere
	if b.ending() != nil {
		b.server.untold.forget(b.id) // if it is stored, the other node tells it
	}
	_, bytes := b.mail.Len()
	b.mail.Close()
	b.dropPresence()
	sub := b.sub
	b.sub = nil
	b.mu.Unlock()

	b.server.account(-bytes)
	b.server.mailboxes.Add(-1)
	b.server.tenants.leave(b.id)
	b.server.wheel.Stop(b)
	if sub != nil {
		sub.reader.End(ErrMoved)
	}
}

// shutDown lets the reader read what is there. The server takes no more messages by now; one that a mailbox is taking is
// there once its lock is free.
func (b *box) shutDown() {
	b.mu.Lock()
	sub := b.sub
	b.mu.Unlock()
	if sub != nil {
		sub.reader.End(ErrShuttingDown)
	}
}
