package server

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/genbrowser/genbrowser/internal/pack"
)

const (
	beatEvery = 300 * time.Millisecond
	// silence is how long nothing is heard of a node until it is given up.
	silence = 4 * beatEvery
	// renewEvery is how often a node's lane grows at least, lease how long after that the node may be sure that
	// nobody took its place, and sealAfter how long others wait until they seal a lane that does not grow. What
	// lies between the last two is for clocks that do not go equally fast.
	renewEvery = 500 * time.Millisecond
	lease      = 1500 * time.Millisecond
	sealAfter  = 1900 * time.Millisecond
	// fullBeat is every how many beats one tells everything.
	fullBeat = 10
	// maxSkew is how far clocks may be apart without a warning.
	maxSkew = 5 * time.Second
)

// cluster is the other nodes: who they are, which shards they own, and the way to them.
type cluster struct {
	server     *Server
	member     *member
	mesh       Mesh
	name       string // of this node, for people
	log        *slog.Logger
	packetSize int
	background sync.WaitGroup
	done       chan struct{} // closed when this node leaves
	stir       chan struct{} // something changed that govern should look at
	outgoing   chan struct{} // there is something to send

	routes atomic.Pointer[routes]
	wire   sync.Mutex // held while something is sent, so that numbers are in order

	mu      sync.Mutex
	self    string // this node's id, its lane
	nodes   map[string]*node
	changed chan struct{} // closed when routes do
	left    bool
	yields  bool // this node is about to leave, and owns nothing any more

	governing
}

// routes says which other node owns each shard, and which nodes have a process of a name.
type routes struct {
	shards    [shardCount]*node
	processes map[string][]*node
}

// beat is what a node tells all others several times a second.
type beat struct {
	Name      string            `json:"name"`
	Clock     time.Time         `json:"clock"`
	Shards    []ownedShard      `json:"shards,omitempty"`
	Sent      map[string]uint64 `json:"sent,omitempty"` // packets, by node
	Full      bool              `json:"full,omitempty"` // Processes is meant
	Processes []string          `json:"processes,omitempty"`
	Yields    bool              `json:"yields,omitempty"`  // it wants no shards any more
	Leaving   bool              `json:"leaving,omitempty"` // it is gone
	Mailboxes int64             `json:"mailboxes"`
	Bytes     int64             `json:"bytes"`
	Stalled   bool              `json:"stalled,omitempty"`
}

// joinCluster becomes a node of the cluster. It owns shards after a while.
func (s *Server) joinCluster(mesh Mesh, name string) error {
	c := &cluster{
		server: s, member: s.member, mesh: mesh, name: name, log: s.log, packetSize: mesh.MaxSize() - 16,
		done: make(chan struct{}), stir: make(chan struct{}, 1), outgoing: make(chan struct{}, 1), changed: make(chan struct{}),
	}
	c.suspects = make(map[string]suspect)
	s.cluster = c
	if err := c.join(); err != nil {
		return err
	}
	c.background.Go(c.keepBeating)
	c.background.Go(c.keepSending)
	c.background.Go(c.govern)
	s.background.Go(s.keepLogShort)
	return nil
}

// join begins anew, as a node that nobody knows and that owns nothing.
func (c *cluster) join() error {
	c.mu.Lock()
	c.nodes = make(map[string]*node)
	c.self = c.member.log.Lane()
	c.mu.Unlock()
	c.routes.Store(&routes{})
	c.joined = time.Now()
	c.asked = [shardCount]bool{}
	j := c.member.begin(lease)
	j.renew(0)
	c.wire.Lock() // nothing is sent as another while who sends changes
	defer c.wire.Unlock()
	return c.mesh.Join(c.self, c.receive)
}

// keepBeating tells the others that this node lives, and notices who does not.
func (c *cluster) keepBeating() {
	ticker := time.NewTicker(beatEvery)
	defer ticker.Stop()
	for n := 0; ; n++ {
		c.sendBeat(n%fullBeat == 0, false)
		c.dropSilent()
		c.member.current().renew(renewEvery)
		select {
		case <-ticker.C:
		case <-c.done:
			return
		}
	}
}

func (c *cluster) sendBeat(full, leaving bool) {
	s := c.server
	j := c.member.current()
	sure := j.sure()
	b := beat{
		Name: c.name, Clock: s.clock.now(), Full: full, Leaving: leaving, Sent: make(map[string]uint64),
		Mailboxes: s.mailboxes.Load(), Bytes: s.bytes.Load(), Stalled: !sure || j.stalled.Load(),
	}
	if full {
		b.Processes = s.processes.names()
	}
	if !leaving && sure { // or others may have them
		b.Shards = c.server.ownedShards()
	}
	c.wire.Lock()
	defer c.wire.Unlock()
	c.mu.Lock()
	b.Yields = c.yields
	for id, n := range c.nodes {
		if n.sent > 0 {
			b.Sent[id] = n.sent
		}
	}
	c.mu.Unlock()
	text, err := json.Marshal(b)
	if err != nil {
		panic(err) // our own type
	}
	if err := c.mesh.Broadcast(append([]byte{isBeat}, text...)); err != nil {
		c.log.Debug("beat lost", "error", err)
	}
}

// receive takes what another node sent.
func (c *cluster) receive(from string, data []byte) {
	if len(data) == 0 {
		return
	}
	switch kind, rest := data[0], data[1:]; kind {
	case isBeat:
		c.takeBeat(from, rest)
	case isPacket:
		n := c.node(from)
		if n == nil {
			return
		}
		r := pack.Reader{Rest: rest}
		if number := r.Uint(); number != n.received+1 {
			n.countLost(number - 1)
			n.lost(number)
		} else {
			n.received = number
		}
		n.frames(&r)
	}
}

// lost notes that packets before number did not arrive: what was in them nobody knows, so that both begin anew.
func (n *node) lost(number uint64) {
	n.cluster.log.Warn("packets lost", "node", n.id, "after", n.received, "before", number)
	n.received = number
	n.send(func(b []byte) []byte { return append(b, isReset) })
	n.cut()
}

// node returns the node of that id, which may be new; nil if this node is about to leave.
func (c *cluster) node(id string) *node {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left || id == c.self {
		return nil
	}
	n := c.nodes[id]
	if n == nil {
		n = newNode(c, id)
		n.heard = time.Now()
		n.known = n.heard
		c.nodes[id] = n
	}
	return n
}

func (c *cluster) takeBeat(from string, text []byte) {
	var b beat
	if err := json.Unmarshal(text, &b); err != nil {
		c.log.Warn("a beat that makes no sense", "node", from, "error", err)
		return
	}
	n := c.node(from)
	if n == nil {
		return
	}
	if b.Leaving {
		c.drop(n)
		return
	}
	if sent := b.Sent[c.self]; sent > n.received {
		n.countLost(sent)
		n.lost(sent)
	}
	if skew := b.Clock.Sub(c.server.clock.now()).Abs(); skew > maxSkew && n.beat.Clock.IsZero() {
		c.log.Warn("clocks are apart; messages with a time to live may end early or late", "node", b.Name, "by", skew)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !b.Full {
		b.Processes = n.beat.Processes
	}
	same := slices.EqualFunc(b.Shards, n.beat.Shards, func(a, b ownedShard) bool { return a.Shard == b.Shard && a.Since == b.Since }) &&
		slices.Equal(b.Processes, n.beat.Processes)
	n.beat, n.heard = b, time.Now()
	if !same {
		c.reroute()
	}
}

// reroute makes routes of what the nodes told; mu is held. Of two that say that they own a shard, the one is right
// that claimed it later.
func (c *cluster) reroute() {
	r := &routes{processes: make(map[string][]*node)}
	var since [shardCount]uint64
	for _, n := range c.nodes {
		for _, o := range n.beat.Shards {
			if o.Shard < shardCount && o.Since >= since[o.Shard] {
				r.shards[o.Shard], since[o.Shard] = n, o.Since
			}
		}
		for _, name := range n.beat.Processes {
			r.processes[name] = append(r.processes[name], n)
		}
	}
	c.routes.Store(r)
	close(c.changed)
	c.changed = make(chan struct{})
	c.nudge()
}

// nudge makes govern look.
func (c *cluster) nudge() {
	select {
	case c.stir <- struct{}{}:
	default:
	}
}

// dropSilent gives up the nodes that were not heard for a while, and what they were asked too long ago.
func (c *cluster) dropSilent() {
	for _, n := range c.others() {
		n.endUnanswered()
		c.mu.Lock()
		silent := time.Since(n.heard)
		c.mu.Unlock()
		if silent > silence {
			c.log.Warn("a node is silent", "node", n.id, "name", n.beat.Name, "for", silent)
			c.drop(n)
		}
	}
}

func (c *cluster) others() []*node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Values(c.nodes))
}

// drop forgets a node.
func (c *cluster) drop(n *node) {
	c.mu.Lock()
	if c.nodes[n.id] == n {
		delete(c.nodes, n.id)
		c.reroute()
	}
	c.mu.Unlock()
	n.giveUp()
}

// route returns the node that owns a shard, nil if it is this one, and waits until deadline if nobody does.
func (c *cluster) route(shard uint8, deadline time.Time) (*node, error) {
	for {
		if c.server.shards[shard].isOwned() {
			return nil, nil
		}
		if n := c.routes.Load().shards[shard]; n != nil {
			return n, nil
		}
		if !c.awaitChange(deadline) {
			return nil, ErrUnavailable
		}
	}
}

// reach returns [ErrUnavailable] while this node can't reach the log, and so the others neither, as far as it knows.
func (c *cluster) reach() error {
	if j := c.member.current(); j.stalled.Load() || !j.sure() {
		return ErrUnavailable
	}
	return nil
}

// awaitChange waits until routes may have changed, and reports whether there is time left.
func (c *cluster) awaitChange(deadline time.Time) bool {
	left := time.Until(deadline)
	if left <= 0 {
		return false
	}
	c.mu.Lock()
	changed := c.changed
	c.mu.Unlock()
	timer := time.NewTimer(min(left, 100*time.Millisecond)) // this node's own shards change without a route
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	case <-c.done:
		return false
	}
	return true
}

// yield hands all shards over, and sends the readers of other nodes' mailboxes away.
func (c *cluster) yield(ctx context.Context) error {
	c.mu.Lock()
	c.yields = true
	c.mu.Unlock()
	c.sendBeat(false, false)
	c.owning.Lock() // what govern claims at this moment is released too
	defer c.owning.Unlock()
	err := c.member.release(ctx, c.member.owned())
	c.sendBeat(false, false)
	for _, n := range c.others() {
		n.endReaders(ErrShuttingDown)
	}
	return err
}

// leave tells the others that this node is going, whose shards are free already.
func (c *cluster) leave() {
	c.mu.Lock()
	if c.left {
		c.mu.Unlock()
		return
	}
	c.left = true
	c.mu.Unlock()
	close(c.done)
	c.sendWaiting()
	c.sendBeat(false, true)
	c.forgetAll()
	if err := c.mesh.Leave(); err != nil {
		c.log.Warn("leaving the mesh", "error", err)
	}
	c.background.Wait()
}

func (c *cluster) forgetAll() {
	c.mu.Lock()
	nodes := c.nodes
	c.nodes = make(map[string]*node)
	c.reroute()
	c.mu.Unlock()
	for _, n := range nodes {
		n.giveUp()
	}
}

// rejoin becomes another node, after its lane was sealed: others own what it owned.
func (c *cluster) rejoin() error {
	c.owning.Lock()
	defer c.owning.Unlock()
	if c.yielding() {
		return nil // it sealed its lane itself, to leave
	}
	c.log.Warn("this node was given up for dead; it joins anew")
	c.member.disown(c.member.owned())
	if err := c.mesh.Leave(); err != nil {
		return err
	}
	c.forgetAll()
	c.member.log.Renew()
	return c.join()
}

// NodeStatus is what is known of one node of the cluster.
type NodeStatus struct {
	ID        string        `json:"id"`
	Name      string        `json:"name"`
	Self      bool          `json:"self,omitempty"`
	Shards    []uint8       `json:"-"`
	Owned     int           `json:"shards"`
	Mailboxes int64         `json:"mailboxes"`
	Bytes     int64         `json:"bytes"`
	Stalled   bool          `json:"stalled,omitempty"` // it can store nothing now
	Heard     time.Duration `json:"heard"`             // how long ago
}

// Nodes returns what this node knows of the cluster, itself first.
func (s *Server) Nodes() []NodeStatus {
	c := s.cluster
	if c == nil {
		return nil
	}
	own := s.member.owned()
	c.mu.Lock()
	defer c.mu.Unlock()
	all := []NodeStatus{{
		ID: c.self, Name: c.name, Self: true, Shards: own, Owned: len(own), Mailboxes: s.mailboxes.Load(),
		Bytes: s.bytes.Load(), Stalled: s.member.current().ready() != nil,
	}}
	for _, id := range slices.Sorted(maps.Keys(c.nodes)) {
		n := c.nodes[id]
		status := NodeStatus{
			ID: id, Name: n.beat.Name, Owned: len(n.beat.Shards), Mailboxes: n.beat.Mailboxes, Bytes: n.beat.Bytes,
			Stalled: n.beat.Stalled, Heard: time.Since(n.heard),
		}
		for _, o := range n.beat.Shards {
			status.Shards = append(status.Shards, o.Shard)
		}
		all = append(all, status)
	}
	return all
}
