package server

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/mailbox/jetstream"
)

func TestDistribution(t *testing.T) {
	d := newDistribution(1, 4)
	for _, v := range []int64{0, 1, 2, 4, 5, 100} {
		d.add(v)
	}
	got := d.load()
	if !slices.Equal(got.Counts, []int64{2, 2, 2}) || got.Sum != 112 || got.Count() != 6 {
		t.Errorf("got %+v, want 2 values in each bucket, 112 in all", got)
	}
}

func TestMetricsInMemory(t *testing.T) {
	s := newServer(t, Options{Queue: 1})
	a, b := open(t, s), open(t, s)
	mustPost(t, s, a.Address, "1", "2")
	for range 2 {
		posted, err := s.Post(b.Address.String(), &Letter{Body: []byte("3"), Name: "same"})
		if err != nil {
			t.Fatal(err)
		}
		posted.Wait()
	}
	if err := post(s, b.Address, "no JSON"); err == nil {
		t.Fatal("what is no JSON was taken")
	}
	release := make(chan struct{})
	p := handle(t, s, "p", HandlerFunc(func(context.Context, Message) error { <-release; return errors.New("handled all the same") }))
	mustPost(t, s, p, "4")
	m := s.Metrics()
	if m.Mailboxes != 2 || m.Opened != 2 || m.Bytes != 4 || m.Shards != shardCount || m.Log != nil || m.Cluster != nil {
		t.Errorf("Metrics = %+v, want 2 mailboxes, 4 bytes, all shards, and no log", m)
	}
	if m.Accepted != 3 || m.Queued != 1 || m.Handled != 0 {
		t.Errorf("accepted %d, queued %d, handled %d, want 3, 1, 0", m.Accepted, m.Queued, m.Handled)
	}
	close(release)
	awaitThat(t, "the message is handled", func() bool { return s.Metrics().Handled == 1 })
	if err := s.Close(grant(t, s, a.Key.Reveal())); err != nil {
		t.Fatal(err)
	}
	if m := s.Metrics(); m.Mailboxes != 1 || m.Opened != 2 || m.Accepted != 3 {
		t.Errorf("after a mailbox was closed: %+v", m)
	}
}

// stalling is a log that takes nothing while it is full.
type stalling struct {
	mailbox.Log
	full  atomic.Bool
	tries atomic.Int64 // of Append
}

func (l *stalling) Append(ctx context.Context, entry []byte) (uint64, error) {
	l.tries.Add(1)
	if l.full.Load() {
		return 0, errors.New("no room")
	}
	return l.Log.Append(ctx, entry)
}

func openLog(t testing.TB, o jetstream.Options) *jetstream.Log {
	t.Helper()
	o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	l, err := jetstream.Open(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// stopServer lets go of the log.
func stopServer(t testing.TB, s *Server) {
	t.Helper()
	shutDown(t, s)
	end, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := s.Stop(end); err != nil {
		t.Errorf("Stop = %v", err)
	}
}

func TestMetricsOfTheLog(t *testing.T) {
	dir := t.TempDir()
	log := &stalling{Log: openLog(t, jetstream.Options{Dir: dir})}
	s := newServer(t, Options{Log: log})
	box := open(t, s)
	before := s.Metrics()
	mustPost(t, s, box.Address, "1", "2", "3")
	m := s.Metrics()
	if m.Accepted != 3 || m.Opened != 1 {
		t.Errorf("accepted %d, opened %d, want 3 and 1", m.Accepted, m.Opened)
	}
	commits := m.Log.Took.Count() - before.Log.Took.Count()
	if commits != 3 || m.Log.Records.Count() != m.Log.Took.Count() || m.Log.Records.Sum-before.Log.Records.Sum != 3 {
		t.Errorf("%d commits of messages that came one after the other: %+v", commits, m.Log)
	}
	if grown := m.Log.Bytes - before.Log.Bytes; grown < 3*mailbox.EntryHeaderSize || m.Log.Took.Sum <= before.Log.Took.Sum {
		t.Errorf("%d bytes in %d ns", grown, m.Log.Took.Sum-before.Log.Took.Sum)
	}
	if m.Log.Newest <= 0 || m.Log.Newest > time.Minute || m.Log.Stalled || m.Log.Stalls != 0 || m.Log.Snapshots != 0 {
		t.Errorf("a log that is well: %+v", m.Log)
	}

	log.full.Store(true)
	if err := post(s, box.Address, "4"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Post to a full log = %v", err)
	}
	if m := s.Metrics(); !m.Log.Stalled || m.Log.Stalls != 1 || m.Accepted != 3 {
		t.Errorf("a full log: %+v", m.Log)
	}
	log.full.Store(false)
	awaitThat(t, "the log takes entries again", func() bool { return !s.Metrics().Log.Stalled })
	awaitThat(t, "what was late is accepted", func() bool { return s.Metrics().Accepted == 4 })

	if err := s.Snapshot(ctx); err != nil {
		t.Fatal(err)
	}
	if m := s.Metrics().Log; m.Snapshots != 1 || m.SnapshotSize < 4 || m.SnapshotTook <= 0 || m.Stalls != 1 {
		t.Errorf("a snapshot: %+v", m)
	}
	stopServer(t, s)

	s = newServer(t, Options{Log: openLog(t, jetstream.Options{Dir: dir}), Keys: testRing(t)})
	defer stopServer(t, s)
	// the snapshot is who owns the shards, the mailbox, and its messages; then the new claim
	if m := s.Metrics(); m.Log.Replayed < 6 || m.Log.ReplayTook <= 0 || m.Mailboxes != 1 || m.Accepted != 0 {
		t.Errorf("after a restart: %+v %+v", m, m.Log)
	}
}

// lossy is a mesh that loses the next packets.
type lossy struct {
	Mesh
	lose atomic.Int64
}

func (m *lossy) Send(to string, data []byte) error {
	if m.lose.Add(-1) >= 0 {
		return nil
	}
	return m.Mesh.Send(to, data)
}

func TestMetricsOfACluster(t *testing.T) {
	nats, err := natsserver.NewServer(&natsserver.Options{
		Host: "127.0.0.1", Port: natsserver.RANDOM_PORT, StoreDir: t.TempDir(), JetStream: true, NoSigs: true, NoLog: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	nats.Start()
	defer nats.WaitForShutdown()
	defer nats.Shutdown()
	if !nats.ReadyForConnections(10 * time.Second) {
		t.Fatal("NATS does not start")
	}
	var nodes [2]*Server
	var meshes [2]*lossy
	for i := range nodes {
		log := openLog(t, jetstream.Options{URLs: []string{nats.ClientURL()}})
		meshes[i] = &lossy{Mesh: log.Mesh()}
		nodes[i] = newServer(t, Options{Log: log, Mesh: meshes[i], Keys: testRing(t)})
		defer stopServer(t, nodes[i])
	}
	awaitThat(t, "each node owns half of the shards", func() bool {
		a, b := nodes[0].Metrics(), nodes[1].Metrics()
		return a.Cluster.Nodes == 1 && b.Cluster.Nodes == 1 && a.Shards == shardCount/2 && b.Shards == shardCount/2
	})
	box := open(t, nodes[0])
	if err := post(nodes[1], box.Address, "1"); err != nil {
		t.Fatal(err)
	}
	if a, b := nodes[0].Metrics(), nodes[1].Metrics(); a.Accepted != 1 || b.Accepted != 0 || b.Cluster.Calls != 0 {
		t.Errorf("a message that came to another node: %+v %+v", a, b)
	}
	if age := nodes[0].Metrics().Log.Newest; age < 0 || age > usual.lease {
		t.Errorf("the newest entry of a node that lives is of %v ago", age)
	}

	meshes[1].lose.Store(1)
	posted, err := nodes[1].Post(box.Address.String(), &Letter{Body: []byte("2")})
	if err != nil {
		t.Fatal(err)
	}
	if n := nodes[1].Metrics().Cluster.Calls; n != 1 {
		t.Errorf("%d calls are in flight, want 1", n)
	}
	if _, err := posted.Wait(); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a call whose packet was lost: %v", err)
	}
	if a, b := nodes[0].Metrics().Cluster, nodes[1].Metrics().Cluster; a.PacketsLost != 1 || b.Calls != 0 {
		t.Errorf("%d packets were lost on the way to the first node, %d calls are left", a.PacketsLost, b.Calls)
	}
	nodes[0].cluster.receive("a stranger", []byte{isPacket, 5}) // four came before it, and this one is here
	if n := nodes[0].Metrics().Cluster.PacketsLost; n != 5 {
		t.Errorf("%d packets were lost, want 1 and 4", n)
	}
}

func awaitThat(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !f(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
		<-time.After(2 * time.Millisecond)
	}
}
