package server

import (
	"encoding/json"
	"slices"
	"time"
)

// beat is what a node tells all others several times a second. The names of all its processes, and of those that it exports,
// it tells now and then, with as many beats as they need.
type beat struct {
	Name      string            `json:"name"`
	Clock     time.Time         `json:"clock"`
	Shards    []ownedShard      `json:"shards,omitempty"`
	Sent      map[string]uint64 `json:"sent,omitempty"`    // packets, by node
	Telling   uint64            `json:"telling,omitempty"` // how often all names were told, with those that this beat has
	Piece     int               `json:"piece,omitempty"`   // how many beats had some of them before
	Full      bool              `json:"full,omitempty"`    // it has the last of them
	Processes []string          `json:"processes,omitempty"`
	Exported  []string          `json:"exported,omitempty"`
	Warm      []uint8           `json:"warm,omitempty"`    // shards that it does not own, and knows what is in them
	Going     []uint8           `json:"going,omitempty"`   // shards that it owns whose processes are about to end there
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
		c.sendBeat(n%fullBeat == 0 || names != told || c.tellAll.Swap(false), false)
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

// sendBeat tells the others of this node: everything, if it is full.
func (c *cluster) sendBeat(full, leaving bool) {
	c.beating.Lock()
	defer c.beating.Unlock()
	beats := []beat{{}}
	if full {
		beats = c.tellingNames()
	}
	var err error
	for i := range beats {
		if err = c.broadcast(&beats[i], leaving); err != nil {
			break
		}
	}
	if err != nil && !c.unheard {
		c.log.Warn("the other nodes can't be told that this one lives; that is tried again", "error", err)
	}
	c.unheard = err != nil
	if full && c.unheard {
		c.tellAll.Store(true)
	}
}

// tellingNames returns beats that tell all names together, each as many as it has room for.
func (c *cluster) tellingNames() []beat {
	c.tellings++
	all := []beat{{Telling: c.tellings}}
	room := c.packetSize / 2 // the other half is for the rest of a beat
	left := room
	next := func(name string) *beat {
		size := len(name) + len(`"",`)
		if left < size {
			all = append(all, beat{Telling: c.tellings, Piece: len(all)})
			left = room
		}
		left -= size
		return &all[len(all)-1]
	}
	for _, name := range append(c.server.processes.names(), c.server.callers.name) {
		b := next(name)
		b.Processes = append(b.Processes, name)
	}
	for _, name := range c.server.exports.all() {
		b := next(name)
		b.Exported = append(b.Exported, name)
	}
	all[len(all)-1].Full = true
	return all
}

// broadcast sends a beat that says what is so now.
func (c *cluster) broadcast(b *beat, leaving bool) error {
	s := c.server
	j := c.member.current()
	sure := j.sure()
	b.Name, b.Clock, b.Leaving, b.Sent = c.name, s.clock.now(), leaving, make(map[string]uint64)
	b.Mailboxes, b.Bytes, b.Snapshot = s.mailboxes.Load(), s.bytes.Load(), s.counters.log.snapshotSize.Load()
	b.Stalled, b.Doubt = !sure || j.stalled.Load(), c.member.inDoubt()
	if !leaving && sure { // or others may have them
		b.Shards = s.ownedShards()
	}
	c.wire.Lock()
	defer c.wire.Unlock()
	c.mu.Lock()
	b.Yields, b.Warm, b.Going = c.yields, c.warm, c.going
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
	return c.mesh.Broadcast(append([]byte{isBeat}, text...))
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
	if sent := b.Sent[c.self]; sent != n.received { // fewer if it gave this node up, and with it what was between them
		n.countLost(sent)
		n.lost(sent)
	}
	if skew := b.Clock.Sub(c.server.clock.now()).Abs(); skew > maxSkew && n.beat.Clock.IsZero() {
		c.log.Warn("clocks are apart; messages with a time to live may end early or late", "node", b.Name, "by", skew)
	}
	first, moved := c.noteBeat(n, b)
	if first {
		c.tellAll.Store(true)
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
	renamed := n.noteNames(&b)
	first = n.beat.Clock.IsZero()
	moved = !slices.EqualFunc(b.Shards, n.beat.Shards, func(a, b ownedShard) bool { return a.Shard == b.Shard && a.Since == b.Since })
	same := !moved && !renamed && b.Yields == n.beat.Yields && slices.Equal(b.Warm, n.beat.Warm) && slices.Equal(b.Going, n.beat.Going)
	n.beat, n.heard = b, time.Now()
	if !same {
		c.reroute()
	}
	return first, moved
}

// nodeNames are those of a node's processes, and those that it exports; while they are being told, the first of them.
type nodeNames struct {
	telling             uint64
	beats               int // that told them
	processes, exported []string
}

// noteNames takes the names that a beat has, and reports whether all of them are known now, and others than before; the
// cluster's mu is held. Where one of the beats got lost, what was known stays until they are told again.
func (n *node) noteNames(b *beat) (changed bool) {
	processes, exported := b.Processes, b.Exported
	b.Processes, b.Exported = nil, nil
	if b.Piece == 0 {
		n.telling = nodeNames{telling: b.Telling}
	}
	all := &n.telling
	if b.Telling != all.telling || b.Piece != all.beats {
		return false
	}
	all.beats++
	all.processes = append(all.processes, processes...)
	all.exported = append(all.exported, exported...)
	if !b.Full {
		return false
	}
	changed = !slices.Equal(all.processes, n.names.processes) || !slices.Equal(all.exported, n.names.exported)
	n.names, n.telling, n.toldNames = *all, nodeNames{}, true
	return changed
}
