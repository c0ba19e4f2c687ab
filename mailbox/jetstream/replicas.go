package jetstream

import (
	"context"
	"fmt"
	"time"

	"github.com/genbrowser/genbrowser/mailbox"
)

// peers is what JetStream tells of the servers that keep a stream.
type peers struct {
	Leader   string `json:"leader"`
	Replicas []struct {
		Name    string        `json:"name"`
		Offline bool          `json:"offline"`
		Active  time.Duration `json:"active"` // how long ago the leader heard it; 0: not since it leads
		Lag     uint64        `json:"lag"`
	} `json:"replicas"`
}

// unheard is for how long the leader does not hear a server, once a second else, until that counts as offline. JetStream itself
// takes minutes for one that said no goodbye.
const unheard = 5 * time.Second

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
		one := mailbox.Replica{Name: r.Name, Offline: r.Offline || r.Active == 0 || r.Active > unheard, Lag: r.Lag}
		if one.Offline {
			one.Lag = 0
		}
		all = append(all, one)
	}
	return all, nil
}
