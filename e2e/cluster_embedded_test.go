//go:build linux

package e2e

import (
	"fmt"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/internal/testport"
	"github.com/genbrowser/genbrowser/web"
)

// startEmbedded starts a cluster of three that needs nothing but itself.
func startEmbedded(t *testing.T) nodes {
	t.Helper()
	http, peers := testport.Addresses(t, 3), testport.Addresses(t, 3)
	all := make(nodes, 3)
	for i := range all {
		name := fmt.Sprintf("n%d", i+1)
		all[i] = &clusterNode{name: name, addr: http[i], args: []string{
			"serve", "--data", t.TempDir(), "--cluster-name", "c", "--cluster-node", name, "--open-rate=-1",
			"--cluster-listen", peers[i], "--join", peers[(i+1)%3], "--join", peers[(i+2)%3],
		}}
	}
	var starting sync.WaitGroup // none is there before most are
	for _, n := range all {
		starting.Go(func() { n.start(t) })
	}
	starting.Wait()
	if t.Failed() {
		t.FailNow()
	}
	all.awaitShards(t)
	t.Cleanup(func() {
		if t.Failed() {
			for _, n := range all {
				t.Logf("%s:\n%s", n.name, tail(n.log.String(), 40))
			}
		}
	})
	return all
}

// offline returns the names of the nodes that do not keep the log now.
func (n *clusterNode) offline(t *testing.T) (names []string) {
	t.Helper()
	var status web.ClusterStatus
	n.expect(t, 200, "GET", "/_gb/cluster", "").decode(t, &status)
	for _, r := range status.Log.Replicas {
		if r.Offline {
			names = append(names, r.Name)
		}
	}
	return names
}

// TestClusterEmbedded: three nodes that keep the log together go on when one dies, take it back, and are restarted one
// after the other, under load.
func TestClusterEmbedded(t *testing.T) {
	t.Parallel()
	began := time.Now()
	all := startEmbedded(t)
	t.Logf("three nodes share the shards %v after they were started", time.Since(began))
	l := startTraffic(t, all, 4, 4)
	l.more(t, 100)
	kills := 1
	if soak {
		kills = 6
	}
	for round := range kills {
		n := all[round%3]
		l.measure()
		n.kill()
		within(t, 30*time.Second, "all mailboxes get messages again", l.allFlow())
		unsent, unread, unanswered := l.measure()
		t.Logf("%s killed: no 202 for %v, nothing read for %v, no answer for %v", n.name, unsent, unread, unanswered)
		if unsent > 10*time.Second {
			t.Errorf("a dead node was replaced after %v, want 5 s, or 10 on a busy machine", unsent)
		}
		within(t, 15*time.Second, n.name+" counts as offline, and no other", func() bool { return slices.Equal(all[(round+1)%3].offline(t), []string{n.name}) })
		began := time.Now()
		n.start(t)
		within(t, 30*time.Second, n.name+" owns shards again", func() bool { return n.owns() && n.ready() })
		t.Logf("%s owned shards again %v after its start", n.name, time.Since(began))
		l.more(t, 100)
	}
	for _, n := range all {
		l.measure()
		began := time.Now()
		if err := n.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := n.Wait(); err != nil {
			t.Errorf("%s ended with %v:\n%s", n.name, err, n.log)
		}
		ended := time.Since(began)
		n.start(t)
		within(t, 30*time.Second, n.name+" owns shards again", func() bool { return n.owns() && n.ready() })
		back := time.Since(began)
		within(t, 30*time.Second, "all mailboxes get messages again", l.allFlow())
		unsent, unread, unanswered := l.measure()
		t.Logf("%s restarted: ended after %v, owned shards after %v; no 202 for %v, nothing read for %v, no answer for %v",
			n.name, ended, back, unsent, unread, unanswered)
	}
	l.check(t)
}
