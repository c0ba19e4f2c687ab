package server

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"math"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/internal/wheel"
	"github.com/genbrowser/genbrowser/mailbox"
)

// box is a mailbox in its place: the lock around it, who reads it, and when it expires.
type box struct {
	id     uuid.UUID
	server *Server
	expiry wheel.Item[*box]
	config json.RawMessage // nil: the server's
	log    *journal        // nil: it lives as long as the process

	mu      sync.Mutex
	mail    mailbox.Mailbox
	visible uint64        // messages up to here are stored, and may be read
	sub     *Subscription // nil while it sleeps
	why     error         // set once it ended
	stopped bool          // the server shuts down: read on, but nothing is added
}

type boxes map[uuid.UUID]*box

type shard struct {
	mu    sync.RWMutex
	boxes boxes
}

func (s *shard) all() []*box {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := make([]*box, 0, len(s.boxes))
	for _, b := range s.boxes {
		all = append(all, b)
	}
	return all
}

func (s *Server) shard(id uuid.UUID) *shard { return &s.shards[id[15]&63] }

// box returns the mailbox id, or the reason why there is none.
func (s *Server) box(id uuid.UUID) (*box, error) {
	sh := s.shard(id)
	sh.mu.RLock()
	b := sh.boxes[id]
	sh.mu.RUnlock()
	if b == nil {
		return nil, s.gone.why(id)
	}
	return b, nil
}

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
	if s.stopping.Load() {
		return Mailbox{}, ErrShuttingDown
	}
	if err := s.journal.ready(); err != nil {
		return Mailbox{}, err
	}
	if s.mailboxes.Add(1) > s.maxMailboxes {
		s.mailboxes.Add(-1)
		return Mailbox{}, ErrOverloaded
	}
	var epoch [4]byte
	rand.Read(epoch[:])
	now := s.clock.now()
	e := binary.BigEndian.Uint32(epoch[:])
	b := s.newBox(uuid.New(), config, mailbox.New(&s.limits, e, now))
	opened := b.describe()
	opened.Cursor = b.mail.Start()
	sh := s.shard(b.id)
	sh.mu.Lock()
	sh.boxes[b.id] = b
	stored := b.note(&mailbox.Record{Type: mailbox.Opened, Epoch: e, Config: config})
	sh.mu.Unlock()
	s.asleep.Set(&b.expiry, now.Add(s.limits.Asleep))
	return opened, stored.wait()
}

func (s *Server) newBox(id uuid.UUID, config json.RawMessage, mail mailbox.Mailbox) *box {
	b := &box{id: id, server: s, config: config, log: s.journal, mail: mail, visible: math.MaxUint64}
	if b.log != nil {
		b.visible = 0
	}
	b.expiry.Value = b
	return b
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

// describe mints the capabilities of the mailbox.
func (b *box) describe() Mailbox {
	key := b.server.keys.MailboxKey(b.id)
	addr, err := key.Address()
	if err != nil {
		panic(err) // a key that was just minted can be narrowed
	}
	config := b.config
	if config == nil {
		config = b.server.Config()
	}
	return Mailbox{Key: key, Address: addr, Config: config}
}

// Describe returns the mailbox that grant g, of which it needs the right to read, is for. Its Cursor is where
// reading begins, and its Key the zero value.
func (s *Server) Describe(g *address.Grant) (Mailbox, error) {
	b, err := s.owned(g, address.Read)
	if err != nil {
		return Mailbox{}, err
	}
	m := b.describe()
	m.Key = address.Key{}
	b.mu.Lock()
	defer b.mu.Unlock()
	m.Cursor = b.mail.Start()
	return m, b.why
}

// expire ends a mailbox that is due on the wheel, unless a reader came meanwhile.
func (s *Server) expire(b *box) {
	b.end(ErrExpired, func() bool {
		deadline, asleep := b.mail.Deadline()
		return asleep && !deadline.After(s.clock.now())
	})
}

// Close ends the mailbox that grant g is for; its reader is told, its address answers [ErrClosed].
func (s *Server) Close(g *address.Grant) error {
	b, err := s.owned(g, address.Close)
	if err != nil {
		return err
	}
	if err := s.journal.ready(); err != nil {
		return err
	}
	stored, err := b.end(ErrClosed, func() bool { return true })
	if err != nil {
		return err
	}
	return stored.wait()
}

// end forgets the mailbox, if it still has not ended and the condition holds.
func (b *box) end(why error, still func() bool) (*commit, error) {
	s := b.server
	sh := s.shard(b.id)
	sh.mu.Lock()
	b.mu.Lock()
	if b.why != nil || !still() {
		defer sh.mu.Unlock()
		defer b.mu.Unlock()
		return nil, b.why
	}
	b.why = why
	stored := b.note(&mailbox.Record{Type: mailbox.Ended, Reason: reasons[why]})
	_, bytes := b.mail.Len()
	b.mail.Close()
	sub := b.sub
	b.sub = nil
	delete(sh.boxes, b.id)
	s.gone.add(b.id, why)
	b.mu.Unlock()
	sh.mu.Unlock()

	s.account(-bytes)
	s.mailboxes.Add(-1)
	s.asleep.Stop(&b.expiry)
	if sub != nil {
		sub.reader.End(why)
	}
	return stored, nil
}

// reasons are what the log keeps of why a mailbox ended.
var reasons = map[error]mailbox.Reason{ErrClosed: mailbox.Closed, ErrExpired: mailbox.Expired}

// Ack forgets the messages up to a cursor.
func (s *Server) Ack(g *address.Grant, c mailbox.Cursor) error {
	b, err := s.owned(g, address.Ack)
	if err != nil {
		return err
	}
	if err := s.journal.ready(); err != nil {
		return err
	}
	stored, err := b.ackUpTo(c)
	if err != nil {
		return err
	}
	return stored.wait()
}

func (b *box) ackUpTo(c mailbox.Cursor) (*commit, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.why != nil {
		return nil, b.why
	}
	if err := b.mail.Check(c); err != nil {
		return nil, err
	}
	return b.ack(c.Seq), nil
}

// ack must be called with mu held.
func (b *box) ack(seq uint64) *commit {
	if seq <= b.mail.Start().Seq {
		return nil
	}
	_, before := b.mail.Len()
	b.mail.Ack(seq)
	_, after := b.mail.Len()
	b.server.account(after - before)
	return b.note(&mailbox.Record{Type: mailbox.Acked, Seq: seq})
}

// owned returns the mailbox of a grant that has the owner's right.
func (s *Server) owned(g *address.Grant, right address.Rights) (*box, error) {
	if g.Kind() != address.Mailbox {
		return nil, ErrNotAMailbox
	}
	if err := g.Permit(right, time.Now()); err != nil {
		return nil, err
	}
	return s.box(g.Mailbox())
}

// shutDown takes no more messages and lets the reader read what is there.
func (b *box) shutDown() {
	b.mu.Lock()
	b.stopped = true
	sub := b.sub
	b.mu.Unlock()
	if sub != nil {
		sub.reader.End(ErrShuttingDown)
	}
}
