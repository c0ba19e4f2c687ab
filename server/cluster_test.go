package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/mailbox/jetstream"
)

// startNATS runs a NATS that keeps the log of some nodes until the test ends.
func startNATS(t testing.TB) (url string) {
	t.Helper()
	return startNATSOn(t, natsserver.RANDOM_PORT, t.TempDir()).ClientURL()
}

func startNATSOn(t testing.TB, port int, dir string) *natsserver.Server {
	t.Helper()
	return startNATSWith(t, natsserver.Options{Port: port, StoreDir: dir})
}

func startNATSWith(t testing.TB, o natsserver.Options) *natsserver.Server {
	t.Helper()
	o.Host, o.JetStream, o.NoSigs, o.NoLog = "127.0.0.1", true, true, true
	nats, err := natsserver.NewServer(&o)
	if err != nil {
		t.Fatal(err)
	}
	nats.Start()
	t.Cleanup(func() { nats.Shutdown(); nats.WaitForShutdown() })
	if !nats.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server does not start")
	}
	return nats
}

func natsLog(t testing.TB, url string) *jetstream.Log {
	t.Helper()
	within, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	log, err := jetstream.Open(within, jetstream.Options{URLs: []string{url}, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	return log
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// testNode is a server that is a node of a cluster in this process.
type testNode struct {
	*Server
	log  *jetstream.Log
	deaf *deafLog // is log
	mesh *lossyMesh
	once sync.Once
}

// patient is for tests of what has nothing to do with nodes that die: one that stands still, because its machine does, is not
// given up in them.
var patient = patience{silence: 10 * time.Second, lease: 10 * time.Second, seal: 12 * time.Second}

// startNode starts a node, which leaves when the test ends. It is patient unless the options say otherwise.
func startNode(t testing.TB, url, name string, o Options) *testNode {
	t.Helper()
	return startNodeOn(t, &deafLog{Log: natsLog(t, url)}, name, o)
}

func startNodeOn(t testing.TB, log *deafLog, name string, o Options) *testNode {
	t.Helper()
	n := &testNode{log: log.Log, deaf: log, mesh: &lossyMesh{Mesh: log.Mesh()}}
	o.Log, o.Mesh, o.Node = log, n.mesh, name
	if o.Keys == nil {
		o.Keys = testRing(t)
	}
	if o.Logger == nil {
		o.Logger = quiet
	}
	if o.patience == (patience{}) {
		o.patience = patient
	}
	var err error
	if n.Server, err = New(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.leave(t) })
	return n
}

// leave ends a node as a SIGTERM does.
func (n *testNode) leave(t testing.TB) {
	n.once.Do(func() {
		shutDown(t, n.Server)
		within, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		if err := n.Stop(within); err != nil {
			t.Errorf("Stop = %v", err)
		}
	})
}

// startNodes starts n nodes and waits until each owns its share.
func startNodes(t testing.TB, n int, o Options) []*testNode {
	t.Helper()
	url := startNATS(t)
	nodes := make([]*testNode, n)
	for i := range nodes {
		nodes[i] = startNode(t, url, fmt.Sprintf("n%d", i+1), o)
	}
	awaitShare(t, nodes...)
	return nodes
}

// awaitShare waits until the nodes own all shards, each about as many, and all know.
func awaitShare(t testing.TB, nodes ...*testNode) {
	t.Helper()
	least, most := shardCount/len(nodes)-len(nodes), (shardCount+len(nodes)-1)/len(nodes)
	await(t, 15*time.Second, "each node owns its share, and all know", func() bool {
		for _, n := range nodes {
			owners := make(map[uint8]int)
			all := n.Nodes()
			for _, one := range all {
				if one.Owned < least || one.Owned > most {
					return false
				}
				for _, i := range one.Shards {
					owners[i]++
				}
			}
			for _, count := range owners {
				if count != 1 {
					return false
				}
			}
			if len(all) != len(nodes) || len(owners) != shardCount {
				return false
			}
		}
		return true
	})
}

// await waits for a condition.
func await(t testing.TB, within time.Duration, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for timeout := time.After(within); !ok(); {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}

// deafLog gets no answers to what it is told to get none.
type deafLog struct {
	*jetstream.Log
	read, append atomic.Bool
	lost         atomic.Bool   // once, an entry is
	reading      chan struct{} // gets one for each Read that hears nothing
	hear         chan struct{} // is closed when those are to go on; nil: never

	mu    sync.Mutex
	reads []int // how many entries each Read brought
}

func (l *deafLog) Read(ctx context.Context, from uint64, f func(mailbox.Entry) error) error {
	if l.read.Load() {
		l.reading <- struct{}{}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-l.hear:
		}
	}
	count := 0
	err := l.Log.Read(ctx, from, func(e mailbox.Entry) error { count++; return f(e) })
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads = append(l.reads, count)
	return err
}

func (l *deafLog) Append(ctx context.Context, entry []byte) (uint64, error) {
	if l.append.Load() {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	if l.lost.Swap(false) {
		return 0, mailbox.ErrLost
	}
	return l.Log.Append(ctx, entry)
}

// lossyMesh loses what it is told to lose.
type lossyMesh struct {
	Mesh
	lose atomic.Pointer[func(to string, data []byte) bool] // of what is sent
	mute atomic.Pointer[error]                             // why nothing can be broadcast
	deaf atomic.Pointer[func(from string, data []byte) bool]

	refused atomic.Int64 // broadcasts
}

func (m *lossyMesh) Join(node string, receive func(from string, data []byte)) error {
	return m.Mesh.Join(node, func(from string, data []byte) {
		if deaf := m.deaf.Load(); deaf == nil || !(*deaf)(from, data) {
			receive(from, data)
		}
	})
}

func (m *lossyMesh) Send(to string, data []byte) error {
	if lose := m.lose.Load(); lose != nil && (*lose)(to, data) {
		return nil
	}
	return m.Mesh.Send(to, data)
}

func (m *lossyMesh) Broadcast(data []byte) error {
	if mute := m.mute.Load(); mute != nil {
		m.refused.Add(1)
		return *mute
	}
	if lose := m.lose.Load(); lose != nil && (*lose)("", data) {
		return nil
	}
	return m.Mesh.Broadcast(data)
}

// farMailbox opens a mailbox that owner owns, and checks that n knows.
func farMailbox(t testing.TB, owner *testNode, others ...*testNode) Mailbox {
	t.Helper()
	m := open(t, owner.Server)
	g := grant(t, owner.Server, m.Key.Reveal())
	for _, n := range others {
		await(t, 5*time.Second, "the mailbox is found", func() bool {
			_, err := n.Describe(g)
			return err == nil
		})
	}
	return m
}

// collect reads from a subscription until n bodies came.
func collect(t testing.TB, sub *Subscription, r *reader, n int) (got []string) {
	t.Helper()
	for timeout := time.After(15 * time.Second); ; {
		if text := read(sub); text != "" {
			got = append(got, strings.Split(text, " ")...)
		}
		if len(got) >= n {
			return got
		}
		select {
		case <-r.woken:
		case why := <-r.ended:
			t.Fatalf("the reader was ended after %d of %d: %v", len(got), n, why)
		case <-timeout:
			t.Fatalf("got %d messages, want %d", len(got), n)
		}
	}
}

func TestShardsFollowTheNodes(t *testing.T) {
	t.Parallel()
	url := startNATS(t)
	a := startNode(t, url, "a", Options{})
	awaitShare(t, a)
	m := open(t, a.Server)
	mustPost(t, a.Server, m.Address, "1")
	b, c := startNode(t, url, "b", Options{}), startNode(t, url, "c", Options{})
	awaitShare(t, a, b, c)
	mustPost(t, b.Server, m.Address, "2")
	sub, r := subscribe(t, c.Server, m, Subscribing{})
	if got := collect(t, sub, r, 2); !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("read %v, want 1 and 2", got)
	}
	sub.Close()
	a.leave(t)
	awaitShare(t, b, c)
	mustPost(t, b.Server, m.Address, "3")
	c.leave(t)
	awaitShare(t, b)
	sub, r = subscribe(t, b.Server, m, Subscribing{})
	if got := collect(t, sub, r, 3); !slices.Equal(got, []string{"1", "2", "3"}) {
		t.Errorf("read %v, want all three", got)
	}
	sub.Close()
	expectStats(t, b.Server, 1, 3)
}

// TestAssign: shares are even, each node finds the same, and few shards move when a node comes or goes.
func TestAssign(t *testing.T) {
	for n := 1; n <= 9; n++ {
		nodes := make([]string, n)
		for i := range nodes {
			nodes[i] = fmt.Sprintf("00000000-0000-4000-8000-%012d", i*7919)
		}
		with := assign(nodes)
		count := make(map[string]int)
		for _, id := range with {
			count[id]++
		}
		for _, id := range nodes {
			if most := (shardCount + n - 1) / n; count[id] > most || count[id] < most-n {
				t.Errorf("of %d nodes, %s owns %d shards, want about %d", n, id, count[id], shardCount/n)
			}
		}
		if n == 1 {
			continue
		}
		without, moved := assign(nodes[:n-1]), 0
		for i := range with {
			if with[i] != without[i] {
				moved++
			}
		}
		if least := shardCount / n; moved < least/2 || moved > 2*least+4 {
			t.Errorf("with %d nodes instead of %d, %d shards move, want about %d", n, n-1, moved, least)
		}
	}
}

// TestOneClaimWins: of several who claim the same shards at the same time, each shard goes to one.
func TestOneClaimWins(t *testing.T) {
	t.Parallel()
	url := startNATS(t)
	const writers = 3
	var members [writers]*member
	for i := range members {
		s := newServer(t, Options{})
		members[i] = &member{server: s, log: natsLog(t, url)}
		j := members[i].begin(usual.lease)
		defer func() { j.cancel(); <-j.done }()
	}
	all := make([]uint8, shardCount)
	for i := range all {
		all[i] = uint8(i)
	}
	var won [writers][]uint8
	var claiming sync.WaitGroup
	for i, m := range members {
		claiming.Go(func() {
			for part := range slices.Chunk(all, 8) {
				got, _, err := m.claim(ctx, part, nil)
				if err != nil {
					t.Errorf("claim: %v", err)
				}
				won[i] = append(won[i], got...)
			}
		})
	}
	claiming.Wait()
	got := slices.Sorted(slices.Values(slices.Concat(won[:]...)))
	if !slices.Equal(got, all) {
		t.Errorf("claimed: %v, want each shard once", got)
	}
}

// TestRejoin: a node whose lane was sealed owns nothing, stores nothing, and comes back as another.
func TestRejoin(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 3, Options{patience: usual})
	a, b := nodes[0], nodes[1]
	m := farMailbox(t, a, b)
	mustPost(t, b.Server, m.Address, "1")
	sub, r := subscribe(t, b.Server, m, Subscribing{})
	collect(t, sub, r, 1)
	before := a.Nodes()[0].ID
	await(t, 10*time.Second, "the lane is sealed", func() bool {
		lanes, err := b.log.Lanes(ctx)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(lanes, func(e mailbox.Entry) bool { return e.Lane == before })
		return i < 0 || b.log.Seal(ctx, before, lanes[i].Seq) == nil
	})
	select {
	case why := <-r.ended:
		if !errors.Is(why, ErrMoved) {
			t.Errorf("the reader was ended with %v, want ErrMoved", why)
		}
	case <-time.After(10 * time.Second):
		t.Error("the reader was not ended")
	}
	sub.Close()
	await(t, 10*time.Second, "the node has another id", func() bool { return a.Nodes()[0].ID != before })
	awaitShare(t, nodes...)
	mustPost(t, a.Server, m.Address, "2")
	sub, r = subscribe(t, nodes[2].Server, m, Subscribing{})
	if got := collect(t, sub, r, 2); !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("read %v, want 1 and 2", got)
	}
	sub.Close()
}

// TestSmallPayload: a NATS that takes messages just long enough serves with the default limits, and one below is refused at once.
func TestSmallPayload(t *testing.T) {
	t.Parallel()
	const least = 97 << 10
	for _, most := range []int32{least, least - 1} {
		nats := startNATSWith(t, natsserver.Options{Port: natsserver.RANDOM_PORT, StoreDir: t.TempDir(), MaxPayload: most, MaxPending: 64 << 20})
		log, err := jetstream.Open(ctx, jetstream.Options{URLs: []string{nats.ClientURL()}, Logger: quiet})
		if most < least {
			if err == nil || !strings.Contains(err.Error(), fmt.Sprint("max_payload must be at least ", least)) {
				t.Errorf("max_payload %d: %v", most, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		s := newServer(t, Options{Log: log, Keys: testRing(t)})
		mustPost(t, s, open(t, s).Address, "1")
		stopServer(t, s)
	}
}
