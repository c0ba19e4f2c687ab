package web

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/mailbox/jetstream"
	"github.com/genbrowser/genbrowser/server"
)

// clustered returns sites that are nodes of one cluster, once each owns its share of the shards and all know.
func clustered(t *testing.T, n int) []*site {
	t.Helper()
	return clusteredOver(t, n, func(_ int, m server.Mesh) server.Mesh { return m })
}

// clusteredOver does so with what mesh makes of each one's way to the others.
func clusteredOver(t *testing.T, n int, mesh func(i int, m server.Mesh) server.Mesh) []*site {
	t.Helper()
	nats, err := natsserver.NewServer(&natsserver.Options{
		Host: "127.0.0.1", Port: natsserver.RANDOM_PORT, StoreDir: t.TempDir(), JetStream: true, NoSigs: true, NoLog: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	nats.Start()
	t.Cleanup(func() { nats.Shutdown(); nats.WaitForShutdown() })
	if !nats.ReadyForConnections(patience) {
		t.Fatal("the NATS server does not start")
	}
	sites := make([]*site, n)
	for i := range sites {
		log, err := jetstream.Open(ctx, jetstream.Options{URLs: []string{nats.ClientURL()}, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		sites[i] = serveStored(t, log, setup{server: server.Options{Mesh: mesh(i, log.Mesh()), Node: fmt.Sprintf("n%d", i+1)}})
	}
	until(t, "each node owns its share, and all know", func() bool {
		for _, s := range sites {
			known := 0
			for _, one := range s.office.Nodes() {
				known += one.Owned
				if one.Owned > (64+n-1)/n { // some are yet to move
					return false
				}
			}
			if known != 64 || len(s.office.Nodes()) != n {
				return false
			}
		}
		return true
	})
	return sites
}

func (s *site) clusterStatus() (c ClusterStatus) {
	s.t.Helper()
	a := s.do("GET", "/_gb/cluster", "")
	if err := json.Unmarshal([]byte(a.body), &c); err != nil || a.status != 200 {
		s.t.Fatalf("%d %s (%v)", a.status, a.body, err)
	}
	return c
}

func TestClusterOfOne(t *testing.T) {
	for mode, s := range map[string]*site{"memory": serve(t, setup{}), "durable": durable(t, setup{})} {
		o := s.open()
		s.mustSend(o.Address, "123")
		c := s.clusterStatus()
		if c.Mode != mode || len(c.Nodes) != 1 || (c.Log != nil) != (mode == "durable") {
			t.Fatalf("%s: %+v", mode, c)
		}
		n := c.Nodes[0]
		if !n.Self || len(n.Shards) != 64 || n.Shards[63] != 63 || n.Mailboxes != 1 || n.Bytes != 3 || n.Stalled || n.Heard != 0 {
			t.Errorf("%s: the node is %+v", mode, n)
		}
		// the claim, the mailbox, the message
		if l := c.Log; l != nil && (l.First != 1 || l.Last != 3 || l.Entries != 3 || l.Lag != 3 || l.Bytes == 0 || l.Error != "") {
			t.Errorf("the log is %+v", l)
		}
	}
}

func TestClusterLog(t *testing.T) {
	got := clusterLog(&server.LogStatus{
		LogStats: mailbox.LogStats{First: 3, Last: 9, Entries: 7, Bytes: 70}, Lag: 2, Err: server.ErrUnavailable,
		Replicas: []mailbox.Replica{{Name: "a", Leader: true}, {Name: "b", Offline: true, Lag: 4}},
	})
	text, err := json.Marshal(got)
	want := `{"first":3,"last":9,"entries":7,"bytes":70,"lag":2,"replicas":[{"name":"a","leader":true,"offline":false,"lag":0},` +
		`{"name":"b","leader":false,"offline":true,"lag":4}],"error":"` + server.ErrUnavailable.Error() + `"}`
	if err != nil || string(text) != want {
		t.Errorf("got %s, want %s", text, want)
	}
}
