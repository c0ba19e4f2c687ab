package server

import (
	"sync/atomic"
	"time"
)

// Metrics are a server's numbers. Those of what happens are counted since it started.
type Metrics struct {
	Mailboxes  int64 // now
	Bytes      int64 // of bodies that wait, now
	Shards     int   // that it owns, now
	Registered int   // names that Register gave, and it keeps, now

	Opened   int64 // mailboxes
	Accepted int64 // messages that mailboxes took, and the log stored if there is one; repetitions do not count
	Queued   int64 // messages that processes took
	Handled  int64 // messages that processes are done with

	Log     *LogMetrics     // nil: mailboxes end with the process
	Cluster *ClusterMetrics // nil: the server is alone
}

// LogMetrics are the numbers of what a server writes to its log.
type LogMetrics struct {
	Records Distribution // of each commit
	Took    Distribution // nanoseconds that each commit took to be stored, however often it was tried
	Bytes   int64        // written
	Stalls  int64        // how often it came to take nothing
	Stalled bool         // it takes nothing now
	Newest  time.Duration

	// of the last time that shards were taken over, at the start at least: what was read of the log
	Replayed     int64 // records
	ReplayTook   time.Duration
	Snapshots    int64
	SnapshotTook time.Duration // all of them together
	SnapshotSize int64         // bytes, all of them together
}

// ClusterMetrics are the numbers of a node.
type ClusterMetrics struct {
	Nodes       int   // others that are heard, now
	PacketsLost int64 // on the way to this node
	Calls       int   // to other nodes, that are not answered, now
}

// counters are what a server counts for its Metrics.
type counters struct {
	_           [56]byte
	handled     counter
	accepted    [shardCount]counter
	opened      atomic.Int64
	packetsLost atomic.Int64
	log         logCounters
}

// counter is counted for each message, and so has a cache line for itself: what else is on the line of a number that
// many processors change is slow to read.
type counter struct {
	atomic.Int64
	_ [56]byte
}

// logCounters are counted for each commit, or less often.
type logCounters struct {
	accepted     atomic.Int64
	records      distribution
	took         distribution
	bytes        atomic.Int64
	stalls       atomic.Int64
	replayed     atomic.Int64
	replayTook   atomic.Int64
	snapshots    atomic.Int64
	snapshotTook atomic.Int64
	snapshotSize atomic.Int64
}

func (c *counters) init() {
	const ms = int64(time.Millisecond)
	c.log.records = newDistribution(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
	c.log.took = newDistribution(ms/4, ms/2, ms, 2*ms, 4*ms, 8*ms, 16*ms, 32*ms, 64*ms, 128*ms, 256*ms, 512*ms, 1000*ms, 2000*ms, 4000*ms)
}

// committed counts a commit that is stored.
func (c *logCounters) committed(commit *commit, took time.Duration) {
	c.accepted.Add(int64(len(commit.added)))
	c.records.add(int64(commit.records))
	c.took.add(int64(took))
	c.bytes.Add(int64(len(commit.entry)))
}

func (c *logCounters) replay(h *history, took time.Duration) {
	c.replayed.Store(int64(h.replay.Seen().Records))
	c.replayTook.Store(int64(took))
}

func (c *logCounters) snapshot(bytes int, took time.Duration) {
	c.snapshots.Add(1)
	c.snapshotSize.Add(int64(bytes))
	c.snapshotTook.Add(int64(took))
}

// Metrics returns the server's numbers.
func (s *Server) Metrics() Metrics {
	m := Metrics{
		Mailboxes: s.mailboxes.Load(), Bytes: s.bytes.Load(), Shards: len(s.ownedShards()), Registered: s.names.count(),
		Opened: s.counters.opened.Load(), Accepted: s.counters.log.accepted.Load(),
		Queued: s.processes.taken(), Handled: s.counters.handled.Load(),
	}
	for i := range s.counters.accepted {
		m.Accepted += s.counters.accepted[i].Load()
	}
	if s.member != nil {
		m.Log = s.member.metrics()
	}
	if s.cluster != nil {
		m.Cluster = s.cluster.metrics()
	}
	return m
}

func (m *member) metrics() *LogMetrics {
	c, j := &m.server.counters.log, m.current()
	return &LogMetrics{
		Records: c.records.load(), Took: c.took.load(), Bytes: c.bytes.Load(),
		Stalls: c.stalls.Load(), Stalled: j.stalled.Load(), Newest: j.age(),
		Replayed: c.replayed.Load(), ReplayTook: time.Duration(c.replayTook.Load()),
		Snapshots: c.snapshots.Load(), SnapshotTook: time.Duration(c.snapshotTook.Load()), SnapshotSize: c.snapshotSize.Load(),
	}
}

// age is how long ago the newest entry was sent; since the server started if there is none.
func (j *journal) age() time.Duration {
	newest := j.clock.start
	if sent := j.sent.Load(); sent != 0 {
		newest = time.Unix(0, sent)
	}
	return j.clock.now().Sub(newest)
}

func (c *cluster) metrics() *ClusterMetrics {
	m := &ClusterMetrics{PacketsLost: c.server.counters.packetsLost.Load()}
	for _, n := range c.others() {
		m.Nodes++
		n.mu.Lock()
		m.Calls += len(n.calls)
		for _, p := range n.posts {
			m.Calls += p.left
		}
		n.mu.Unlock()
	}
	return m
}

// countLost counts the packets that did not arrive up to one.
func (n *node) countLost(upTo uint64) {
	if upTo > n.received {
		n.cluster.server.counters.packetsLost.Add(int64(upTo - n.received))
	}
}

// taken returns how many messages processes took.
func (p *processes) taken() int64 {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.queued
}
