package server

import (
	"maps"
	"slices"
	"time"
)

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
