//go:build linux

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/client"
	"github.com/genbrowser/genbrowser/internal/testport"
)

// soak makes the tests of clusters long.
var soak = os.Getenv("GENBROWSER_SOAK") != ""

// natsPath is a NATS server, built once.
var natsPath = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "nats-server")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "nats-server")
	if out, err := exec.Command("go", "build", "-o", path, "github.com/nats-io/nats-server/v2").CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

// startNATS runs a NATS with JetStream until the test ends, and returns where.
func startNATS(t testing.TB) (addr string) {
	t.Helper()
	path, err := natsPath()
	if err != nil {
		t.Fatal(err)
	}
	addr = testport.Address(t)
	_, port, _ := net.SplitHostPort(addr)
	cmd := exec.Command(path, "-a", "127.0.0.1", "-p", port, "-js", "-sd", t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for deadline := time.Now().Add(10 * time.Second); ; {
		c, err := net.DialTimeout("tcp4", addr, time.Second)
		if err == nil {
			hello := make([]byte, 4)
			_, err = io.ReadFull(c, hello)
			c.Close()
		}
		if err == nil {
			return addr
		}
		if time.Now().After(deadline) {
			t.Fatalf("NATS does not listen: %v", err)
		}
	}
}

// clusterNode is a node that can be started again, where it was.
type clusterNode struct {
	*program
	name string
	addr string
	args []string
}

func (n *clusterNode) start(t *testing.T) {
	t.Helper()
	n.program = startCommand(t, n.command())
}

func (n *clusterNode) command() *exec.Cmd {
	cmd := exec.Command(programPath, append(n.args, "--listen", "tcp4://"+n.addr, "--log-format", "json")...)
	cmd.Env = append(os.Environ(), "SECRET=0123456789abcdef0123456789abcdef")
	return cmd
}

func (n *clusterNode) url() string { return "http://" + n.addr }

// kill ends the node without a warning.
func (n *clusterNode) kill() {
	n.Process.Kill()
	n.Wait()
}

// ready reports whether the node takes messages.
func (n *clusterNode) ready() bool {
	resp, err := http.Get(n.url() + "/readyz")
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == 200
}

// owns reports whether the node got shards since it was started.
func (n *clusterNode) owns() bool { return strings.Contains(n.log.String(), "shards taken") }

// rejoined returns how often the node was given up and came back since it was started.
func (n *clusterNode) rejoined() int { return strings.Count(n.log.String(), "it joins anew") }

type nodes []*clusterNode

// startNodes starts nodes over a NATS, which each of them reaches at an address of its own, and waits until each has
// shards.
func startNodes(t *testing.T, nats []string, args ...string) nodes {
	t.Helper()
	addresses := testport.Addresses(t, len(nats))
	all := make(nodes, len(nats))
	for i := range all {
		name := fmt.Sprintf("n%d", i+1)
		all[i] = &clusterNode{name: name, addr: addresses[i], args: append([]string{
			"serve", "--nats", "nats://" + nats[i], "--cluster-node", name, "--open-rate=-1",
		}, args...)}
		all[i].start(t)
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

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// awaitShards waits until each node has shards. The first one, which takes them of an empty log, has nothing to say.
func (all nodes) awaitShards(t *testing.T) {
	t.Helper()
	within(t, 20*time.Second, "the nodes share the shards", func() bool {
		own := 1
		for _, n := range all {
			if !n.ready() {
				return false
			}
			if n.owns() {
				own++
			}
		}
		return own >= len(all)
	})
}

// balancer is an HTTP transport that leads to a node, and to the next one when that can't be reached or says 503.
type balancer struct {
	nodes nodes
	at    atomic.Uint32
	base  http.RoundTripper
}

func (all nodes) balancer(first int) *balancer {
	b := &balancer{nodes: all, base: &http.Transport{DialContext: (&net.Dialer{Timeout: 2 * time.Second}).DialContext}}
	b.at.Store(uint32(first))
	return b
}

// RoundTrip implements [http.RoundTripper].
func (b *balancer) RoundTrip(r *http.Request) (*http.Response, error) {
	var err error
	for range b.nodes {
		at := b.at.Load()
		try := r.Clone(r.Context())
		try.URL.Host = b.nodes[int(at)%len(b.nodes)].addr
		if r.GetBody != nil {
			if try.Body, err = r.GetBody(); err != nil {
				return nil, err
			}
		}
		var resp *http.Response
		if resp, err = b.base.RoundTrip(try); err == nil {
			if resp.StatusCode == http.StatusServiceUnavailable { // the next request goes elsewhere
				b.at.CompareAndSwap(at, at+1)
			}
			return resp, nil
		}
		b.at.CompareAndSwap(at, at+1)
		if r.Context().Err() != nil {
			break
		}
	}
	return nil, err
}

// client returns a client that begins at a node, and goes on at others.
func (all nodes) client(t testing.TB, first int) *client.Client {
	t.Helper()
	c, err := client.New("http://balanced", client.Options{HTTP: &http.Client{Transport: all.balancer(first)}, MaxPause: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// reply is that to a request.
type reply struct {
	status int
	retry  string // Retry-After
	body   []byte
}

// decode reads the body's JSON.
func (a reply) decode(t testing.TB, v any) {
	t.Helper()
	if err := json.Unmarshal(a.body, v); err != nil {
		t.Fatalf("%d %s: %v", a.status, a.body, err)
	}
}

// request makes one, with headers in pairs.
func request(ctx context.Context, c *http.Client, method, url, body string, headers ...string) (reply, error) {
	r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader([]byte(body)))
	if err != nil {
		return reply{}, err
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := c.Do(r)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header.Get("Retry-After"), text}, err
}

// do is request, from the test's goroutine, which ends if there is no answer.
func (n *clusterNode) do(t testing.TB, method, path, body string, headers ...string) reply {
	t.Helper()
	a, err := request(t.Context(), http.DefaultClient, method, n.url()+path, body, headers...)
	if err != nil {
		t.Fatalf("%s %s at %s: %v", method, path, n.name, err)
	}
	return a
}

// expect is do, as clients do it: once more while the node can store nothing for a moment, which it can't once it stood still with
// its machine. It fails the test if the status is another.
func (n *clusterNode) expect(t testing.TB, status int, method, path, body string, headers ...string) reply {
	t.Helper()
	if strings.HasPrefix(path, "/_gb/send/") && !slices.Contains(headers, "Idempotency-Key") {
		headers = append(headers, "Idempotency-Key", rand.Text()) // or it might arrive twice
	}
	a := n.do(t, method, path, body, headers...)
	for end := time.Now().Add(5 * time.Second); a.status == 503 && status != 503 && time.Now().Before(end); {
		<-time.After(100 * time.Millisecond)
		a = n.do(t, method, path, body, headers...)
	}
	if a.status != status {
		t.Errorf("%s %s at %s: %d %s, want %d", method, path, n.name, a.status, a.body, status)
	}
	return a
}

// box is a mailbox as its owner knows it.
type box struct{ Address, Key, Cursor string }

func (b *box) bearer() []string { return []string{"Authorization", "Bearer " + b.Key} }

func (n *clusterNode) open(t testing.TB) *box {
	t.Helper()
	b := &box{}
	n.expect(t, 201, "POST", "/_gb/mailbox", "").decode(t, b)
	return b
}

// polled is the answer to a long-poll.
type polled struct {
	Cursor   string
	Gap      uint64
	Messages []struct {
		Cursor string
		Body   json.RawMessage
		Kind   string
		Ref    string
		Via    []string
		Trace  string
	}
}

func (n *clusterNode) poll(t testing.TB, b *box, query string) (p polled) {
	t.Helper()
	n.expect(t, 200, "GET", "/_gb/mailbox?"+query, "", append(b.bearer(), "Accept", "application/json")...).decode(t, &p)
	return p
}

func (p polled) bodies() string {
	var all []string
	for _, m := range p.Messages {
		all = append(all, string(m.Body))
	}
	return strings.Join(all, " ")
}

// begun reads the beginning of a stream that was asked for on a connection, with its init.
func begun(t testing.TB, c net.Conn) *stream {
	t.Helper()
	s := &stream{Conn: c, r: bufio.NewReaderSize(c, 512)}
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	defer c.SetReadDeadline(time.Time{})
	status, err := s.r.ReadString('\n')
	if err != nil || !strings.Contains(status, " 200 ") {
		t.Fatalf("stream: %q, %v", status, err)
	}
	for line := ""; line != "\r\n"; {
		if line, err = s.r.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	if e, err := s.event(); err != nil || e.name != "init" {
		t.Fatalf("init: %+v, %v", e, err)
	}
	return s
}
