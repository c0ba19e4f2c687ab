//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/genbrowser/genbrowser/internal/standstill"
	"github.com/genbrowser/genbrowser/internal/testport"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// link is the way from one node to NATS, which can be cut.
type link struct {
	t     testing.TB
	proxy *toxiproxy.Proxy
	addr  string
}

func startLink(t testing.TB, to string) *link {
	t.Helper()
	addr := testport.Address(t)
	api := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	l := &link{t, toxiproxy.NewProxy(api, "link", addr, to), addr}
	l.open()
	t.Cleanup(l.proxy.Stop)
	return l
}

// open takes connections, at once.
func (l *link) open() {
	l.t.Helper()
	if err := l.proxy.Start(); err != nil {
		l.t.Fatal(err)
	}
}

// toxic adds one, of https://github.com/Shopify/toxiproxy#toxics.
func (l *link) toxic(kind, stream, attributes string) {
	l.t.Helper()
	if _, err := l.proxy.Toxics.AddToxicJson(strings.NewReader(fmt.Sprintf(
		`{"type":%q,"stream":%q,"attributes":{%s}}`, kind, stream, attributes))); err != nil {
		l.t.Fatal(err)
	}
}

// cut swallows what goes in a direction: up to NATS, or down. The connection stays.
func (l *link) cut(streams ...string) {
	l.t.Helper()
	for _, stream := range streams {
		l.toxic("timeout", stream, `"timeout":0`)
	}
}

// heal makes the link as it was. A connection that lost bytes ends; one that was only slow goes on.
func (l *link) heal() {
	l.t.Helper()
	// The proxy stays open meanwhile: if its connections were gone, it would wait 5 s for each packet under way.
	l.proxy.Toxics.ResetToxics(context.Background())
	if !l.proxy.Enabled {
		l.open()
	}
}

// expectCut sees to it that a node which is cut off answers so, soon, whatever it is asked.
func expectCut(t *testing.T, n *clusterNode, own, far *box) {
	t.Helper()
	for what, ask := range map[string][]string{
		"a message to its own mailbox": {"POST", "/_gb/send/" + own.Address, `1`},
		"a message to another's":       {"POST", "/_gb/send/" + far.Address, `1`},
		"opening a mailbox":            {"POST", "/_gb/mailbox", ""},
		"reading its own mailbox":      {"GET", "/_gb/mailbox?wait=0s", "", "Authorization", "Bearer " + own.Key, "Accept", "application/json"},
		"reading another's":            {"GET", "/_gb/mailbox?wait=0s", "", "Authorization", "Bearer " + far.Key, "Accept", "application/json"},
		"acknowledging in another's":   {"POST", "/_gb/ack", `{"cursor":"` + far.Cursor + `"}`, "Authorization", "Bearer " + far.Key},
		"acknowledging in its own":     {"POST", "/_gb/ack", `{"cursor":"` + own.Cursor + `"}`, "Authorization", "Bearer " + own.Key},
		"closing another's":            {"DELETE", "/_gb/mailbox", "", "Authorization", "Bearer " + far.Key},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		running := standstill.Start(t)
		a, err := request(ctx, http.DefaultClient, ask[0], n.url()+ask[1], ask[2], ask[3:]...)
		cancel()
		if took := running.Elapsed(); err != nil || a.status != 503 || a.retry == "" || took > time.Second {
			t.Errorf("%s, at %s which is cut off: %d %s, Retry-After %q, %v, after %v; want 503 at once", what, n.name, a.status, a.body, a.retry, err, took)
		}
	}
}

// TestClusterLinks: a node that can't reach NATS, in whatever way, says so and takes nothing; others take its place,
// and it comes back. Under load nothing is lost, or comes twice.
func TestClusterLinks(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	links := make([]*link, 3)
	addresses := make([]string, 3)
	for i := range links {
		links[i] = startLink(t, nats)
		addresses[i] = links[i].addr
	}
	all := startNodes(t, addresses)
	l := startTraffic(t, all, 6, 6)
	l.more(t, 100)

	ways := []struct {
		name string
		down func(*link)
		flow int64 // messages that get through in 30 s all the same; 0: the node can't do anything
		long bool  // not in CI
	}{
		{"refused", func(l *link) { l.proxy.Stop() }, 0, true},
		{"up", func(l *link) { l.cut("upstream") }, 0, false},
		{"down", func(l *link) { l.cut("downstream") }, 0, false},
		{"both ways", func(l *link) { l.cut("upstream", "downstream") }, 0, true},
		// What comes to the slow node is 0.3 s late, 0.4 s where much comes: a message from another node, the answer to
		// the entry that is being stored then, and to the message's own, 1.2 s in all. The six senders, each of which
		// waits for its answer, get 5 messages a second through if all mailboxes are the slow node's (18 if two are).
		{"slow", func(l *link) { l.toxic("latency", "downstream", `"latency":300,"jitter":100`) }, 100, true},
		{"narrow", func(l *link) { l.toxic("bandwidth", "upstream", `"rate":50`) }, 1000, true},
	}
	for i, way := range ways {
		if way.long && !soak {
			continue
		}
		t.Logf("%s: the link of n%d", way.name, i%3+1)
		k := links[i%3]
		l.measure()
		n := all[i%3]
		if way.flow == 0 {
			own, far := n.open(t), all[(i+1)%3].open(t)
			s := readKey(t, n, own)
			began := time.Now()
			way.down(k)
			expectBye(t, s)
			byeAfter := time.Since(began)
			within(t, 5*time.Second, "the node is not ready", func() bool { return !n.ready() })
			expectCut(t, n, own, far)
			if byeAfter > 4*time.Second {
				t.Errorf("a reader was sent away after %v, want 3 s", byeAfter)
			}
			within(t, 12*time.Second, "the others have its mailbox", func() bool {
				a := all[(i+1)%3].do(t, "POST", "/_gb/send/"+own.Address, `1`)
				return a.status == 202
			})
			t.Logf("%s: the reader was sent away after %v, its mailbox was back elsewhere after %v", way.name, byeAfter, time.Since(began))
		} else {
			joined := n.rejoined()
			way.down(k)
			l.more(t, way.flow)
			if again := n.rejoined() - joined; again > 0 || !n.ready() {
				t.Errorf("%s: %s was given up %d times, ready: %v; want it to go on", way.name, n.name, again, n.ready())
			}
		}
		within(t, 20*time.Second, "all mailboxes get messages", l.allFlow())
		k.heal()
		within(t, 20*time.Second, n.name+" is ready again", n.ready)
		unsent, unread, unanswered := l.measure()
		t.Logf("%s: no 202 for %v, nothing read for %v, no answer for %v", way.name, unsent, unread, unanswered)
		l.more(t, 200)
	}

	t.Log("two nodes are cut off")
	links[0].cut("upstream", "downstream")
	links[1].proxy.Stop()
	within(t, 20*time.Second, "all mailboxes get messages", l.allFlow())
	links[0].heal()
	links[1].open()
	for _, n := range all {
		within(t, 20*time.Second, n.name+" is ready again", n.ready)
	}
	unsent, unread, unanswered := l.measure()
	t.Logf("no 202 for %v, nothing read for %v, no answer for %v", unsent, unread, unanswered)

	flaps := 4
	if soak {
		flaps = 40
	}
	t.Log("a link flaps")
	for range flaps {
		links[2].proxy.Stop()
		l.more(t, 50)
		links[2].open()
		l.more(t, 50)
	}
	within(t, 20*time.Second, "n3 is ready again", all[2].ready)
	l.check(t)
}

// readKey opens a raw stream of a mailbox.
func readKey(t *testing.T, n *clusterNode, b *box) *stream {
	t.Helper()
	c := dial(t, n.addr, 0)
	t.Cleanup(func() { c.Close() })
	fmt.Fprintf(c, "GET /_gb/mailbox HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nAuthorization: Bearer %s\r\n\r\n", b.Key)
	return begun(t, c)
}

// expectBye waits until a stream says goodbye, with a time to come back.
func expectBye(t *testing.T, s *stream) {
	t.Helper()
	s.SetReadDeadline(time.Now().Add(10 * time.Second))
	for {
		e, err := s.event()
		var timeout net.Error
		switch {
		case errors.As(err, &timeout) && timeout.Timeout():
			t.Error("the reader was not sent away")
			return
		case err != nil:
			t.Errorf("the stream ended without a bye: %v", err)
			return
		case e.name == "bye":
			if !strings.Contains(e.data, `"reason":"moved","retry":`) {
				t.Errorf("bye %s, want one that says moved, and when to come back", e.data)
			}
			return
		}
	}
}
