//go:build linux

package e2e

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/client"
)

// TestClusterNodeLost kills the nodes that have a process, one after the other: who monitors it is told when the last
// one is gone, and not when one is that is started again at once.
func TestClusterNodeLost(t *testing.T) {
	nats := startNATS(t)
	all := startNodes(t, []string{nats, nats, nats})
	for _, n := range all[:2] {
		n.kill()
		n.args[0] = "playground" // it has a process that is called logger
		n.start(t)
	}
	all.awaitShards(t)
	config := struct {
		Config struct{ Logger address.Address }
	}{}
	all[0].expect(t, 201, "POST", "/_gb/mailbox", "").decode(t, &config)
	logger := config.Config.Logger

	p, err := client.Dial(t.Context(), "http://nodes", client.DialOptions{Options: client.Options{
		HTTP: &http.Client{Transport: all.balancer(0)}, MaxPause: time.Second, // how soon it is back is not what is measured
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close(t.Context())
	m, err := p.Monitor(t.Context(), logger)
	if err != nil {
		t.Fatal(err)
	}
	all[0].kill()
	all[0].start(t)
	all.awaitShards(t)
	all[1].kill()
	quiet, cancel := context.WithTimeout(t.Context(), 6*time.Second) // it would be told after 3 to 5
	defer cancel()
	if d, err := m.Wait(quiet); err == nil {
		t.Fatalf("down %+v, while a node has the process", d)
	}
	killed := time.Now()
	all[0].kill()
	select {
	case d := <-m.C():
		if d.Reason != "node-lost" {
			t.Errorf("down %+v, want node-lost", d)
		}
		t.Logf("down %v after the last node was killed", time.Since(killed))
	case <-time.After(20 * time.Second):
		t.Error("no down, though the last node is gone")
	}
}
