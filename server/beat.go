package server

import (
	"encoding/json"
	"slices"
	"time"
)

// beat is what a node tells all others several times a second.
type beat struct {
	Name      string            `json:"name"`
	Clock     time.Time         `json:"clock"`
	Shards    []ownedShard      `json:"shards,omitempty"`
	Sent      map[string]uint64 `json:"sent,omitempty"` // packets, by node
	Full      bool              `json:"full,omitempty"` // Processes and Exported are meant
	Processes []string          `json:"processes,omitempty"`
	Exported  []string          `json:"exported,omitempty"`
	Warm      []uint8           `json:"warm,omitempty"`    // shards that it does not own, and knows what is in them
	Yields    bool              `json:"yields,omitempty"`  // it wants no shards any more
	Leaving   bool              `json:"leaving,omitempty"` // it is gone
	Mailboxes int64             `json:"mailboxes"`
	Bytes     int64             `json:"bytes"`
	Snapshot  int64             `json:"snapshot,omitempty"` // bytes of its newest one
	Stalled   bool              `json:"stalled,omitempty"`
	Doubt     bool              `json:"doubt,omitempty"` // the end of the log may be lost
}

// keepBeating tells the others that this node lives.
func (c *cluster) keepBeating() {
	ticker := time.NewTicker(beatEvery)
	defer ticker.Stop()
	told := uint64(0) // of the names of processes: how often they had changed
	for n := 0; ; n++ {
		names := c.server.named.Load()
		c.sendBeat(n%fullBeat == 0 || names != told || c.newcomer.Swap(false), false)
		told = names
		select {
		case <-ticker.C:
		case <-c.done:
			return
		}
	}
}

// keepWatch notices who does not live, be it this node. It is apart from what tells others, which may have to wait for a
// connection that takes nothing: just then this node is to send its readers away.
func (c *cluster) keepWatch() {
	ticker := time.NewTicker(beatEvery)
	defer ticker.Stop()
	for {
		c.pause()
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
		Mailboxes: s.mailboxes.Load(), Bytes: s.bytes.Load(), Snapshot: s.counters.log.snapshotSize.Load(), Stalled: !sure || j.stalled.Load(), Doubt: c.member.inDoubt(),
	}
	if full {
		b.Processes = append(s.processes.names(), s.callers.name)
		b.Exported = s.exports.all()
	}
	if !leaving && sure { // or others may have them
		b.Shards = c.server.ownedShards()
	}
	c.wire.Lock()
	defer c.wire.Unlock()
	c.mu.Lock()
	b.Yields, b.Warm = c.yields, c.warm
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
	first, moved := c.noteBeat(n, b)
	if first {
		c.newcomer.Store(true)
		n.tellWatches()
		n.tellNames()
	}
	if moved {
		n.endReadersBut(b.Shards)
	}
}

// noteBeat reports whether it is the first one of the node, and whether that owns other shards than before.
func (c *cluster) noteBeat(n *node, b beat) (first, moved bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !b.Full {
		b.Processes, b.Exported = n.beat.Processes, n.beat.Exported
	}
	n.toldNames = n.toldNames || b.Full
	first = n.beat.Clock.IsZero()
	moved = !slices.EqualFunc(b.Shards, n.beat.Shards, func(a, b ownedShard) bool { return a.Shard == b.Shard && a.Since == b.Since })
	same := !moved && b.Yields == n.beat.Yields && slices.Equal(b.Warm, n.beat.Warm) && slices.Equal(b.Processes, n.beat.Processes) && slices.Equal(b.Exported, n.beat.Exported)
	n.beat, n.heard = b, time.Now()
	if !same {
		c.reroute()
	}
	return first, moved
}

// dropSilent gives up the nodes that were not heard for a while, and what they were asked too long ago.
func (c *cluster) dropSilent() {
	for _, n := range c.others() {
		n.endUnanswered()
		c.mu.Lock()
		silent, name := time.Since(n.heard), n.beat.Name
		c.mu.Unlock()
		if silent > silence {
			c.log.Warn("a node is silent", "node", n.id, "name", name, "for", silent)
			c.drop(n)
		}
	}
}
