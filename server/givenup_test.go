package server

import (
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
)

// A node that others may have given up speaks for nothing any more that they may have by now.

// notOpened returns the key and the address of a mailbox that was never opened, in a shard of the node's.
func notOpened(t testing.TB, n *testNode) (address.Key, address.Address) {
	t.Helper()
	id := uuid.New()
	id[15] = n.member.owned()[0]
	return n.keys.Mailbox(id)
}

func awaitUnsure(t testing.TB, n *testNode) {
	t.Helper()
	await(t, 10*time.Second, "the node may have been given up", func() bool { return !n.member.current().sure() })
}

func TestGivenUpKnowsNoEnds(t *testing.T) {
	t.Parallel()
	a := startNodes(t, 2, Options{patience: usual})[0]
	key, to := notOpened(t, a)
	g := grant(t, a.Server, key.Reveal())
	asked := map[string]func() error{
		"Post":      func() error { return post(a.Server, to, "1") },
		"Describe":  func() error { _, err := a.Describe(g); return err },
		"Subscribe": func() error { _, err := a.Subscribe(g, Subscribing{}, newReader()); return err },
		"Close":     func() error { return a.Close(g) },
		"Ack":       func() error { return a.Ack(g, mailbox.Cursor{Seq: 1}) },
	}
	for name, f := range asked {
		if err := f(); !errors.Is(err, ErrGone) {
			t.Errorf("%s at the shard's owner = %v, want ErrGone", name, err)
		}
	}
	a.vanish(t)
	awaitUnsure(t, a)
	for name, f := range asked {
		if err := f(); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s at a node that may have been given up = %v, want ErrUnavailable", name, err)
		}
	}
}

func TestGivenUpRunsNoSingle(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2, Options{patience: usual})
	var ran [2]*received
	for i, n := range nodes {
		ran[i] = newReceived()
		if _, err := n.HandleSingle("till", ran[i]); err != nil {
			t.Fatal(err)
		}
	}
	a, b := 0, 1
	if nodes[b].shards[shardOfName("till")].isOwned() {
		a, b = b, a
	}
	till, err := nodes[a].keys.Process("till")
	if err != nil {
		t.Fatal(err)
	}
	mustPost(t, nodes[a].Server, till, "1")
	await(t, 5*time.Second, "it runs", func() bool { return ran[a].count() == 1 })
	msg := mailbox.Message{Body: []byte("1"), Meta: &mailbox.Meta{}}
	if _, err := nodes[b].forProcessHere(ctx, "till", msg, mailbox.NameHash{}); !errors.Is(err, errElsewhere) {
		t.Errorf("a message that comes to the other node by an older route: %v, want errElsewhere", err)
	}
	nodes[a].vanish(t)
	awaitUnsure(t, nodes[a])
	if err := post(nodes[a].Server, till, "2"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("at a node that may have been given up: %v, want ErrUnavailable", err)
	}
	if _, err := nodes[a].forProcessHere(ctx, "till", msg, mailbox.NameHash{}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("from another node, at one that may have been given up: %v, want ErrUnavailable", err)
	}
	if ran[a].count() != 1 || ran[b].count() != 0 {
		t.Errorf("it ran %d times, and %d times at the other node; want once and never", ran[a].count(), ran[b].count())
	}
}

// TestSealedWithoutMesh: a program whose log another one took over stores nothing any more, and says so, also of what
// came before.
func TestSealedWithoutMesh(t *testing.T) {
	t.Parallel()
	url := startNATS(t)
	old := newServer(t, Options{Log: natsLog(t, url)})
	m := open(t, old)
	send := func(name string) error {
		posted, err := old.Post(m.Address.String(), &Letter{Body: []byte("1"), Name: name})
		if err == nil {
			_, err = posted.Wait()
		}
		return err
	}
	if err := send("a"); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*Server{newServer(t, Options{Log: natsLog(t, url)}), old} {
		t.Cleanup(func() { s.Stop(ctx) }) // one of them has lost its log
	}
	for i := range 3 {
		if err := send("b"); !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrMoved) {
			t.Errorf("try %d = %v, want ErrUnavailable or ErrMoved", i, err)
		}
	}
	if err := old.member.current().newest().wait(); err == nil { // what a repetition waits for that came just before the end
		t.Error("what came last is taken for stored")
	}
	if err := old.Ready(); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Ready = %v, want ErrUnavailable", err)
	}
}

// A node whose connection takes nothing any more sends its readers away all the same.
func TestGivenUpWhileItsBeatsHang(t *testing.T) {
	t.Parallel()
	a := startNodes(t, 2, Options{patience: usual})[0]
	m := open(t, a.Server)
	sub, r := subscribe(t, a.Server, m, Subscribing{})
	defer sub.Close()
	a.vanish(t)
	hang := make(chan struct{})
	defer close(hang)
	lose := func(string, []byte) bool { <-hang; return true }
	a.mesh.lose.Store(&lose)
	select {
	case why := <-r.ended:
		if !errors.Is(why, ErrMoved) {
			t.Errorf("the reader is told %v, want %v", why, ErrMoved)
		}
	case <-time.After(10 * time.Second):
		t.Error("the reader is left with a node that may have been given up")
	}
}
