package server

import (
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/genbrowser/genbrowser/internal/pack"
)

// node is another node of the cluster as this one knows it, and the way to it. Frames that come while a packet is
// sent gather in the next one.
type node struct {
	id      string
	cluster *cluster

	mu      sync.Mutex
	out     [][]byte // packets to send, each behind room for its head; frames are added to the last one
	spare   []byte   // a packet that was sent, to be used again
	waiting int      // bytes in out
	full    bool     // out had no room for a frame
	gone    bool
	calls   map[uint64]*call            // questions that it has not answered
	posts   map[uint64]*posts           // messages that it has not answered
	leaving *posts                      // those that out has; nil if it has none
	far     map[uint64]*farSubscription // subscriptions of ours to its mailboxes
	edges   map[uint64]*edge            // subscriptions of its to our mailboxes
	work    chan func()                 // what it sent for processes
	sharing chan struct{}               // one for each watch of its that the other nodes do not know yet
	retell  chan struct{}               // has one if it is to be told who watches processes here
	ended   chan struct{}

	sent     uint64 // packets; guarded by cluster.wire
	received uint64 // packets; owned by the goroutine that receives
	broken   bool   // some got lost, and the node has not begun anew; as above

	// guarded by cluster.mu
	beat      beat
	heard     time.Time // when its newest beat came, or else its first packet
	known     time.Time // when it was first heard
	names     nodeNames // all of them, as the newest full beats said
	telling   nodeNames // those that came so far of the ones that are being told
	toldNames bool      // all were told at least once
}

// maxWaiting is how many bytes may wait for the way to one node. What is more gets lost, as a packet does, which both
// ends notice.
const maxWaiting = 64 << 20

const (
	// packetEvery is how long after packets the next ones are sent, at least: what comes meanwhile shares their cost.
	packetEvery = time.Millisecond
	// busyPacketEvery is that where the last ones had busyBytes or more: there is much to share it.
	busyPacketEvery = 3 * time.Millisecond
	busyBytes       = 8 << 10
	// packetHead is the room for a packet's head: its kind and number.
	packetHead = 1 + binary.MaxVarintLen64
	// maxSpare is how long a packet may be that is kept to be used again.
	maxSpare = 256 << 10
)

// callPatience is how long a question to another node may go unanswered. It covers the wait for the log there, which
// ends after impatience.
const callPatience = 2 * time.Second

// call is a question to another node.
type call struct {
	asked  time.Time
	done   chan struct{}
	answer []byte
	err    error

	onward func() *call // nil, or asks somebody else if the answer is one of onward

	all []*call // nil, or what was asked of several nodes, whose answers say no more than that they heard
}

// onward are answers of a node that took nothing, where another one may.
var onward = []error{ErrFull, ErrGone, ErrShuttingDown}

// wait returns the answer; the error is [ErrUnavailable] if there is none.
func (c *call) wait() (answer []byte, err error) {
	if c == nil {
		return nil, nil
	}
	if c.all != nil {
		for _, one := range c.all {
			<-one.done
		}
		return nil, nil
	}
	<-c.done
	if c.onward != nil && slices.ContainsFunc(onward, func(err error) bool { return errors.Is(c.err, err) }) {
		return c.onward().wait()
	}
	return c.answer, c.err
}

func newNode(c *cluster, id string) *node {
	n := &node{
		id: id, cluster: c, calls: make(map[uint64]*call), posts: make(map[uint64]*posts), ended: make(chan struct{}),
		far: make(map[uint64]*farSubscription), edges: make(map[uint64]*edge),
		work: make(chan func(), maxForProcesses), sharing: make(chan struct{}, maxForProcesses),
		retell: make(chan struct{}, 1),
	}
	c.background.Go(n.workOff)
	c.background.Go(n.keepTellingWatches)
	return n
}

// keepSending sends what there is for the other nodes, to all of them together, until this node leaves.
func (c *cluster) keepSending() {
	for {
		select {
		case <-c.outgoing:
		case <-c.done:
			return
		}
		if c.sendWaiting() < busyBytes {
			time.Sleep(packetEvery)
		} else {
			time.Sleep(busyPacketEvery)
		}
	}
}

// sendWaiting returns how many bytes it sent.
func (c *cluster) sendWaiting() (bytes int) {
	for _, n := range c.others() {
		bytes += n.sendWaiting()
	}
	return bytes
}

func (n *node) sendWaiting() (bytes int) {
	n.mu.Lock()
	packets, full, bytes := n.out, n.full, n.waiting
	n.out, n.waiting, n.full, n.leaving = nil, 0, false, nil
	n.mu.Unlock()
	if full {
		n.cluster.skipPacket(n)
		n.cut(notSaid)
	}
	for _, packet := range packets {
		n.cluster.sendPacket(n, packet)
		if cap(packet) <= maxSpare {
			n.mu.Lock()
			n.spare = packet
			n.mu.Unlock()
		}
	}
	return bytes
}

// sendPacket sends a packet with its number, by which the other end sees that one got lost.
func (c *cluster) sendPacket(n *node, packet []byte) {
	c.wire.Lock()
	defer c.wire.Unlock()
	select {
	case <-n.ended: // what it was asked is answered already
		return
	default:
	}
	n.sent++
	var head [packetHead]byte
	head[0] = isPacket
	size := 1 + binary.PutUvarint(head[1:], n.sent)
	packet = packet[packetHead-size:]
	copy(packet, head[:size])
	if err := c.mesh.Send(n.id, packet); err != nil {
		c.log.Debug("packet lost", "node", n.id, "error", err)
	}
}

// skipPacket makes the other end see that something got lost.
func (c *cluster) skipPacket(n *node) {
	c.wire.Lock()
	defer c.wire.Unlock()
	n.sent++
}

// send adds a frame, which put appends to what it is given. It is lost if the node is gone.
func (n *node) send(put func([]byte) []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sendLocked(put)
}

func (n *node) sendLocked(put func([]byte) []byte) {
	if n.gone {
		return
	}
	if n.waiting > maxWaiting {
		n.full = true
		return
	}
	last := len(n.out) - 1
	if last < 0 {
		n.out, last = append(n.out, n.newPacket()), 0
	}
	before := len(n.out[last])
	n.out[last] = put(n.out[last])
	n.waiting += len(n.out[last]) - before
	if before > packetHead && len(n.out[last]) > n.cluster.packetSize {
		n.out = append(n.out, append(n.newPacket(), n.out[last][before:]...))
		n.out[last] = n.out[last][:before]
	}
	n.cluster.wakeSender()
}

func (c *cluster) wakeSender() {
	select {
	case c.outgoing <- struct{}{}:
	default:
	}
}

// newPacket returns one that has no frames; mu is held.
func (n *node) newPacket() []byte {
	if p := n.spare; p != nil {
		n.spare = nil
		return p[:packetHead]
	}
	return make([]byte, packetHead, 1<<10)
}

// ask sends a frame of a kind, with a number by which the answer will be known.
func (n *node) ask(kind byte, put func([]byte) []byte) *call {
	c := &call{asked: time.Now(), done: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.gone {
		c.end(nil, ErrUnavailable)
		return c
	}
	number := n.cluster.numbers.Add(1)
	n.calls[number] = c
	n.sendLocked(func(b []byte) []byte { return put(binary.AppendUvarint(append(b, kind), number)) })
	return c
}

func (c *call) end(answer []byte, err error) {
	c.answer, c.err = answer, err
	close(c.done)
}

// answer answers the call of that number.
func (n *node) answer(number uint64, answer []byte, err error) {
	n.send(func(b []byte) []byte {
		b = binary.AppendUvarint(append(b, isAnswer), number)
		return pack.AppendString(appendError(b, err), answer)
	})
}

// answered ends the call that a frame answers.
func (n *node) answered(r *pack.Reader) {
	number := r.Uint()
	err := readError(r)
	answer := r.Bytes(r.Uint())
	if !r.Failed {
		n.endCall(number, answer, err)
	}
}

// endUnanswered ends the calls that were asked too long ago: a node that is heard and does not hear, or is not heard
// and not given up yet, leaves them unanswered.
func (n *node) endUnanswered() {
	n.mu.Lock()
	var late []uint64
	for number, c := range n.calls {
		if time.Since(c.asked) > callPatience {
			late = append(late, number)
		}
	}
	n.mu.Unlock()
	for _, number := range late {
		n.endCall(number, nil, ErrUnavailable)
	}
	n.endUnansweredPosts()
}

// endCall ends a call, unless it has ended.
func (n *node) endCall(number uint64, answer []byte, err error) {
	n.mu.Lock()
	c := n.calls[number]
	delete(n.calls, number)
	n.mu.Unlock()
	if c != nil {
		c.end(answer, err)
	}
}

// endReaders ends the readers here of mailboxes there.
func (n *node) endReaders(why error) {
	for _, f := range n.farSubscriptions() {
		f.end(why)
	}
}

// endReadersBut ends those of mailboxes that the node does not own. It has told them itself, unless it heard nothing of
// this node any more, and gave it up before it lost them.
func (n *node) endReadersBut(owned []ownedShard) {
	var keep [shardCount]bool
	for _, o := range owned {
		keep[o.Shard%shardCount] = true
	}
	for _, f := range n.farSubscriptions() {
		if !keep[f.shard] {
			f.end(ErrMoved)
		}
	}
}

func (n *node) farSubscriptions() []*farSubscription {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Collect(maps.Values(n.far))
}

// cut ends all that is between this node and n: what was asked, and who reads. Something got lost on the way, or n
// is gone. Then it says so, unless with notSaid: what is behind that frame was sent after the end of all before.
func (n *node) cut(frame byte) {
	n.mu.Lock()
	if frame != notSaid && !n.gone {
		n.out = append(n.out, append(n.newPacket(), frame))
		n.waiting++
		n.cluster.wakeSender()
	}
	calls, far, edges, sent := n.calls, n.far, n.edges, n.posts
	n.calls, n.far, n.edges = make(map[uint64]*call), make(map[uint64]*farSubscription), make(map[uint64]*edge)
	n.posts, n.leaving = make(map[uint64]*posts), nil
	n.mu.Unlock()
	for _, p := range sent {
		p.end(ErrUnavailable)
	}
	for _, c := range calls {
		c.end(nil, ErrUnavailable)
	}
	for _, f := range far {
		f.end(ErrMoved)
	}
	for _, e := range edges {
		e.close()
	}
}

// giveUp cuts the way to n for good.
func (n *node) giveUp() {
	n.mu.Lock()
	was := n.gone
	n.gone, n.out = true, nil
	n.mu.Unlock()
	if !was {
		close(n.ended)
	}
	n.cut(notSaid)
}
