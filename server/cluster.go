package server

import (
	"context"
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
	// renewEvery is how often a node's lane grows at least.
	renewEvery = 500 * time.Millisecond
	// fullBeat is every how many beats one tells everything.
	fullBeat = 10
	// maxSkew is how far clocks may be apart without a warning.
	maxSkew = 5 * time.Second
)

// patience is how long the nodes of a cluster wait for each other. All of them need the same.
type patience struct {
	// silence is how long nothing is heard of a node until it is given up.
	silence time.Duration
	// lease is how long after its lane grew a node may be sure that nobody took its place, and seal how long others wait until
	// they seal a lane that does not grow. What lies between them is for clocks that do not go equally fast.
	lease, seal time.Duration
}

// usual is the patience that lets a dead node be replaced within a few seconds.
var usual = patience{silence: 4 * beatEvery, lease: 1500 * time.Millisecond, seal: 1900 * time.Millisecond}

// cluster is the other nodes: who they are, which shards they own, and the way to them.
type cluster struct {
	server     *Server
	member     *member
	mesh       Mesh
	name       string // of this node, for people
	log        *slog.Logger
	packetSize int
	patience   patience
	background sync.WaitGroup
	done       chan struct{} // closed when this node leaves
	stir       chan struct{} // something changed that govern should look at
	outgoing   chan struct{} // there is something to send

	routes  atomic.Pointer[routes]
	numbers atomic.Uint64 // the newest number of what any node was asked: one that was given up, and is back, may answer what it was asked before
	tellAll atomic.Bool   // some node does not know everything that this one tells with full beats: the next one is to be full
	wire    sync.Mutex    // held while something is sent, so that numbers are in order

	beating  sync.Mutex // held while what is so is told, so that nothing older comes after it
	tellings uint64     // of names, so far; guarded by beating
	unheard  bool       // the newest beat could not be sent; guarded by beating

	mu      sync.Mutex
	self    string // this node's id, its lane
	nodes   map[string]*node
	silent  map[string]silentNode
	changed chan struct{} // closed when routes do
	left    bool
	yields  bool    // this node is about to leave, and wants no shards
	going   []uint8 // shards whose processes others are to wait for
	warm    []uint8 // shards of others whose content this node knows

	paused bool // readers were sent away because nothing can be stored; keepWatch's

	governing
}

// joinCluster becomes a node of the cluster. It owns shards after a while.
func (s *Server) joinCluster(o Options) error {
	c := &cluster{
		server: s, member: s.member, mesh: o.Mesh, name: o.Node, log: s.log, packetSize: o.Mesh.MaxSize(), patience: o.patience,
		done: make(chan struct{}), stir: make(chan struct{}, 1), outgoing: make(chan struct{}, 1), changed: make(chan struct{}),
	}
	c.suspects = make(map[string]suspect)
	c.lost = make(map[string]time.Time)
	s.cluster = c
	if err := c.join(); err != nil {
		s.member.current().abandon()
		return err
	}
	c.background.Go(c.keepBeating)
	c.background.Go(c.keepWatch)
	c.background.Go(c.keepSending)
	c.background.Go(c.govern)
	s.background.Go(s.keepLogShort)
	return nil
}

// join begins anew, as a node that nobody knows and that owns nothing.
func (c *cluster) join() error {
	c.mu.Lock()
	c.nodes, c.silent = make(map[string]*node), make(map[string]silentNode)
	c.self = c.member.log.Lane()
	c.warm, c.going = nil, nil
	c.mu.Unlock()
	c.routes.Store(&routes{})
	c.server.placement.Add(1)
	c.joined, c.known = time.Now(), nil
	c.asked = [shardCount]bool{}
	j := c.member.begin(c.patience.lease)
	j.renew(0)
	c.wire.Lock() // nothing is sent as another while who sends changes
	defer c.wire.Unlock()
	return c.mesh.Join(c.self, c.receive)
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
		// What is behind a loss is lost as well until the other node begins anew: whoever sends again what got lost would send it
		// behind that, and who went elsewhere meanwhile would lose what it has there.
		if n.broken && !beginsAnew(r.Rest) {
			return
		}
		n.broken = false
		n.frames(&r)
	}
}

// lost notes that packets before number did not arrive: what was in them nobody knows, so that both begin anew.
func (n *node) lost(number uint64) {
	n.cluster.log.Warn("packets lost", "node", n.id, "after", n.received, "before", number)
	n.received, n.broken = number, true
	n.cut(isReset)
	n.tellNames() // that a mailbox ended may have been among them
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
		if before, silent := c.silent[id]; silent {
			n.names = before.names // until it has told them
			delete(c.silent, id)
			c.reroute()
		}
	}
	return n
}

// nudge makes govern look.
func (c *cluster) nudge() {
	select {
	case c.stir <- struct{}{}:
	default:
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

// yield hands all shards over, and sends the readers of other nodes' mailboxes away.
func (c *cluster) yield(ctx context.Context) error {
	c.stopClaiming()
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
	c.stopClaiming()
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
	owned := c.member.owned()
	c.member.disown(owned)
	if err := c.mesh.Leave(); err != nil {
		return err
	}
	c.forgetAll()
	c.server.watchers.forgetOwn() // the others inherit them, or did
	c.server.names.forgetAll()    // as above
	c.server.leaveProcesses(owned)
	c.member.log.Renew()
	return c.join()
}
