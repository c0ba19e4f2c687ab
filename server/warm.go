package server

import (
	"context"
	"runtime/debug"
	"slices"
	"time"
)

// A node reads what is in the shards that it should own before it owns them, while another still does, or until the lane
// of a dead one is sealed. What is left to be read once it claims them is what was written since, so that nobody waits
// longer for a long log than for a short one.

// heirPatience is how long a node that leaves waits for the others to have read what it has.
const heirPatience = 5 * time.Second

// warmUp reads, or reads on, what is in the shards that should be this node's and are not. It is govern's.
func (c *cluster) warmUp(should [shardCount]string) error {
	var wanted []uint8
	for i := range c.server.shards {
		if should[i] == c.self && !c.server.shards[i].isOwned() {
			wanted = append(wanted, uint8(i))
		}
	}
	if len(wanted) == 0 {
		c.keepWarm(nil, nil)
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c.claiming.Store(&cancel)
	known, err := c.server.readHistory(ctx, c.member.log, wanted, c.known)
	if err != nil {
		c.keepWarm(nil, nil)
		return err
	}
	c.keepWarm(known, wanted)
	return nil
}

// keepWarm keeps what was read, and lets the others know for which shards that is, if it is for others than before.
func (c *cluster) keepWarm(known *history, shards []uint8) {
	before := c.known
	c.known = known
	c.mu.Lock()
	same := slices.Equal(c.warm, shards)
	c.warm = shards
	c.mu.Unlock()
	if same {
		return
	}
	c.sendBeat(false, false)
	if known != nil && before == nil {
		debug.FreeOSMemory() // reading the log left as much garbage as there is state
	}
}

// isWarm reports whether a node has read what is in a shard.
func (c *cluster) isWarm(id string, shard uint8) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.nodes[id]
	return n != nil && slices.Contains(n.beat.Warm, shard)
}

// retire tells the others that this node is about to leave, and waits until each of its shards is known to one that can
// take it, if there are others at all.
func (c *cluster) retire(ctx context.Context) {
	c.mu.Lock()
	c.yields = true
	c.mu.Unlock()
	c.sendBeat(false, false)
	patience := heirPatience
	if d, ok := ctx.Deadline(); ok {
		patience = min(patience, time.Until(d)/2) // what comes after takes time as well
	}
	deadline := time.Now().Add(patience)
	for !c.hasHeirs() && ctx.Err() == nil && c.awaitChange(deadline) {
	}
}

func (c *cluster) hasHeirs() bool {
	var known [shardCount]bool
	others := false
	c.mu.Lock()
	for _, n := range c.nodes {
		if n.canOwn() {
			others = true
			for _, i := range n.beat.Warm {
				known[i%shardCount] = true
			}
		}
	}
	c.mu.Unlock()
	return !others || !slices.ContainsFunc(c.member.owned(), func(i uint8) bool { return !known[i] })
}
