package server

import (
	"slices"
	"time"
)

// routes says which other node owns each shard, and which nodes have a process of a name.
type routes struct {
	shards    [shardCount]*node
	going     [shardCount]bool // the owner has the processes of the shard end, and takes no more for them
	processes map[string][]*node
	silent    map[string]bool // processes of nodes that are silent, and may be back
	exported  map[string]bool
}

// reroute makes routes of what the nodes told; mu is held. Of two that say that they own a shard, the one is right
// that claimed it later.
func (c *cluster) reroute() {
	r := &routes{processes: make(map[string][]*node), silent: make(map[string]bool), exported: make(map[string]bool)}
	var since [shardCount]uint64
	for _, n := range c.nodes {
		for _, o := range n.beat.Shards {
			if o.Shard < shardCount && o.Since >= since[o.Shard] {
				r.shards[o.Shard], since[o.Shard] = n, o.Since
			}
		}
		for _, name := range n.names.processes {
			r.processes[name] = append(r.processes[name], n)
		}
		for _, name := range n.names.exported {
			r.exported[name] = true
		}
	}
	for i, n := range r.shards {
		r.going[i] = n != nil && slices.Contains(n.beat.Going, uint8(i))
	}
	for _, gone := range c.silent {
		for _, name := range gone.names.processes {
			r.silent[name] = true
		}
		for _, name := range gone.names.exported {
			r.exported[name] = true
		}
	}
	if before := c.routes.Swap(r); before.shards != r.shards || before.going != r.going {
		c.server.placement.Add(1)
	}
	close(c.changed)
	c.changed = make(chan struct{})
	c.nudge()
}

// Placement changes whenever mailboxes or processes go from one node to another, as far as this one knows. Who posts several letters
// without waiting for each waits for those before such a change before it posts those behind it: the old node may have refused
// one, and the new one takes the next.
func (s *Server) Placement() uint64 { return s.placement.Load() }

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
