package server

import (
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/genbrowser/genbrowser/internal/pack"
	"github.com/genbrowser/genbrowser/mailbox"
)

const (
	// windowMessages and windowBytes are how much is sent ahead of what the reader took.
	windowMessages = 256
	windowBytes    = 128 << 10
	// metaRoom is what a frame has beside bodies, at most.
	metaRoom = 8 << 10
)

// edge reads a mailbox of this node for a reader of another, and sends what comes. It implements [Reader].
type edge struct {
	node   *node
	number uint64
	sub    *Subscription

	mu      sync.Mutex
	unacked []pushed // sent, and not yet taken
	bytes   int      // of them
	end     error
	ended   bool
}

type pushed struct {
	seq  uint64
	size int
}

// Wake sends what there is to read, as far as the window goes.
func (e *edge) Wake() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pump()
}

func (e *edge) pump() {
	if e.sub == nil || e.ended { // it is not attached yet
		return
	}
	for e.sendSome() {
	}
	if e.end != nil {
		e.ended = true
		why := e.end
		e.node.send(func(b []byte) []byte {
			return appendEnd(binary.AppendUvarint(append(b, isEnd), e.number), why)
		})
	}
}

// sendSome sends one frame of messages, and reports whether there may be more.
func (e *edge) sendSome() (more bool) {
	var items []byte
	count, at := uint64(0), e.sub.at
	most := min(windowBytes/2, e.node.cluster.packetSize-metaRoom) // of a frame, which must fit into a packet
	e.sub.Read(func(m *mailbox.Message, err error) bool {
		if len(e.unacked) >= windowMessages || e.bytes >= windowBytes {
			return false
		}
		if len(items) > 0 && (m == nil || len(items)+len(m.Body) > most) {
			more = true
			return false
		}
		count++
		var gap *mailbox.GapError
		if errors.As(err, &gap) {
			at += gap.Missing
			items = binary.AppendUvarint(binary.AppendUvarint(items, gap.Missing), at)
			return true
		}
		at = m.Seq
		record := mailbox.Record{Type: mailbox.Kept, Message: *m}
		items = record.AppendTo(append(items, 0))
		e.unacked = append(e.unacked, pushed{m.Seq, len(m.Body)})
		e.bytes += len(m.Body)
		return true
	})
	if count == 0 {
		return false
	}
	e.sub.at = at
	e.node.send(func(b []byte) []byte {
		b = binary.AppendUvarint(append(b, isPush), e.number)
		return append(binary.AppendUvarint(b, count), items...)
	})
	return more
}

// End says why there will be nothing more.
func (e *edge) End(why error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.end = why
	e.pump()
}

// delivered notes what the reader took, and sends more. A nil edge ended meanwhile.
func (e *edge) delivered(seq uint64) {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.unacked) > 0 && e.unacked[0].seq <= seq {
		e.bytes -= e.unacked[0].size
		e.unacked = e.unacked[1:]
	}
	e.sub.markDelivered(seq)
	e.pump()
}

func (n *node) edge(number uint64) *edge {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.edges[number]
}

// takeSubscribe begins to read a mailbox for a reader of another node.
func (n *node) takeSubscribe(r *pack.Reader) {
	call, number, id := r.Uint(), r.Uint(), readID(r)
	how := Subscribing{Hold: r.Flag()}
	hasCursor := r.Flag()
	cursor := readCursor(r)
	if r.Failed {
		return
	}
	if hasCursor {
		how.After = &cursor
	}
	e := &edge{node: n, number: number}
	e.mu.Lock()
	defer e.mu.Unlock()
	s := n.cluster.server
	b, err := s.find(id)
	var sub *Subscription
	if err == nil {
		sub, err = s.attach(b, how, e)
	}
	if err != nil {
		n.answer(call, nil, err)
		return
	}
	e.sub = sub
	if !n.keep(e) {
		sub.Close()
		return
	}
	e.pump() // before the answer: a long-poll that waits for nothing must find what is there
	answer := appendCursor(appendConfig(nil, sub.config), sub.start)
	n.answer(call, binary.AppendUvarint(binary.AppendUvarint(answer, sub.Gap), sub.at), nil)
}

// keep remembers an edge, unless the node is gone.
func (n *node) keep(e *edge) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.gone {
		return false
	}
	n.edges[e.number] = e
	return true
}

func (n *node) takeUnsubscribe(number uint64) {
	n.mu.Lock()
	e := n.edges[number]
	delete(n.edges, number)
	n.mu.Unlock()
	if e != nil {
		e.close()
	}
}

func (e *edge) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ended = true
	e.sub.Close()
}

// farSubscription is a reader here of a mailbox on another node.
type farSubscription struct {
	node   *node
	number uint64
	shard  uint8 // of the mailbox
	reader Reader

	initial uint64 // messages up to here were there when the subscription began; written once, before it is read

	mu    sync.Mutex
	queue []farItem // came, and is not yet delivered
	at    uint64    // messages up to here were delivered
	told  uint64    // the other node knows that messages up to here were delivered, or are not to be any more
	why   error
}

// farItem is a message, or messages that are missing.
type farItem struct {
	msg     mailbox.Message
	missing uint64 // up to msg.Seq
}

// subscribe begins to read a mailbox of the node.
func (n *node) subscribe(how Subscribing, sub *Subscription) error {
	f := &farSubscription{node: n, shard: shardOf(sub.id), reader: sub.reader}
	n.mu.Lock()
	number := n.cluster.numbers.Add(1)
	f.number = number
	n.far[f.number] = f
	n.mu.Unlock()
	sub.far = f
	answer, err := n.ask(isSubscribe, func(b []byte) []byte {
		b = append(binary.AppendUvarint(b, f.number), sub.id[:]...)
		b = pack.AppendFlag(pack.AppendFlag(b, how.Hold), how.After != nil)
		var after mailbox.Cursor
		if how.After != nil {
			after = *how.After
		}
		return appendCursor(b, after)
	}).wait()
	r := pack.Reader{Rest: answer}
	if err == nil {
		sub.config, sub.start, sub.Gap = slices.Clone(readConfig(&r)), readCursor(&r), r.Uint()
		sub.at, f.initial = sub.start.Seq, r.Uint()
		if r.Failed {
			err = ErrUnavailable
		}
	}
	if err != nil {
		f.close()
	}
	return err
}

// farSubscription returns the one of that number; nil if it ended.
func (n *node) farSubscription(number uint64) *farSubscription {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.far[number]
}

// takePush gives the messages of a frame to their reader. If that is gone, the other node is told once more.
func (n *node) takePush(r *pack.Reader) {
	number := r.Uint()
	f := n.farSubscription(number)
	items := readItems(r)
	if r.Failed {
		return
	}
	if f != nil {
		f.pushed(items)
		return
	}
	n.send(func(b []byte) []byte { return binary.AppendUvarint(append(b, isUnsubscribe), number) })
}

func readItems(r *pack.Reader) []farItem {
	var items []farItem
	for range r.UpTo(uint64(len(r.Rest))) {
		item := farItem{missing: r.Uint()}
		if item.missing == 0 {
			item.msg = readRecord(r).Message
		} else {
			item.msg.Seq = r.Uint()
		}
		items = append(items, item)
	}
	return items
}

func (f *farSubscription) pushed(items []farItem) {
	f.mu.Lock()
	for _, item := range items {
		if item.msg.Seq > f.at { // init told of a gap before it came
			f.queue = append(f.queue, item)
		}
	}
	f.mu.Unlock()
	f.reader.Wake()
}

// read calls take with what came, up to a place, until that returns false.
func (f *farSubscription) read(now time.Time, upTo uint64, take func(*mailbox.Message, error) bool) (ended bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.expire(now)
	ended = f.why != nil
	for i := range f.queue {
		item := &f.queue[i]
		switch {
		case item.msg.Seq > upTo:
			return ended
		case item.missing > 0:
			// init may have told of a part of them
			if missing := min(item.missing, item.msg.Seq-f.at); !take(nil, &mailbox.GapError{Missing: missing}) {
				return ended
			}
		case !item.expired(now) && !take(&item.msg, nil):
			return ended
		}
	}
	return ended
}

func (i *farItem) expired(now time.Time) bool {
	return i.missing == 0 && i.msg.Expires != 0 && i.msg.Expires <= now.Unix()
}

// expire forgets the messages at the head whose time is over. Nobody will say that they were delivered, and without
// that the other node would send no more once as many expired as it sends ahead.
func (f *farSubscription) expire(now time.Time) {
	done := 0
	for done < len(f.queue) && f.queue[done].expired(now) {
		done++
	}
	if done > 0 {
		f.forget(done, f.queue[done-1].msg.Seq)
	}
}

// delivered forgets the messages up to seq.
func (f *farSubscription) delivered(seq uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at = max(f.at, seq)
	done := 0
	for done < len(f.queue) && f.queue[done].msg.Seq <= seq {
		done++
	}
	f.forget(done, seq)
}

// forget takes the first items off the queue, and lets the other node know now and then that it need not keep the
// messages up to seq in mind any more.
func (f *farSubscription) forget(items int, seq uint64) {
	clear(f.queue[:items])
	f.queue = f.queue[items:]
	if len(f.queue) > 0 && seq-f.told < windowMessages/4 {
		return
	}
	f.told = seq
	f.node.send(func(b []byte) []byte {
		return binary.AppendUvarint(binary.AppendUvarint(append(b, isDelivered), f.number), seq)
	})
}

// end tells the reader why there is nothing more.
func (f *farSubscription) end(why error) {
	if f == nil {
		return
	}
	f.mu.Lock()
	first := f.why == nil
	f.why = why
	f.mu.Unlock()
	if first {
		f.reader.End(why)
	}
}

func (f *farSubscription) close() {
	f.node.mu.Lock()
	delete(f.node.far, f.number)
	f.node.mu.Unlock()
	f.node.send(func(b []byte) []byte { return binary.AppendUvarint(append(b, isUnsubscribe), f.number) })
}
