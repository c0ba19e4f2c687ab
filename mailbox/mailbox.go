package mailbox

import (
	"fmt"
	"iter"
	"slices"
	"time"
)

// Mailbox is an ordered, bounded queue of messages. Make one with [New]; one goroutine at a time may use it.
type Mailbox struct {
	limits *Limits
	queue  ring
	bytes  int // of the bodies in queue
	names  *names

	spare   []byte   // while there is a reader, the body that went last, to be written over; nil for none
	watched *watched // who is told of the mailbox's end; nil for nobody

	last      uint64 // the newest message's Seq; 0 before the first
	floor     uint64 // messages up to here are gone
	acked     uint64 // of them, those up to here because the reader was done with them
	delivered uint64 // messages up to here were written to a reader

	soonest int64 // when the first message expires, seconds since 1970; 0 for never
	asleep  int64 // since when there is no reader, nanoseconds since 1970; 0 while there is one
	epoch   uint32
	held    bool // only acknowledging makes room
	closed  bool
}

// New returns an empty mailbox that falls asleep now. The limits, with defaults filled in, are shared and must
// not change; the epoch should be random.
func New(l *Limits, epoch uint32, now time.Time) Mailbox {
	return Mailbox{limits: l, epoch: epoch, asleep: now.UnixNano()}
}

// Append adds a message, whose Body must have passed [Limits.CheckBody], and returns its cursor. It keeps a copy of
// the body, on one line. A message with a name (an idempotency key; the zero value for none) that was used within the window is accepted
// and not stored: stored is false. The errors are [ErrClosed] and [ErrFull].
func (m *Mailbox) Append(msg Message, name NameHash, now time.Time) (c Cursor, stored bool, err error) {
	if m.closed {
		return Cursor{}, false, ErrClosed
	}
	if name != (NameHash{}) && m.names.has(name, now, m.limits) {
		return m.Cursor(m.last), false, nil
	}
	if !m.makeRoom(len(msg.Body), now) {
		return Cursor{}, false, fmt.Errorf("%w: it holds %d messages, %d bytes", ErrFull, m.queue.len(), m.bytes)
	}
	m.remember(name, now)
	m.last++
	msg.Seq = m.last
	msg.Body = m.copy(msg.Body)
	OneLine(msg.Body)
	m.push(msg)
	return m.Cursor(m.last), true, nil
}

// maxSpare is the most bytes that are kept to be written over.
const maxSpare = 4 << 10

// copy takes the place of a body that has gone, unless that would keep much more than it fills.
func (m *Mailbox) copy(body []byte) []byte {
	if free := cap(m.spare); free < len(body) || free > 2*len(body)+64 {
		return slices.Clone(body)
	}
	spare := m.spare
	m.spare = nil
	return append(spare, body...)
}

func (m *Mailbox) push(msg Message) {
	m.queue.push(msg)
	m.bytes += len(msg.Body)
	if msg.Meta != nil {
		switch msg.Meta.Kind {
		case KindCall:
			m.called(msg.Meta)
		case KindDown, KindExited:
			m.Unfollow(msg.Meta.Ref)
		}
	}
	if msg.Expires != 0 && (m.soonest == 0 || msg.Expires < m.soonest) {
		m.soonest = msg.Expires
	}
}

func (m *Mailbox) remember(name NameHash, now time.Time) {
	if name == (NameHash{}) {
		return
	}
	if m.names == nil {
		m.names = &names{}
	}
	m.names.add(name, now, m.limits)
}

func (m *Mailbox) fits(size int) bool {
	return m.queue.len() < m.limits.Backlog && m.bytes+size <= m.limits.BacklogBytes
}

// Pressed reports whether a message with a body of that size would be refused, or have another one dropped, because the
// mailbox is full of what no reader was given yet.
func (m *Mailbox) Pressed(size int) bool {
	return !m.fits(size) && m.queue.len() > 0 && m.queue.at(0).Seq > m.delivered
}

// makeRoom gives up, in this order, what expired, what was delivered, and what is oldest; each only if it may.
func (m *Mailbox) makeRoom(size int, now time.Time) bool {
	if m.fits(size) {
		return true
	}
	m.expire(now)
	count, bytes, drop := m.queue.len(), m.bytes, 0
	for ; count >= m.limits.Backlog || bytes+size > m.limits.BacklogBytes; drop++ {
		if count == 0 || !m.mayDrop(m.queue.at(drop).Seq) {
			return false // and nothing was lost for it
		}
		count--
		bytes -= len(m.queue.at(drop).Body)
	}
	for range drop {
		m.floor = m.queue.at(0).Seq
		m.dropOldest()
	}
	return true
}

func (m *Mailbox) mayDrop(seq uint64) bool {
	return m.limits.Overflow == DropOldest || !m.held && seq <= m.delivered
}

func (m *Mailbox) dropOldest() {
	body := m.queue.pop().Body
	m.bytes -= len(body)
	if m.asleep == 0 && cap(body) <= maxSpare {
		m.spare = body[:0]
	}
}

// expire removes the messages whose time is over.
func (m *Mailbox) expire(now time.Time) {
	if m.soonest == 0 || now.Unix() < m.soonest {
		return
	}
	m.soonest = 0
	m.queue.keep(func(msg *Message) bool {
		if msg.expired(now) {
			m.bytes -= len(msg.Body)
			return false
		}
		if msg.Expires != 0 && (m.soonest == 0 || msg.Expires < m.soonest) {
			m.soonest = msg.Expires
		}
		return true
	})
}

// After yields the messages after seq, oldest first. If some of those are gone it yields a [*GapError]
// before them. The mailbox must not be used while it is iterated over, and a body not when it changes again: it may be
// written over once its message is gone.
func (m *Mailbox) After(seq uint64, now time.Time) iter.Seq2[*Message, error] {
	return func(yield func(*Message, error) bool) {
		m.expire(now)
		if missing := m.Gap(seq); missing > 0 && !yield(nil, &GapError{missing}) {
			return
		}
		for i := m.after(seq); i < m.queue.len(); i++ {
			if !yield(m.queue.at(i), nil) {
				return
			}
		}
	}
}

// after returns the index of the first message after seq. For a reader that waits that is the newest, and there is no
// need to look at the others, which are not in the processor's cache.
func (m *Mailbox) after(seq uint64) int {
	if seq+1 == m.last && m.queue.len() > 0 && m.Newest().Seq == m.last {
		return m.queue.len() - 1
	}
	return m.queue.after(seq)
}

// Gap returns how many messages after seq are gone, up to the last one that had not outlived its own time to live.
func (m *Mailbox) Gap(seq uint64) uint64 {
	if seq >= m.floor {
		return 0
	}
	return m.floor - seq
}

// Check returns [ErrUnknownCursor] or [ErrCursorAhead] unless c is a position in this mailbox.
func (m *Mailbox) Check(c Cursor) error {
	switch {
	case c.Epoch != m.epoch:
		return ErrUnknownCursor
	case c.Seq > m.last:
		return fmt.Errorf("%w (it is %v)", ErrCursorAhead, m.Cursor(m.last))
	}
	return nil
}

// Ack forgets the messages up to seq. An older seq than before changes nothing.
func (m *Mailbox) Ack(seq uint64) {
	for m.queue.len() > 0 && m.queue.at(0).Seq <= seq {
		m.dropOldest()
	}
	m.acked = max(m.acked, min(seq, m.last))
	m.floor = max(m.floor, m.acked)
}

// Delivered notes that the messages up to seq were written to the reader.
func (m *Mailbox) Delivered(seq uint64) { m.delivered = max(m.delivered, seq) }

// Hold says whether delivered messages are kept until they are acknowledged, even when the mailbox is full.
func (m *Mailbox) Hold(held bool) { m.held = held }

// Start is the position of a reader without a cursor: after the last acknowledged message.
func (m *Mailbox) Start() Cursor { return m.Cursor(m.acked) }

// Newest returns the message that was appended last. There must be one.
func (m *Mailbox) Newest() *Message { return m.queue.at(m.queue.len() - 1) }

// Last is the position after the newest message.
func (m *Mailbox) Last() Cursor { return m.Cursor(m.last) }

// Cursor is the position after the message seq.
func (m *Mailbox) Cursor(seq uint64) Cursor { return Cursor{m.epoch, seq} }

// Len returns how many messages are kept, and the bytes of their bodies.
func (m *Mailbox) Len() (messages, bytes int) { return m.queue.len(), m.bytes }

// Wake notes that a reader came.
func (m *Mailbox) Wake() { m.asleep = 0 }

// Sleep notes that the reader left.
func (m *Mailbox) Sleep(now time.Time) { m.asleep, m.spare = now.UnixNano(), nil }

// Deadline returns when a sleeping mailbox expires; ok is false while it is awake.
func (m *Mailbox) Deadline() (deadline time.Time, ok bool) {
	if m.asleep == 0 {
		return time.Time{}, false
	}
	return time.Unix(0, m.asleep).Add(m.limits.Asleep), true
}

// Asleep returns since when the mailbox has no reader; ok is false while it has one.
func (m *Mailbox) Asleep() (since time.Time, ok bool) {
	return time.Unix(0, m.asleep), m.asleep != 0
}

// Renew makes all cursors from before unknown: messages that some of them stand behind may be lost, and others take their
// places. The change should be random; 0 is none.
func (m *Mailbox) Renew(change uint32) { m.epoch ^= change }

// Close ends the mailbox and forgets its messages. Closing it again changes nothing.
func (m *Mailbox) Close() {
	*m = Mailbox{limits: m.limits, epoch: m.epoch, last: m.last, floor: m.last, acked: m.last, delivered: m.last, closed: true}
}
