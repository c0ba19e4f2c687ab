package mailbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/genbrowser/genbrowser/internal/pack"
)

// RecordType says what a [Record] tells. The numbers are those of the log's format.
type RecordType uint8

const (
	Opened   RecordType = 1 // the mailbox came to be, asleep. Epoch, Config
	Appended RecordType = 2 // a message came. Message, Name, Floor
	Acked    RecordType = 3 // the reader is done with the messages up to Seq
	Awoke    RecordType = 4 // a reader came. Hold
	Slept    RecordType = 5 // the reader left
	Ended    RecordType = 6 // the mailbox is no more. Reason, Detail
	Restated RecordType = 7 // what was told before is to be forgotten: Epoch, Config, Seq, Floor, Last, Hold, Asleep, Names, Kept; then that many Kept, KeptWatch, KeptCall and KeptFollow
	Kept     RecordType = 8 // a message that a restated mailbox holds. Message

	// Of whole shards, and so with no Mailbox. From each point of the log on a shard has one owner at most: the
	// writer of the lane that claimed it first when it had none.
	Claimed  RecordType = 9  // the writer wants Shards. Epoch, unless it is 0, changes their mailboxes', for the end of the log may be lost
	Owned    RecordType = 10 // the writer owns Shards
	Released RecordType = 11 // the writer owns Shards no longer

	Watched   RecordType = 12 // somebody wants to know when the mailbox ends. Watch
	Unwatched RecordType = 13 // no more. Watch's Ref and Reply
	Told      RecordType = 14 // the mailbox ended, and who watched it was told

	KeptWatch RecordType = 16 // a watch that a restated mailbox has. Watch
	KeptCall  RecordType = 18 // a call that a restated mailbox had. Message, of whose Meta only Kind, Ref and Reply are there
	Untold    RecordType = 17 // the mailbox ended, and that is still to be told. Message, whose Reply is where it goes

	Followed   RecordType = 19 // the mailbox wants to know when a process ends. Watch, Process, Single
	Unfollowed RecordType = 20 // no more. Watch's Ref
	KeptFollow RecordType = 21 // what a restated mailbox follows. Watch, Process, Single

	// Sealed is in no entry: [Replay] makes it of the end of a lane.
	Sealed RecordType = 15
)

// Record is one change of one mailbox, as a [Log] keeps it: what came of it, not what asked for it, so that it
// has the same effect under other limits. The fields that Type does not name are zero.
type Record struct {
	Type    RecordType
	Mailbox [16]byte
	Epoch   uint32
	Config  []byte // what its client was given; nil for the server's
	Message Message
	Name    NameHash      // of the message; zero for none
	Seq     uint64        // acknowledged
	Floor   uint64        // messages up to here are gone
	Last    uint64        // the newest message's Seq
	Asleep  time.Duration // how long the mailbox slept; below 0 while it has a reader
	Names   []Name        // oldest first
	Kept    uint64        // how many Kept, KeptWatch, KeptCall and KeptFollow records follow; without the last of them nothing is restated
	Hold    bool
	Reason  Reason
	Detail  []byte // JSON, or nil
	Shards  []uint8
	Watch   Watch
	Process string // which the mailbox follows by Watch
	Single  bool   // it runs on one node at a time
}

// Name is an idempotency key that a mailbox remembers.
type Name struct {
	Hash NameHash
	Age  time.Duration // in whole seconds
}

// Reason says why a mailbox ended.
type Reason uint8

const (
	Closed  Reason = 1 // by its owner
	Expired Reason = 2 // it slept too long
	Exited  Reason = 3 // by somebody who had the right
)

// ErrRecord is a record that is none, or that does not fit what came before it.
var ErrRecord = errors.New("damaged record")

// what a message has, beside its body
const (
	hasName = 1 << iota
	hasExpiry
	hasMeta
)

// what a watch is, and has
const (
	isLink = 1 << iota
	wantsStates
	hasGrace
)

// AppendTo appends the record's bytes to b:
//
//	type:1 mailbox:16, then by type, numbers as varints and byte strings after their length:
//	Opened    epoch config
//	Appended  floor message        message = seq flags [name:16] [expires] [meta] body
//	Acked     seq                  meta    = kind ref reply trace number-of-labels label*
//	Awoke     hold:1               config  = 0, or its length plus 1 and its bytes
//	Slept
//	Ended     reason:1 detail      watch   = flags:1 until ref reply [grace]
//	Restated  epoch config seq floor last hold:1 asleep number-of-names (name:16 age)* kept
//	Kept, KeptCall, Untold  message
//	Watched, Unwatched, KeptWatch  watch
//	Followed, Unfollowed, KeptFollow  watch process single:1
//	Told
//	Claimed   no mailbox; number-of-shards shard:1* epoch
//	Owned, Released  no mailbox; number-of-shards shard:1*
//
// Expires and ages are in seconds, asleep in milliseconds plus 1, or 0 for awake.
func (r *Record) AppendTo(b []byte) []byte {
	b = append(b, byte(r.Type))
	if r.ofShards() {
		b = pack.AppendString(b, r.Shards)
		if r.Type == Claimed {
			b = binary.AppendUvarint(b, uint64(r.Epoch))
		}
		return b
	}
	b = append(b, r.Mailbox[:]...)
	switch r.Type {
	case Opened:
		b = appendConfig(binary.AppendUvarint(b, uint64(r.Epoch)), r.Config)
	case Appended:
		b = r.appendMessage(binary.AppendUvarint(b, r.Floor))
	case Acked:
		b = binary.AppendUvarint(b, r.Seq)
	case Awoke:
		b = pack.AppendFlag(b, r.Hold)
	case Ended:
		b = pack.AppendString(append(b, byte(r.Reason)), r.Detail)
	case Restated:
		b = appendConfig(binary.AppendUvarint(b, uint64(r.Epoch)), r.Config)
		b = binary.AppendUvarint(b, r.Seq)
		b = binary.AppendUvarint(b, r.Floor)
		b = binary.AppendUvarint(b, r.Last)
		b = pack.AppendFlag(b, r.Hold)
		b = appendAsleep(b, r.Asleep)
		b = binary.AppendUvarint(b, uint64(len(r.Names)))
		for _, n := range r.Names {
			b = append(b, n.Hash[:]...)
			b = binary.AppendUvarint(b, uint64(n.Age/time.Second))
		}
		b = binary.AppendUvarint(b, r.Kept)
	case Kept, KeptCall, Untold:
		b = r.appendMessage(b)
	case Watched, Unwatched, KeptWatch:
		b = appendWatch(b, &r.Watch)
	case Followed, Unfollowed, KeptFollow:
		b = pack.AppendFlag(pack.AppendString(appendWatch(b, &r.Watch), r.Process), r.Single)
	}
	return b
}

func appendWatch(b []byte, w *Watch) []byte {
	var flags byte
	if w.Link {
		flags |= isLink
	}
	if w.States {
		flags |= wantsStates
	}
	if w.Grace != 0 {
		flags |= hasGrace
	}
	b = binary.AppendUvarint(append(b, flags), uint64(w.Until))
	b = pack.AppendString(pack.AppendString(b, w.Ref), w.Reply)
	if w.Grace != 0 {
		b = binary.AppendUvarint(b, uint64(w.Grace))
	}
	return b
}

func (r *Record) ofShards() bool { return r.Type >= Claimed && r.Type <= Released }

func appendAsleep(b []byte, d time.Duration) []byte {
	if d < 0 {
		return append(b, 0)
	}
	return binary.AppendUvarint(b, uint64(d/time.Millisecond)+1)
}

func appendConfig(b, config []byte) []byte {
	if config == nil {
		return append(b, 0)
	}
	b = binary.AppendUvarint(b, uint64(len(config))+1)
	return append(b, config...)
}

func (r *Record) appendMessage(b []byte) []byte {
	m := &r.Message
	var flags byte
	if r.Name != (NameHash{}) {
		flags |= hasName
	}
	if m.Expires != 0 {
		flags |= hasExpiry
	}
	if m.Meta != nil {
		flags |= hasMeta
	}
	b = append(binary.AppendUvarint(b, m.Seq), flags)
	if flags&hasName != 0 {
		b = append(b, r.Name[:]...)
	}
	if flags&hasExpiry != 0 {
		b = binary.AppendUvarint(b, uint64(m.Expires))
	}
	if flags&hasMeta != 0 {
		b = pack.AppendString(append(b, byte(m.Meta.Kind)), m.Meta.Ref)
		b = pack.AppendString(b, m.Meta.Reply)
		b = pack.AppendString(b, m.Meta.Trace)
		b = binary.AppendUvarint(b, uint64(len(m.Meta.Via)))
		for _, label := range m.Meta.Via {
			b = pack.AppendString(b, label)
		}
	}
	return pack.AppendString(b, m.Body)
}

// ParseRecord reads one record from the beginning of b and returns what follows it. The record's Config and
// Message.Body are parts of b. The error is [ErrRecord].
func ParseRecord(b []byte) (Record, []byte, error) {
	p := &parser{pack.Reader{Rest: b}}
	r := p.record()
	if p.Failed {
		return Record{}, nil, fmt.Errorf("%w of type %d", ErrRecord, r.Type)
	}
	return r, p.Rest, nil
}

type parser struct{ pack.Reader }

func (p *parser) record() (r Record) {
	r.Type = RecordType(p.Byte())
	if r.ofShards() {
		r.Shards = p.Bytes(p.Uint())
		if r.Type == Claimed {
			r.Epoch = p.epoch()
		}
		return r
	}
	copy(r.Mailbox[:], p.Bytes(16))
	switch r.Type {
	case Opened:
		r.Epoch, r.Config = p.epoch(), p.config()
	case Appended:
		r.Floor = p.Uint()
		p.message(&r)
	case Acked:
		r.Seq = p.Uint()
	case Awoke:
		r.Hold = p.Flag()
	case Slept:
	case Ended:
		if r.Reason = Reason(p.Byte()); r.Reason < Closed || r.Reason > Exited {
			p.Fail()
		}
		if r.Detail = p.Bytes(p.Uint()); len(r.Detail) == 0 {
			r.Detail = nil
		}
	case Restated:
		p.state(&r)
	case Kept, Untold:
		p.message(&r)
	case KeptCall:
		if p.message(&r); r.Message.Meta == nil {
			p.Fail()
		}
	case Watched, Unwatched, KeptWatch:
		r.Watch = p.watch()
	case Followed, Unfollowed, KeptFollow:
		r.Watch, r.Process, r.Single = p.watch(), p.String(), p.Flag()
	case Told:
	default:
		p.Fail()
	}
	return r
}

func (p *parser) state(r *Record) {
	r.Epoch, r.Config = p.epoch(), p.config()
	r.Seq, r.Floor, r.Last = p.Uint(), p.Uint(), p.Uint()
	r.Hold = p.Flag()
	r.Asleep = time.Duration(p.UpTo(1<<43))*time.Millisecond - time.Millisecond
	for range p.UpTo(uint64(len(p.Rest)) / 17) {
		r.Names = append(r.Names, Name{p.hash(), time.Duration(p.UpTo(1<<33)) * time.Second})
	}
	r.Kept = p.Uint()
}

func (p *parser) watch() Watch {
	flags := p.Byte()
	if flags >= hasGrace<<1 {
		p.Fail()
	}
	w := Watch{
		Link: flags&isLink != 0, States: flags&wantsStates != 0,
		Until: int64(p.UpTo(1 << 62)), Ref: p.String(), Reply: p.String(),
	}
	if flags&hasGrace != 0 {
		w.Grace = int64(p.UpTo(1 << 31))
	}
	return w
}

func (p *parser) message(r *Record) {
	m := &r.Message
	m.Seq = p.Uint()
	flags := p.Byte()
	if flags >= hasMeta<<1 {
		p.Fail()
	}
	if flags&hasName != 0 {
		r.Name = p.hash()
	}
	if flags&hasExpiry != 0 {
		m.Expires = int64(p.UpTo(1 << 62))
	}
	if flags&hasMeta != 0 {
		m.Meta = p.meta()
	}
	m.Body = p.Bytes(p.Uint())
}

func (p *parser) meta() *Meta {
	kind := Kind(p.Byte())
	if kind > lastKind {
		p.Fail()
	}
	m := &Meta{Kind: kind, Ref: p.String(), Reply: p.String(), Trace: p.String()}
	for range p.UpTo(uint64(len(p.Rest))) {
		m.Via = append(m.Via, p.String())
	}
	return m
}

func (p *parser) hash() (h NameHash) {
	copy(h[:], p.Bytes(uint64(len(h))))
	return h
}

func (p *parser) epoch() uint32 { return uint32(p.UpTo(1<<32 - 1)) }

func (p *parser) config() []byte {
	n := p.Uint()
	if n == 0 {
		return nil
	}
	return p.Bytes(n - 1)
}

// State returns what restates the mailbox, with the messages up to acking acknowledged: a Restated record, a KeptCall
// one for each call whose message is gone and who still waits, a Kept one for each message, a KeptWatch one for each
// watch, and a KeptFollow one for each that it follows, so that none is long.
func (m *Mailbox) State(id [16]byte, config []byte, acking uint64, waits func(call *Meta) bool, now time.Time) []Record {
	m.expire(now)
	begin, watches, follows := m.queue.after(acking), m.Watches(), m.Following(now)
	calls := m.callsBefore(begin, waits)
	state := Record{
		Type: Restated, Mailbox: id, Epoch: m.epoch, Config: config, Seq: max(m.acked, acking), Floor: max(m.floor, acking), Last: m.last,
		Hold: m.held, Asleep: -time.Millisecond, Names: m.names.list(now, m.limits),
		Kept: uint64(len(calls) + m.queue.len() - begin + len(watches) + len(follows)),
	}
	if m.asleep != 0 {
		state.Asleep = max(now.Sub(time.Unix(0, m.asleep)), 0)
	}
	records := append(make([]Record, 0, 1+state.Kept), state)
	for _, c := range calls {
		meta := &Meta{Kind: KindCall, Ref: c.Ref, Reply: c.Reply}
		records = append(records, Record{Type: KeptCall, Mailbox: id, Message: Message{Meta: meta}})
	}
	for i := begin; i < m.queue.len(); i++ {
		records = append(records, Record{Type: Kept, Mailbox: id, Message: *m.queue.at(i)})
	}
	for _, w := range watches {
		records = append(records, Record{Type: KeptWatch, Mailbox: id, Watch: w})
	}
	for _, f := range follows {
		records = append(records, Record{Type: KeptFollow, Mailbox: id, Watch: f.Watch, Process: f.Process, Single: f.Single})
	}
	return records
}

// Restore returns the mailbox that an Opened or Restated record of the time at tells of.
func Restore(l *Limits, r *Record, at time.Time) Mailbox {
	m := New(l, r.Epoch, at)
	if r.Type != Restated {
		return m
	}
	m.acked, m.floor, m.last, m.held = r.Seq, r.Floor, r.Last, r.Hold
	m.asleep = at.Add(-r.Asleep).UnixNano()
	if r.Asleep < 0 {
		m.asleep = 0
	}
	if len(r.Names) > 0 {
		m.names = &names{}
		for _, n := range r.Names {
			m.names.add(n.Hash, at.Add(-n.Age), l)
		}
	}
	return m
}

// Apply changes the mailbox as a record of the time at says, which is none of Opened, Restated and Ended. The
// message's body is copied. The error is an [ErrRecord]: the record does not follow the one before it.
func (m *Mailbox) Apply(r *Record, at time.Time) error {
	switch r.Type {
	case Appended:
		return m.applyAppended(r, at)
	case Kept:
		if r.Message.Seq > m.last || m.queue.len() > 0 && r.Message.Seq <= m.queue.at(m.queue.len()-1).Seq {
			return fmt.Errorf("%w: kept message %d of %d", ErrRecord, r.Message.Seq, m.last)
		}
		m.keep(r.Message)
	case KeptCall:
		m.called(r.Message.Meta)
	case Acked:
		m.Ack(r.Seq)
	case Awoke:
		m.Wake()
		m.Hold(r.Hold)
	case Slept:
		m.Sleep(at)
	case Watched, KeptWatch:
		m.Watch(r.Watch)
	case Unwatched:
		m.Unwatch(&r.Watch)
	case Followed, KeptFollow:
		m.Follow(Follow{r.Watch, r.Process, r.Single}, at)
	case Unfollowed:
		m.Unfollow(r.Watch.Ref)
	default:
		return fmt.Errorf("%w: type %d", ErrRecord, r.Type)
	}
	return nil
}

func (m *Mailbox) applyAppended(r *Record, at time.Time) error {
	if r.Message.Seq != m.last+1 {
		return fmt.Errorf("%w: message %d follows %d", ErrRecord, r.Message.Seq, m.last)
	}
	for m.queue.len() > 0 && m.queue.at(0).Seq <= r.Floor {
		m.dropOldest()
	}
	m.floor = max(m.floor, r.Floor)
	m.last++
	if !m.fits(len(r.Message.Body)) {
		m.expire(at) // as Append did; no record tells of it
	}
	m.keep(r.Message)
	m.remember(r.Name, at)
	return nil
}

// keep queues a message that is known to fit.
func (m *Mailbox) keep(msg Message) {
	msg.Body = m.copy(msg.Body)
	m.push(msg)
}

// Resume tells a restored mailbox that the time now follows the time then, at which its last record was made: what
// was between them is left out of all that lasts for a while. A reader that it had is gone.
func (m *Mailbox) Resume(then, now time.Time) {
	pause := now.Sub(then)
	if m.asleep == 0 {
		m.Sleep(now)
	} else {
		m.asleep += int64(pause)
	}
	m.names.shift(pause)
}

// Floor is the newest message that is gone because it was acknowledged or dropped.
func (m *Mailbox) Floor() uint64 { return m.floor }
