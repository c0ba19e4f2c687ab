//go:build linux

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/client"
	"github.com/genbrowser/genbrowser/web/problem"
)

// TestClusterAnyNode: whatever is asked for is answered the same by every node.
func TestClusterAnyNode(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	all := startNodes(t, []string{nats, nats, nats}, "--backlog", "10")
	a, b, c := all[0], all[1], all[2]
	for i := range 6 { // mailboxes of each node
		a, b, c := all[i%3], all[(i+1)%3], all[(i+2)%3]
		t.Run(fmt.Sprint("requests", i), func(t *testing.T) { anyRequest(t, a, b, c) })
	}
	t.Run("stream", func(t *testing.T) { anyStream(t, a, b, c) })
	t.Run("evicted", func(t *testing.T) { evicted(t, a, b, c) })
	t.Run("full", func(t *testing.T) { fullAnywhere(t, a, b, c) })
	t.Run("expires", func(t *testing.T) { expiresAnywhere(t, a, b, c) })
}

func anyRequest(t *testing.T, a, b, c *clusterNode) {
	m := a.open(t)
	for i, n := range []*clusterNode{a, b, c} {
		n.expect(t, 202, "POST", "/_gb/send/"+m.Address, fmt.Sprint(i+1), "Content-Type", "application/json",
			"Idempotency-Key", fmt.Sprint("k", i))
	}
	b.expect(t, 202, "POST", "/_gb/send/"+m.Address, "3", "Idempotency-Key", "k2") // a repetition, elsewhere
	upload := c.expect(t, 200, "POST", "/_gb/send", `{"to":"`+m.Address+`","body":4,"kind":"call","ref":"r","reply":"`+m.Address+`","trace":"00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"}`+
		"\n"+`{"to":"`+m.Address+`","body":5}`+"\n", "Content-Type", "application/x-ndjson")
	if got := strings.Count(string(upload.body), `"status":202`); got != 2 {
		t.Errorf("upload: %s", upload.body)
	}
	for _, n := range []*clusterNode{c, b, a} {
		p := n.poll(t, m, "wait=5s&ack=manual")
		if got := p.bodies(); got != "1 2 3 4 5" {
			t.Errorf("%s reads %s, want 1 to 5", n.name, got)
			continue
		}
		if e := p.Messages[3]; e.Kind != "call" || e.Ref != "r" || e.Trace == "" {
			t.Errorf("%s reads the envelope %+v", n.name, e)
		}
	}
	second := a.poll(t, m, "ack=manual").Messages[1].Cursor
	b.expect(t, 204, "POST", "/_gb/ack", `{"cursor":"`+second+`"}`, m.bearer()...)
	for _, n := range []*clusterNode{a, b, c} {
		if got := n.poll(t, m, "wait=5s&ack=manual").bodies(); got != "3 4 5" {
			t.Errorf("%s reads %s after the ack, want 3 to 5", n.name, got)
		}
		var described box
		n.expect(t, 200, "POST", "/_gb/mailbox", "", m.bearer()...).decode(t, &described)
		if described.Address != m.Address || described.Cursor != second {
			t.Errorf("%s describes %+v, want %s at %s", n.name, described, m.Address, second)
		}
	}
	to, err := address.Parse(m.Address)
	if err == nil {
		to, err = to.Attenuate(address.Label("door"), address.MaxBytes(10))
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []*clusterNode{a, b, c} {
		n.expect(t, 202, "POST", "/_gb/send/"+to.String(), `"short"`)
		n.expect(t, 413, "POST", "/_gb/send/"+to.String(), `"longer than that"`)
		p := n.poll(t, m, "ack=manual")
		if count := len(p.Messages); count == 0 || !slices.Equal(p.Messages[count-1].Via, []string{"door"}) {
			t.Errorf("%s reads %+v, want a message through door at the end", n.name, p.Messages)
		}
	}
	c.expect(t, 204, "DELETE", "/_gb/mailbox", "", m.bearer()...)
	for _, n := range []*clusterNode{a, b, c} {
		got := n.expect(t, 410, "POST", "/_gb/send/"+m.Address, "6")
		if !strings.Contains(string(got.body), "closed") {
			t.Errorf("%s says %s of a closed mailbox", n.name, got.body)
		}
	}
}

// anyStream reads on one node, while messages come through others; a stalled reader gets all when it goes on.
func anyStream(t *testing.T, a, b, c *clusterNode) {
	m := a.open(t)
	s := readKey(t, b, m)
	b.expect(t, 202, "POST", "/_gb/send/"+m.Address, "0")
	c.expect(t, 202, "POST", "/_gb/send/"+m.Address, "1")
	for want := range 2 {
		if e, err := s.event(); err != nil || e.data != fmt.Sprint(want) {
			t.Fatalf("event %+v, %v; want %d", e, err, want)
		}
	}
}

// evicted: the newest reader has the mailbox, and the client that lost it stops, and says why.
func evicted(t *testing.T, a, b, c *clusterNode) {
	readers := make([]*client.Mailbox, 3)
	ends := make(chan error, 3)
	got := make(chan string, 10)
	for i, n := range []*clusterNode{a, b, c} {
		cl, err := client.New(n.url(), client.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			if readers[0], err = cl.Open(t.Context()); err != nil {
				t.Fatal(err)
			}
		} else {
			readers[i] = cl.Resume(readers[0].Key(), "")
		}
		read := func() error {
			for msg, err := range readers[i].Messages(t.Context()) {
				if err != nil {
					return err
				}
				got <- fmt.Sprintf("%d:%s", i, msg.Body)
			}
			return nil
		}
		go func() { ends <- read() }()
		if i > 0 {
			select {
			case err := <-ends:
				if !errors.Is(err, problem.TakenOver) {
					t.Errorf("the reader before ended with %v, want problem.TakenOver", err)
				}
			case <-time.After(10 * time.Second):
				t.Fatal("the reader before goes on")
			}
		}
		c.expect(t, 202, "POST", "/_gb/send/"+readers[0].Address().String(), fmt.Sprint(i))
		for want := fmt.Sprintf("%d:%d", i, i); want != ""; { // earlier messages come again, for nobody acknowledged them
			select {
			case text := <-got:
				if text == want {
					want = ""
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("reader %d does not get message %d", i, i)
			}
		}
	}
}

// fullAnywhere: a full mailbox refuses everybody, and nobody once its owner acknowledged.
func fullAnywhere(t *testing.T, a, b, c *clusterNode) {
	m := a.open(t)
	nodes := []*clusterNode{a, b, c}
	for i := range 10 {
		nodes[i%3].expect(t, 202, "POST", "/_gb/send/"+m.Address, fmt.Sprint(i))
	}
	for _, n := range nodes {
		if got := n.expect(t, 429, "POST", "/_gb/send/"+m.Address, "10"); got.retry == "" {
			t.Errorf("%s says 429 and not when to come back", n.name)
		}
	}
	p := b.poll(t, m, "ack=manual")
	c.expect(t, 204, "POST", "/_gb/ack", `{"cursor":"`+p.Messages[0].Cursor+`"}`, m.bearer()...)
	b.expect(t, 202, "POST", "/_gb/send/"+m.Address, "10")
}

// expiresAnywhere: a message's time to live is the same for all.
func expiresAnywhere(t *testing.T, a, b, c *clusterNode) {
	m := a.open(t)
	b.expect(t, 202, "POST", "/_gb/send/"+m.Address, "1", "TTL", "1")
	b.expect(t, 202, "POST", "/_gb/send/"+m.Address, "2", "TTL", "600")
	within(t, 5*time.Second, "the message ends", func() bool {
		return slices.Equal(strings.Fields(c.poll(t, m, "ack=manual").bodies()), []string{"2"})
	})
}

// TestClusterDropOldest: what a mailbox dropped is told to its readers on every node, by streams and long-polls.
func TestClusterDropOldest(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	all := startNodes(t, []string{nats, nats}, "--backlog", "5", "--overflow", "drop-oldest")
	m := all[0].open(t)
	for i := range 8 {
		all[i%2].expect(t, 202, "POST", "/_gb/send/"+m.Address, fmt.Sprint(i))
	}
	for _, n := range all {
		if p := n.poll(t, m, "ack=manual"); p.Gap != 3 || p.bodies() != "3 4 5 6 7" {
			t.Errorf("%s: a gap of %d, then %s; want 3, then 3 to 7", n.name, p.Gap, p.bodies())
		}
		c := dial(t, n.addr, 0)
		fmt.Fprintf(c, "GET /_gb/mailbox?ack=manual HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", m.Key)
		s := begun(t, c)
		for want := 3; want < 8; want++ {
			if e, err := s.event(); err != nil || e.name != "" || e.data != fmt.Sprint(want) {
				t.Errorf("%s: event %+v, %v; want message %d", n.name, e, err, want)
				break
			}
		}
		c.Close()
	}
}

// TestClusterGapBetween: a reader at another node that falls behind is told of the gap where it is, between messages.
func TestClusterGapBetween(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	all := startNodes(t, []string{nats, nats}, "--backlog", "20", "--overflow", "drop-oldest", "--send-buffer", "8192")
	m := all[0].open(t)
	c := dialNarrow(t, all[1].addr, 0)
	defer c.Close()
	fmt.Fprintf(c, "GET /_gb/mailbox HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", m.Key)
	s := begun(t, c)
	const sent = 20_000
	pad := strings.Repeat("x", 100)
	var lines strings.Builder
	for n := 1; n <= sent; n++ {
		fmt.Fprintf(&lines, `{"to":%q,"body":{"n":%d,"pad":%q}}`+"\n", m.Address, n, pad)
	}
	all[0].expect(t, 200, "POST", "/_gb/send", lines.String(), "Content-Type", "application/x-ndjson")
	gaps, last := 0, 0
	for last < sent {
		e, err := s.event()
		if err != nil {
			t.Fatal(err)
		}
		var at struct{ N, Missing int }
		if err := json.Unmarshal([]byte(e.data), &at); err != nil {
			t.Fatalf("%+v: %v", e, err)
		}
		if e.name == "gap" {
			gaps++
			at.N = last + at.Missing
		} else if at.N != last+1 {
			t.Fatalf("message %d after %d, with no gap", at.N, last)
		}
		if last = at.N; !strings.HasSuffix(e.id, fmt.Sprintf(".%d", last)) {
			t.Fatalf("event %q of message %d has the id %s", e.name, last, e.id)
		}
	}
	if gaps == 0 {
		t.Error("nothing was missed")
	}
}

// TestClusterStalledReader: a reader that takes nothing, of a mailbox on another node, costs both little, and gets
// everything once when it goes on.
func TestClusterStalledReader(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	all := startNodes(t, []string{nats, nats}, "--send-buffer", "8192", "--backlog-bytes", "8388608")
	const readers, each = 20, 700
	pad := strings.Repeat("x", 2000)
	boxes := make([]*box, readers)
	streams := make([]*stream, readers)
	for i := range boxes {
		boxes[i] = all[0].open(t)
		c := dialNarrow(t, all[1].addr, i)
		defer c.Close()
		fmt.Fprintf(c, "GET /_gb/mailbox HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", boxes[i].Key)
		streams[i] = begun(t, c)
	}
	before := all[1].rss(t)
	var lines strings.Builder
	for n := range each {
		for _, b := range boxes {
			fmt.Fprintf(&lines, `{"to":%q,"body":{"n":%d,"pad":%q}}`+"\n", b.Address, n, pad)
		}
	}
	got := all[0].expect(t, 200, "POST", "/_gb/send", lines.String(), "Content-Type", "application/x-ndjson")
	if n := strings.Count(string(got.body), `"status":202`); n != readers*each {
		t.Fatalf("%d of %d messages were accepted", n, readers*each)
	}
	held := readers * each * len(pad)
	if grown := all[1].rss(t) - before; grown > held {
		t.Errorf("the node of the readers grew by %d MiB, of %d MiB that its readers don't take", grown>>20, held>>20)
	}
	for i, s := range streams {
		for n := range each {
			e, err := s.event()
			var body struct{ N int }
			if err == nil {
				err = json.Unmarshal([]byte(e.data), &body)
			}
			if err != nil || e.name != "" || body.N != n {
				t.Fatalf("reader %d, message %d: %.60q %.60q, %v", i, n, e.name, e.data, err)
			}
		}
	}
}
