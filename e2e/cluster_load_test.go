//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/client"
	"github.com/genbrowser/genbrowser/internal/standstill"
)

// traffic is senders that repeat what was not taken, and readers that check that all comes once and in order.
type traffic struct {
	t         testing.TB
	nodes     nodes
	mailboxes []*client.Mailbox

	stop    chan struct{}
	sending sync.WaitGroup
	reading sync.WaitGroup
	cancel  context.CancelFunc

	accepted atomic.Int64 // messages with 202
	arrived  atomic.Int64
	refused  atomic.Int64 // answers other than 202, and none

	mu        sync.Mutex
	sent      [][]int // messages of each sender to each mailbox
	seen      [][]int
	unsent    time.Duration // the longest time in which a sender got no 202
	unread    time.Duration // the longest time in which a reader got nothing
	unanswerd time.Duration // the longest time in which a request was not answered
}

// body is what senders send: where from, and the how manieth.
type body struct{ S, N int }

// startTraffic opens mailboxes and has each read by a client and written to by every sender.
func startTraffic(t testing.TB, all nodes, mailboxes, senders int) *traffic {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &traffic{t: t, nodes: all, stop: make(chan struct{}), cancel: cancel}
	for range senders {
		l.sent = append(l.sent, make([]int, mailboxes))
		l.seen = append(l.seen, make([]int, mailboxes))
	}
	for i := range mailboxes {
		m, err := all.client(t, i).Open(ctx)
		if err != nil {
			t.Fatal(err)
		}
		l.mailboxes = append(l.mailboxes, m)
	}
	for i, m := range l.mailboxes {
		l.reading.Go(func() { l.read(ctx, i, m) })
	}
	for s := range senders {
		l.sending.Go(func() { l.send(s) })
	}
	t.Cleanup(func() { cancel(); l.end() })
	return l
}

func (l *traffic) read(ctx context.Context, i int, m *client.Mailbox) {
	last := time.Now()
	for msg, err := range m.Messages(ctx) {
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			l.t.Errorf("reader %d: %v", i, err)
			return
		}
		var b body
		if err := json.Unmarshal(msg.Body, &b); err != nil {
			l.t.Errorf("reader %d: %s: %v", i, msg.Body, err)
			return
		}
		l.mu.Lock()
		l.unread = max(l.unread, time.Since(last))
		if want := l.seen[b.S][i] + 1; b.N != want {
			l.t.Errorf("reader %d got message %d of sender %d, want %d", i, b.N, b.S, want)
		}
		l.seen[b.S][i] = b.N
		l.mu.Unlock()
		last = time.Now()
		l.arrived.Add(1)
	}
}

// send sends to one mailbox after the other until the load ends, and each message until it is taken.
func (l *traffic) send(s int) {
	c := &http.Client{Transport: l.nodes.balancer(s)}
	defer c.CloseIdleConnections()
	last := time.Now()
	for turn := s; ; turn++ {
		i := turn % len(l.mailboxes)
		n := l.sent[s][i] + 1
		for {
			taken, answer := l.sendOnce(c, s, i, n)
			if taken {
				break
			}
			if time.Since(last) > time.Minute {
				l.t.Errorf("sender %d got no 202 for a minute; message %d to mailbox %d: %s", s, n, i, answer)
				return
			}
		}
		l.mu.Lock()
		l.unsent = max(l.unsent, time.Since(last))
		l.sent[s][i] = n
		l.mu.Unlock()
		last = time.Now()
		select {
		case <-l.stop:
			return
		case <-time.After(rand.N(4 * time.Millisecond)): // a paced load, for the machine is others' too
		}
	}
}

func (l *traffic) sendOnce(c *http.Client, s, i, n int) (taken bool, answer string) {
	text, _ := json.Marshal(body{s, n})
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	a, err := request(ctx, c, "POST", "http://balanced/_gb/send/"+l.mailboxes[i].Address().String(), string(text),
		"Content-Type", "application/json", "Idempotency-Key", fmt.Sprintf("%d-%d", s, n))
	l.mu.Lock()
	l.unanswerd = max(l.unanswerd, time.Since(began))
	l.mu.Unlock()
	pause := 20 * time.Millisecond
	switch {
	case err != nil:
		if errors.Is(err, context.DeadlineExceeded) {
			l.t.Errorf("sender %d: no answer in 10 s", s)
		}
	case a.status == 202:
		l.accepted.Add(1)
		return true, ""
	case a.status == 503 || a.status == 429:
		seconds, err := strconv.Atoi(a.retry)
		if err != nil || seconds < 1 {
			l.t.Errorf("sender %d: %d with Retry-After %q", s, a.status, a.retry)
		}
		pause = 200 * time.Millisecond // less than it says, so that what is measured is the servers' time
	default:
		l.t.Errorf("sender %d: %d %s", s, a.status, a.body)
	}
	l.refused.Add(1)
	time.Sleep(pause)
	return false, fmt.Sprintf("%d %s, %v", a.status, a.body, err)
}

// more waits until the load got n more messages through, to their readers.
func (l *traffic) more(t *testing.T, n int64) {
	t.Helper()
	before := l.arrived.Load()
	within(t, 30*time.Second, fmt.Sprintf("%d more messages arrive", n), func() bool { return l.arrived.Load() >= before+n })
}

// reset forgets what was measured, so that each failure is measured by itself.
func (l *traffic) measure() (unsent, unread, unanswered time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	unsent, unread, unanswered = l.unsent, l.unread, l.unanswerd
	l.unsent, l.unread, l.unanswerd = 0, 0, 0
	return
}

// end stops the senders.
func (l *traffic) end() {
	select {
	case <-l.stop:
	default:
		close(l.stop)
	}
	l.sending.Wait()
}

// check ends the load and sees to it that all that was accepted came.
func (l *traffic) check(t *testing.T) {
	t.Helper()
	l.end()
	ok := func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		for s := range l.sent {
			if !slices.Equal(l.sent[s], l.seen[s]) {
				return false
			}
		}
		return true
	}
	for deadline := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			for s := range l.sent {
				t.Errorf("of sender %d arrived %v, were accepted %v", s, l.seen[s], l.sent[s])
			}
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	l.cancel()
	l.reading.Wait()
	t.Logf("%d messages were accepted, and arrived once and in order; %d tries were refused", l.accepted.Load(), l.refused.Load())
}

// TestClusterKilled: nodes that die under load lose nothing, and are replaced in a few seconds.
func TestClusterKilled(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	all := startNodes(t, []string{nats, nats, nats})
	l := startTraffic(t, all, 6, 6)
	l.more(t, 100)
	rounds := 2
	if soak {
		rounds = 15
	}
	for round := range rounds {
		n := all[rand.IntN(len(all))]
		l.measure()
		n.kill()
		l.more(t, 200)
		within(t, 15*time.Second, "all mailboxes get messages again", l.allFlow())
		unsent, unread, unanswered := l.measure()
		t.Logf("round %d: %s killed: no 202 for %v, nothing read for %v, no answer for %v", round, n.name, unsent, unread, unanswered)
		if unsent > 7*time.Second || unread > 7*time.Second {
			t.Errorf("a dead node was replaced after %v for senders, %v for readers; want 5 s, or 7 on a busy machine", unsent, unread)
		}
		n.start(t)
		within(t, 20*time.Second, n.name+" owns shards again", n.owns)
		l.more(t, 100)
	}
	l.check(t)
}

// allFlow returns a condition: since it was asked for, each mailbox got a message.
func (l *traffic) allFlow() func() bool {
	count := func() []int {
		l.mu.Lock()
		defer l.mu.Unlock()
		sum := make([]int, len(l.mailboxes))
		for s := range l.seen {
			for i, n := range l.seen[s] {
				sum[i] += n
			}
		}
		return sum
	}
	before := count()
	return func() bool {
		for i, n := range count() {
			if n == before[i] {
				return false
			}
		}
		return true
	}
}

// crowd is readers that begin at one node, and an HTTP transport that notes when each came back.
type crowd struct {
	base http.RoundTripper
	end  func()

	mu   sync.Mutex
	came map[string]time.Time // by key, when its stream was asked for that it got
}

// startCrowd opens mailboxes, each with a reader, at the node of that number, and waits until all are there.
func startCrowd(t *testing.T, all nodes, at, readers int) *crowd {
	t.Helper()
	b := all.balancer(at)
	c := &crowd{base: b, came: make(map[string]time.Time)}
	from, err := client.New("http://balanced", client.Options{HTTP: &http.Client{Transport: c}, MaxPause: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var reading sync.WaitGroup
	c.end = func() { cancel(); reading.Wait() }
	t.Cleanup(c.end)
	for range readers {
		m, err := from.Open(ctx)
		if err != nil {
			t.Fatal(err)
		}
		reading.Go(func() {
			for _, err := range m.Messages(ctx) {
				if ctx.Err() == nil {
					t.Errorf("a reader of the crowd: %v", err)
				}
			}
		})
	}
	within(t, 10*time.Second, "all readers are there", func() bool { return c.size() == readers })
	if now := int(b.at.Load()); now != at {
		t.Fatalf("the readers are at node %d, want %d", now, at)
	}
	return c
}

// RoundTrip implements [http.RoundTripper].
func (c *crowd) RoundTrip(r *http.Request) (*http.Response, error) {
	asked := time.Now()
	resp, err := c.base.RoundTrip(r)
	if err == nil && resp.StatusCode == http.StatusOK && r.Header.Get("Accept") == "text/event-stream" {
		c.mu.Lock()
		defer c.mu.Unlock()
		if key := r.Header.Get("Authorization"); c.came[key].IsZero() {
			c.came[key] = asked
		}
	}
	return resp, err
}

func (c *crowd) size() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.came)
}

// leave forgets who is there, since they are about to be sent away.
func (c *crowd) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.came)
}

// expectSpread waits until all came back, and sees to it that they did not all come at once.
func (c *crowd) expectSpread(t *testing.T, readers int, running *standstill.Clock) {
	t.Helper()
	within(t, 15*time.Second, "all readers come back", func() bool { return c.size() == readers })
	const window = 100 * time.Millisecond
	c.mu.Lock()
	defer c.mu.Unlock()
	came := slices.SortedFunc(maps.Values(c.came), time.Time.Compare)
	most := 0
	for first, last := 0, 0; last < len(came); last++ {
		for came[last].Sub(came[first]) > window {
			first++
		}
		most = max(most, last-first+1)
	}
	t.Logf("%d readers came back over %v, at most %d of them within %v", readers, came[len(came)-1].Sub(came[0]), most, window)
	// They are told to come within a second or two: those whose time comes while the machine stands still come together.
	atOnce := time.Duration(readers) * running.Stood() / time.Second
	if most > readers/2+int(atOnce) {
		t.Errorf("%d of %d readers came back within %v, want at most half", most, readers, window)
	}
}

// TestClusterRollingRestart: nodes that are restarted one after the other, as by a deploy, are hardly noticed. The readers
// of a node that leaves do not come to the others all at once.
func TestClusterRollingRestart(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	all := startNodes(t, []string{nats, nats, nats})
	l := startTraffic(t, all, 6, 6)
	l.more(t, 100)
	const readers = 300
	rounds := 1
	if soak {
		rounds = 5
	}
	for range rounds {
		for i, n := range all {
			many := startCrowd(t, all, i, readers)
			many.leave()
			l.measure()
			running := standstill.Start(t)
			began := time.Now()
			if err := n.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if err := n.Wait(); err != nil {
				t.Errorf("%s ended with %v:\n%s", n.name, err, n.log)
			}
			took := time.Since(began)
			n.start(t)
			many.expectSpread(t, readers, running)
			many.end()
			within(t, 20*time.Second, n.name+" owns shards again", n.owns)
			within(t, 15*time.Second, "all mailboxes get messages again", l.allFlow())
			unsent, unread, unanswered := l.measure()
			t.Logf("%s restarted: ended after %v; no 202 for %v, nothing read for %v, no answer for %v", n.name, took, unsent, unread, unanswered)
			if unsent > 4*time.Second || unread > 6*time.Second {
				t.Errorf("a restart was noticed for %v by senders, %v by readers", unsent, unread)
			}
		}
	}
	l.check(t)
}
