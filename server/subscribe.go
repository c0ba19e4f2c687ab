package server

import (
	"context"
	"encoding/json"
	"math"
	"time"

	"github.com/google/uuid"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
)

// Reader is told about its mailbox by whoever changes it, from any goroutine and never under a lock. Neither
// method may block.
type Reader interface {
	// Wake says that there is something to read.
	Wake()
	// End says why there will be nothing more: [ErrTakenOver], [ErrClosed], a [*DisconnectedError], or
	// [ErrShuttingDown], when what is there may still be read.
	End(why error)
}

// Subscribing says from where on and how to read.
type Subscribing struct {
	// Context is over once nobody will read, nil if that is not known. Who comes late to a mailbox must not take the
	// place of who reads by then.
	Context context.Context

	After *mailbox.Cursor // nil: after the last acknowledged message
	Hold  bool            // only acknowledging makes room in a full mailbox, and After acknowledges nothing; so it is for a key without the ack right
}

// Subscription is one reader's hold on a mailbox. One goroutine at a time may use it.
type Subscription struct {
	Gap uint64 // messages that are missing where reading begins

	server *Server
	id     uuid.UUID
	config json.RawMessage
	start  mailbox.Cursor // where reading began
	box    *box
	far    *farSubscription // instead of box, if another node owns it
	reader Reader
	at     uint64 // the last message that was delivered
	hold   bool
}

// Subscribe makes r the reader of the mailbox that grant g is for. A reader that was there is ended with
// [ErrTakenOver].
func (s *Server) Subscribe(g *address.Grant, how Subscribing, r Reader) (*Subscription, error) {
	if err := owner(g, address.Read); err != nil {
		return nil, err
	}
	if s.stopping.Load() {
		return nil, ErrShuttingDown
	}
	how.Hold = how.Hold || g.Permit(address.Ack, time.Now()) != nil
	var sub *Subscription
	err := s.at(g.Mailbox(), func(b *box) (err error) {
		sub, err = s.attach(b, how, r)
		return err
	}, func(n *node) error {
		if how.isOver() {
			return ErrUnavailable
		}
		sub = &Subscription{server: s, id: g.Mailbox(), reader: r, hold: how.Hold}
		return n.subscribe(how, sub)
	})
	return sub, err
}

func (how *Subscribing) isOver() bool { return how.Context != nil && how.Context.Err() != nil }

// attach makes r the reader of a mailbox of this node.
func (s *Server) attach(b *box, how Subscribing, r Reader) (*Subscription, error) {
	sub := &Subscription{server: s, id: b.id, box: b, reader: r, hold: how.Hold}
	before, err := sub.attach(how)
	if err != nil {
		return nil, err
	}
	if before != nil {
		before.reader.End(ErrTakenOver)
	}
	return sub, nil
}

// attach takes the place of the reader before, which it returns.
func (sub *Subscription) attach(how Subscribing) (before *Subscription, err error) {
	b, after := sub.box, how.After
	b.mu.Lock()
	defer b.mu.Unlock()
	if how.isOver() {
		return nil, ErrUnavailable
	}
	if err := b.over(); err != nil {
		return nil, err
	}
	if b.server.stopping.Load() && b.server.cluster == nil { // other nodes may read until they have the shard
		return nil, ErrShuttingDown
	}
	if err := b.log.ready(); err != nil {
		return nil, err
	}
	from := b.mail.Start()
	if after != nil {
		if err := b.mail.Check(*after); err != nil {
			return nil, err
		}
		from = *after
	}
	sub.config, sub.start, sub.at = b.config(), from, from.Seq
	sub.Gap = b.gap(from.Seq)
	if after != nil && !sub.hold {
		b.ack(from.Seq)
	}
	b.mail.Hold(sub.hold)
	b.mail.Wake()
	b.note(&mailbox.Record{Type: mailbox.Awoke, Hold: sub.hold})
	b.server.wheel.Stop(b)
	before, b.sub = b.sub, sub
	b.look()
	return before, nil
}

// gap returns how many messages after seq are gone, of those that are stored: others may get the places of the rest. mu is held.
func (b *box) gap(seq uint64) uint64 {
	if seq >= b.visible {
		return 0
	}
	return min(b.mail.Gap(seq), b.visible-seq)
}

// Mailbox describes the mailbox, with the cursor where reading began. It mints, so that a subscription, which may last
// for days, keeps no texts.
func (sub *Subscription) Mailbox() Mailbox {
	m := sub.server.describe(sub.id, sub.config)
	m.Cursor = sub.start
	return m
}

// Cursor is the position after the last message that was delivered.
func (sub *Subscription) Cursor() mailbox.Cursor {
	return mailbox.Cursor{Epoch: sub.start.Epoch, Seq: sub.at}
}

// Read calls f with each message after the last delivered one, or first with a [*mailbox.GapError], until f
// returns false. f runs under the mailbox's lock: it copies what it needs, and does not block. A subscription
// that ended says so, and may know nothing of what there is to read: its reader was told why, or is about to be.
func (sub *Subscription) Read(f func(*mailbox.Message, error) bool) (ended bool) {
	if sub.far != nil {
		return sub.far.read(time.Now(), math.MaxUint64, f)
	}
	b := sub.box
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sub != sub {
		return true
	}
	_, before := b.mail.Len()
	for m, err := range b.mail.After(sub.at, b.server.clock.now()) {
		if m != nil && m.Seq > b.visible || m == nil && b.mail.Floor() > b.visible || !f(m, err) {
			break
		}
	}
	_, after := b.mail.Len()
	b.server.account(after - before) // what expired is gone
	return false
}

// ReadInitial is Read of what was there when the subscription began. From another node more may have come since, when
// others had acknowledged some of that, so that both together were never there.
func (sub *Subscription) ReadInitial(f func(*mailbox.Message, error) bool) (ended bool) {
	if sub.far != nil {
		return sub.far.read(time.Now(), sub.far.initial, f)
	}
	return sub.Read(f)
}

// Delivered notes that the messages up to seq reached the reader, as far as can be told without an
// acknowledgement. The next Read goes on after them.
func (sub *Subscription) Delivered(seq uint64) {
	sub.at = seq
	if sub.far != nil {
		sub.far.delivered(seq)
		return
	}
	sub.markDelivered(seq)
}

func (sub *Subscription) markDelivered(seq uint64) {
	b := sub.box
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sub == sub {
		b.mail.Delivered(seq)
	}
}

// Close ends the subscription; the mailbox falls asleep, unless another reader took over. Closing it again
// changes nothing.
func (sub *Subscription) Close() {
	if sub.far != nil {
		sub.far.close()
		return
	}
	b := sub.box
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sub != sub {
		return
	}
	b.sleep()
}
