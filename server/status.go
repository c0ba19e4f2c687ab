package server

import (
	"context"
	"math"

	"github.com/genbrowser/genbrowser/mailbox"
)

// Status is what a server knows of its log, and of who shares it.
type Status struct {
	Nodes []NodeStatus // this server first
	Alone bool         // it is no node of a cluster
	Log   *LogStatus   // nil: mailboxes end with the process
}

// LogStatus is how a log is.
type LogStatus struct {
	mailbox.LogStats
	Lag      uint64            // entries since the newest snapshot, that of the shard that has waited longest for one
	Replicas []mailbox.Replica // nil: they are not known
	Err      error             // why the rest is not known
}

// Status asks the log how it is, until ctx ends.
func (s *Server) Status(ctx context.Context) Status {
	status := Status{Nodes: s.Nodes(), Alone: s.cluster == nil}
	if status.Alone {
		status.Nodes = []NodeStatus{s.alone()}
	}
	if s.member != nil {
		status.Log = s.member.status(ctx)
	}
	return status
}

// alone describes a server that is no node.
func (s *Server) alone() NodeStatus {
	n := NodeStatus{Self: true, Mailboxes: s.mailboxes.Load(), Bytes: s.bytes.Load()}
	for _, o := range s.ownedShards() {
		n.Shards = append(n.Shards, o.Shard)
	}
	n.Owned = len(n.Shards)
	if s.member != nil {
		n.ID = s.member.log.Lane()
		n.Stalled = s.member.current().ready() != nil
	}
	return n
}

func (m *member) status(ctx context.Context) *LogStatus {
	stats, err := m.log.Stats(ctx)
	l := &LogStatus{LogStats: stats, Err: err, Lag: stats.Entries}
	if floor := m.server.floor(); floor > stats.First && floor <= stats.Last+1 {
		l.Lag = stats.Last + 1 - floor
	}
	if r, ok := m.log.(mailbox.Replicated); ok && err == nil {
		l.Replicas, l.Err = r.Replicas(ctx)
	}
	return l
}

// floor returns the entry from which on the log tells everything; 0 if it is not known.
func (s *Server) floor() uint64 {
	if s.cluster != nil {
		return s.cluster.floor()
	}
	floor := uint64(math.MaxUint64)
	for _, o := range s.ownedShards() {
		floor = min(floor, o.Floor)
	}
	return floor
}
