package web

import (
	"context"
	"net/http"
	"time"

	"github.com/genbrowser/genbrowser/server"
)

// statusPatience is how long the log may take to say how it is.
const statusPatience = 3 * time.Second

// ClusterStatus answers GET {prefix}/cluster.
type ClusterStatus struct {
	Mode  string        `json:"mode"`          // memory, durable, or cluster
	Nodes []ClusterNode `json:"nodes"`         // who answers first
	Log   *ClusterLog   `json:"log,omitempty"` // of durable and cluster
}

// ClusterNode is what is known of one node.
type ClusterNode struct {
	ID        string  `json:"id,omitempty"`
	Name      string  `json:"name,omitempty"`
	Self      bool    `json:"self"` // it answers
	Shards    []int   `json:"shards"`
	Mailboxes int64   `json:"mailboxes"`
	Bytes     int64   `json:"bytes"` // of bodies that wait
	Stalled   bool    `json:"stalled"`
	Heard     float64 `json:"heard"` // seconds ago
}

// ClusterLog is how the log is.
type ClusterLog struct {
	First    uint64           `json:"first"`
	Last     uint64           `json:"last"`
	Entries  uint64           `json:"entries"`
	Bytes    uint64           `json:"bytes"`
	Lag      uint64           `json:"lag"` // entries since the newest snapshot
	Replicas []ClusterReplica `json:"replicas,omitempty"`
	Error    string           `json:"error,omitempty"` // why the rest is not known
}

// ClusterReplica is a server that keeps the log.
type ClusterReplica struct {
	Name    string `json:"name"`
	Leader  bool   `json:"leader"`
	Offline bool   `json:"offline"`
	Lag     uint64 `json:"lag"` // entries that it lacks; 0 if it is offline, when that is not known
}

func (h *Handler) cluster(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), statusPatience)
	defer cancel()
	status := h.office.Status(ctx)
	answer := ClusterStatus{Mode: "cluster", Log: clusterLog(status.Log)}
	switch {
	case status.Log == nil:
		answer.Mode = "memory"
	case status.Alone:
		answer.Mode = "durable"
	}
	for i := range status.Nodes {
		answer.Nodes = append(answer.Nodes, clusterNode(&status.Nodes[i]))
	}
	writeJSON(w, http.StatusOK, "application/json", answer)
}

func clusterNode(n *server.NodeStatus) ClusterNode {
	shards := make([]int, len(n.Shards)) // bytes would be base64
	for i, s := range n.Shards {
		shards[i] = int(s)
	}
	return ClusterNode{n.ID, n.Name, n.Self, shards, n.Mailboxes, n.Bytes, n.Stalled, n.Heard.Seconds()}
}

func clusterLog(l *server.LogStatus) *ClusterLog {
	if l == nil {
		return nil
	}
	c := &ClusterLog{First: l.First, Last: l.Last, Entries: l.Entries, Bytes: l.Bytes, Lag: l.Lag}
	for _, r := range l.Replicas {
		c.Replicas = append(c.Replicas, ClusterReplica(r))
	}
	if l.Err != nil {
		c.Error = l.Err.Error()
	}
	return c
}
