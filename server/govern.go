package server

import (
	"cmp"
	"context"
	"hash/fnv"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// governing is what govern keeps for itself.
type governing struct {
	joined   time.Time
	suspects map[string]suspect // lanes whose nodes are not heard
	trimmed  uint64
	owning   sync.Mutex                         // held while shards change hands
	asked    [shardCount]bool                   // shards that were claimed by an entry whose fate is not known: they may be this node's
	claiming atomic.Pointer[context.CancelFunc] // ends the newest claim, if it is still under way
	known    *history                           // of shards that should be this node's and are not yet
	lost     map[string]time.Time               // nodes that are gone, since when, whose processes' watches or whose names nobody has taken over
}

// suspect is a lane that may be a dead node's.
type suspect struct {
	newest uint64
	since  time.Time
}

const (
	governEvery = 200 * time.Millisecond
	// listenFirst is how long a new node listens for others before it claims anything.
	listenFirst = 2 * beatEvery
	// settled is how long a node must be known until shards are handed to it.
	settled = 2 * time.Second
	// governPatience is how long one question to the log may take.
	governPatience = 2 * time.Second
)

// govern sees to it that every shard is owned, by the node that should own it.
func (c *cluster) govern() {
	ticker := time.NewTicker(governEvery)
	defer ticker.Stop()
	for {
		select {
		case <-c.done:
			return
		case <-ticker.C:
		case <-c.stir:
		}
		if err := c.step(); err != nil {
			c.log.Warn("the cluster's shards", "error", err)
		}
	}
}

func (c *cluster) step() error {
	j := c.member.current()
	select {
	case <-j.done:
		if c.yielding() { // it was stopped
			return nil
		}
		return c.rejoin()
	default:
	}
	c.inheritLost()
	c.server.reviewNames()
	c.retellNames()
	if j.ready() != nil || time.Since(c.joined) < listenFirst {
		return nil
	}
	dead, trim := false, c.trimmable()
	if trim > 0 || c.quiet() || len(c.missing()) > 0 {
		var err error
		if dead, err = c.sealDead(); err != nil {
			return err
		}
	} else {
		clear(c.suspects)
	}
	should := assign(c.live())
	if c.yielding() {
		return nil
	}
	if err := c.warmUp(should); err != nil {
		return err
	}
	c.owning.Lock()
	defer c.owning.Unlock()
	if c.yielding() {
		return nil
	}
	missing := c.missing()
	if len(missing) > 0 {
		if dead {
			c.server.vacate(c.announce(nil)) // nothing is handed over meanwhile, so that processes go on where they are
			return nil
		}
		return c.claimMissing(should, missing)
	}
	c.member.lossKnown()
	if err := c.handOver(should); err != nil || trim == 0 || dead {
		return err
	}
	return c.trim(trim)
}

// pause sends the readers away once this node can't be sure any more that it owns its shards; another may serve them.
// The govern goroutine may just then wait for the log that it can't reach: what it claims is not worth that, and whoever
// stops the node would wait too.
func (c *cluster) pause() {
	j := c.member.current()
	if j.sent.Load() == 0 {
		return // it has just joined, and owns nothing
	}
	sure := j.sure()
	if !sure {
		c.stopClaiming()
	}
	if sure || c.paused {
		c.paused = !sure
		return
	}
	c.paused = true
	c.log.Warn("nothing can be stored; readers are sent to other nodes")
	for i := range c.server.shards {
		for _, b := range c.server.shards[i].all() {
			b.sendAway()
		}
	}
	for _, n := range c.others() {
		n.cut(notSaid)
	}
}

// stopClaiming ends the reading of a log that may tell nothing just now, or much.
func (c *cluster) stopClaiming() {
	if c == nil {
		return
	}
	if cancel := c.claiming.Load(); cancel != nil {
		(*cancel)()
	}
}

// sendAway ends the mailbox's reader, who may come again.
func (b *box) sendAway() {
	b.mu.Lock()
	sub := b.sub
	b.mu.Unlock()
	if sub != nil {
		sub.reader.End(ErrMoved)
	}
}

func (c *cluster) yielding() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.yields
}

// live returns the ids of the nodes that can own shards, this one included, in order.
func (c *cluster) live() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	ids := []string{c.self}
	for id, n := range c.nodes {
		if n.canOwn() {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// canOwn reports whether the node can own shards; the cluster's mu is held.
func (n *node) canOwn() bool { return !n.beat.Clock.IsZero() && !n.beat.Stalled && !n.beat.Yields }

// missing returns the shards that nobody owns.
func (c *cluster) missing() (missing []uint8) {
	routes := c.routes.Load()
	for i := range c.server.shards {
		if routes.shards[i] == nil && !c.server.shards[i].isOwned() {
			missing = append(missing, uint8(i))
		}
	}
	return missing
}

// assign says which node should own each shard: about as many for each, and with one node more or less, few move.
// A shard goes to the node that has the highest hash with it (rendezvous hashing, Thaler and Ravishankar, 1998)
// among those that have room.
func assign(nodes []string) (owner [shardCount]string) {
	room := make(map[string]int)
	for _, id := range nodes {
		room[id] = int(math.Ceil(shardCount / float64(len(nodes))))
	}
	for shard := range owner {
		owner[shard] = slices.MaxFunc(nodes, func(a, b string) int {
			if (room[a] > 0) != (room[b] > 0) {
				return cmp.Compare(room[a], room[b])
			}
			return cmp.Compare(weight(a, shard), weight(b, shard))
		})
		room[owner[shard]]--
	}
	return owner
}

func weight(id string, shard int) uint64 {
	h := fnv.New64a()
	h.Write([]byte(id))
	h.Write([]byte{byte(shard), byte(shard >> 3), byte(shard << 3)})
	return h.Sum64() * 0x9e3779b97f4a7c15
}

// claimMissing claims those of the missing shards that should be this node's. Their owners' lanes are sealed.
func (c *cluster) claimMissing(should [shardCount]string, missing []uint8) error {
	mine := slices.DeleteFunc(missing, func(i uint8) bool { return should[i] != c.self && !c.asked[i] })
	if len(mine) == 0 {
		return nil
	}
	c.ask(mine, true)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c.claiming.Store(&cancel)
	if c.yielding() {
		cancel() // the node was stopped just now, and nobody else will
	}
	won, known, err := c.member.claim(ctx, mine, c.known)
	c.known = known
	c.member.inheritFollows()
	if err == nil {
		c.ask(mine, false)
	}
	if len(won) > 0 {
		c.sendBeat(true, false)
	}
	return err
}

func (c *cluster) ask(shards []uint8, asked bool) {
	for _, i := range shards {
		c.asked[i] = asked
	}
}

// quiet reports whether there is a node that should have been heard.
func (c *cluster) quiet() bool {
	return slices.ContainsFunc(c.others(), func(n *node) bool { return !c.hears(n.id) })
}

// sealDead seals the lanes of nodes that are not heard and did not append for a while. It reports whether there
// are lanes left of such nodes.
func (c *cluster) sealDead() (left bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), governPatience)
	defer cancel()
	lanes, err := c.member.log.Lanes(ctx)
	if err != nil {
		return true, err
	}
	now := time.Now()
	suspects := make(map[string]suspect)
	for _, newest := range lanes {
		if newest.Lane == c.self || c.hears(newest.Lane) {
			continue
		}
		s, known := c.suspects[newest.Lane]
		if !known || s.newest != newest.Seq {
			s = suspect{newest.Seq, now}
		}
		if now.Sub(s.since) < c.patience.seal {
			suspects[newest.Lane] = s
			left = true
			continue
		}
		if err := c.member.log.Seal(ctx, newest.Lane, newest.Seq); err != nil {
			return true, err
		}
		c.log.Info("the lane of a dead node is sealed", "lane", newest.Lane)
	}
	c.suspects = suspects
	return left, nil
}

// hearsDoubt reports whether another node says that the end of the log may be lost. What all keep together may be whole where
// this node is, and yet lack what was where that one is.
func (c *cluster) hearsDoubt() bool {
	return c != nil && slices.ContainsFunc(c.others(), func(n *node) bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return n.beat.Doubt
	})
}

// hears reports whether a node was heard just now, and can store. It need not be given up to be suspected.
func (c *cluster) hears(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.nodes[id]
	return n != nil && time.Since(n.heard) < 2*beatEvery && !n.beat.Stalled
}

// handOver gives up the shards that other nodes should own, once their processes have ended.
func (c *cluster) handOver(should [shardCount]string) error {
	var away []uint8
	for _, i := range c.member.owned() {
		if id := should[i]; id != c.self && c.isSettled(id) && c.isWarm(id, i) {
			away = append(away, i)
		}
	}
	if away = c.server.vacate(c.announce(away)); len(away) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), governPatience)
	defer cancel()
	c.log.Info("shards are handed over", "shards", len(away))
	err := c.member.release(ctx, away)
	c.sendBeat(false, false)
	return err
}

// announce tells the others of which shards the processes are about to end here, so that they wait before they send to them,
// and returns those of which they were told before.
func (c *cluster) announce(away []uint8) (told []uint8) {
	c.mu.Lock()
	told = slices.DeleteFunc(slices.Clone(away), func(i uint8) bool { return !slices.Contains(c.going, i) })
	same := slices.Equal(c.going, away)
	c.going = away
	c.mu.Unlock()
	if !same {
		c.sendBeat(false, false)
	}
	return told
}

func (c *cluster) isSettled(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.nodes[id]
	return n != nil && time.Since(n.known) > settled
}

// trimmable returns up to where no shard needs the log, if it reaches further back; 0 if not. One node trims it, the
// owner of the first shard.
func (c *cluster) trimmable() uint64 {
	if !c.server.shards[0].isOwned() {
		return 0
	}
	floor := c.floor()
	if floor <= c.trimmed {
		return 0
	}
	return floor
}

// trim forgets the part of the log before floor. A dead lane that nobody sealed would keep it from that.
func (c *cluster) trim(floor uint64) error {
	ctx, cancel := context.WithTimeout(context.Background(), governPatience)
	defer cancel()
	if err := c.member.trim(ctx, floor); err != nil {
		return err
	}
	c.trimmed = floor
	return nil
}

// holdsUpTrim reports whether a snapshot of this node's shards would make a log shorter that is too long. A node on
// which little happens would take none for a long time, and what the others wrote since its last one would stay.
func (c *cluster) holdsUpTrim() bool {
	if c == nil || !c.member.mayTrim() {
		return false
	}
	floor := c.floor()
	owned := c.server.ownedShards()
	if floor == 0 || !slices.ContainsFunc(owned, func(o ownedShard) bool { return o.Floor == floor }) {
		return false
	}
	live, snapshots := int64(0), c.server.counters.log.snapshotSize.Load()
	for _, n := range c.server.Nodes() {
		live += n.Bytes + n.Mailboxes*restatedCost
	}
	for _, n := range c.others() {
		c.mu.Lock()
		snapshots += n.beat.Snapshot
		c.mu.Unlock()
	}
	ctx, cancel := context.WithTimeout(context.Background(), governPatience)
	defer cancel()
	stats, err := c.member.log.Stats(ctx)
	// a log that begins before floor is about to be trimmed
	return err == nil && stats.First >= floor && int64(stats.Bytes) > c.server.tooLong(live, snapshots)
}

// floor returns the lowest floor of all shards; 0 if one is not known.
func (c *cluster) floor() uint64 {
	var floors [shardCount]uint64
	for _, o := range c.server.ownedShards() {
		floors[o.Shard] = o.Floor
	}
	c.mu.Lock()
	for _, n := range c.nodes {
		for _, o := range n.beat.Shards {
			floors[o.Shard%shardCount] = o.Floor
		}
	}
	c.mu.Unlock()
	return slices.Min(floors[:])
}
