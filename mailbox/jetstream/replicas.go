package jetstream

import (
	"context"
	"fmt"

	"github.com/genbrowser/genbrowser/mailbox"
)

// peers is what JetStream tells of the servers that keep a stream.
type peers struct {
	Leader   string `json:"leader"`
	Replicas []struct {
		Name    string `json:"name"`
		Offline bool   `json:"offline"`
		Lag     uint64 `json:"lag"`
	} `json:"replicas"`
}

var _ mailbox.Replicated = (*Log)(nil)

// Replicas implements [mailbox.Replicated].
func (l *Log) Replicas(ctx context.Context) ([]mailbox.Replica, error) {
	info, err := l.info(ctx, "")
	if err != nil {
		return nil, fmt.Errorf("replicas of the log: %w", err)
	}
	if info.Cluster == nil || info.Cluster.Leader == "" || len(info.Cluster.Replicas) == 0 {
		return nil, nil
	}
	all := []mailbox.Replica{{Name: info.Cluster.Leader, Leader: true}}
	for _, r := range info.Cluster.Replicas {
		all = append(all, mailbox.Replica{Name: r.Name, Offline: r.Offline, Lag: r.Lag})
	}
	return all, nil
}
