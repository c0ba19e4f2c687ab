package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/genbrowser/genbrowser/internal/pack"
	"github.com/genbrowser/genbrowser/internal/standstill"
	"github.com/genbrowser/genbrowser/mailbox"
)

// packets returns what a lossy mesh asks: whether to lose a packet, of those that are for a node.
func packets(to string, which func(n int64) bool) *func(string, []byte) bool {
	var count atomic.Int64
	f := func(dest string, data []byte) bool {
		return dest == to && data[0] == isPacket && which(count.Add(1))
	}
	return &f
}

func (n *testNode) id() string { return n.Nodes()[0].ID }

// TestLostPackets: what a lost packet asked or told is not waited for, and readers and senders go on after it.
func TestLostPackets(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2, Options{patience: usual})
	a, b := nodes[0], nodes[1]
	m := farMailbox(t, a, b)

	sub, r := subscribe(t, b.Server, m, Subscribing{})
	mustPost(t, b.Server, m.Address, "1")
	collect(t, sub, r, 1)
	b.mesh.lose.Store(packets(a.id(), func(n int64) bool { return n == 1 }))
	running := standstill.Start(t)
	if err := post(b.Server, m.Address, "2"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a post that got lost: %v, want ErrUnavailable", err)
	}
	if took := running.Elapsed(); took > time.Second {
		t.Errorf("that was noticed after %v", took)
	}
	select {
	case why := <-r.ended:
		if !errors.Is(why, ErrMoved) {
			t.Errorf("the reader was ended with %v, want ErrMoved", why)
		}
	case <-time.After(5 * time.Second):
		t.Error("the reader was not ended")
	}
	after := sub.Cursor()
	sub.Close()
	mustPost(t, b.Server, m.Address, "3")

	// what is pushed to the reader gets lost
	sub, r = subscribe(t, b.Server, m, Subscribing{After: &after})
	collect(t, sub, r, 1)
	lost := make(chan struct{})
	a.mesh.lose.Store(packets(b.id(), func(n int64) bool {
		if n == 1 {
			close(lost)
		}
		return n == 1
	}))
	mustPost(t, a.Server, m.Address, "4")
	<-lost
	mustPost(t, a.Server, m.Address, "5") // which must not come before it
	select {
	case why := <-r.ended:
		if !errors.Is(why, ErrMoved) {
			t.Errorf("the reader was ended with %v, want ErrMoved", why)
		}
	case <-time.After(5 * time.Second):
		t.Error("the reader was not ended")
	}
	if text := read(sub); text != "" {
		t.Errorf("read %q behind what was lost", text)
	}
	after = sub.Cursor()
	sub.Close()
	sub, r = subscribe(t, b.Server, m, Subscribing{After: &after})
	if got := collect(t, sub, r, 2); !slices.Equal(got, []string{"4", "5"}) {
		t.Errorf("read %v, want 4 and 5", got)
	}
	sub.Close()

	// every seventh packet, either way, under load
	b.mesh.lose.Store(packets(a.id(), func(n int64) bool { return n%7 == 0 }))
	a.mesh.lose.Store(packets(b.id(), func(n int64) bool { return n%7 == 0 }))
	lossyTraffic(t, a, b)
	if lost := b.Metrics().Cluster.PacketsLost + a.Metrics().Cluster.PacketsLost; lost < 10 {
		t.Errorf("%d packets were lost, want more for a test", lost)
	}
	await(t, 5*time.Second, "no call is left", func() bool {
		return a.Metrics().Cluster.Calls == 0 && b.Metrics().Cluster.Calls == 0
	})
}

// lossyTraffic sends from b to a mailbox of a that is read through b, until all has come, once and in order.
func lossyTraffic(t *testing.T, a, b *testNode) {
	t.Helper()
	const count = 40
	m := farMailbox(t, a, b)
	g := grant(t, b.Server, m.Key.Reveal())
	var sending sync.WaitGroup
	sending.Go(func() {
		for i := range count {
			for deadline := time.Now().Add(20 * time.Second); ; {
				posted, err := b.Post(m.Address.String(), &Letter{Body: []byte(fmt.Sprint(i)), Name: fmt.Sprint("n", i)})
				if err == nil {
					_, err = posted.Wait()
				}
				if err == nil {
					break
				}
				if !errors.Is(err, ErrUnavailable) || time.Now().After(deadline) {
					t.Errorf("post %d: %v", i, err)
					return
				}
			}
		}
	})
	var got []string
	how := Subscribing{}
	for deadline := time.Now().Add(30 * time.Second); len(got) < count; {
		r := newReader()
		sub, err := b.Subscribe(g, how, r)
		if time.Now().After(deadline) {
			t.Fatalf("got %d messages, want %d: %v", len(got), count, err)
		}
		if err != nil {
			continue
		}
		for ended := false; !ended && len(got) < count; {
			if text := read(sub); text != "" {
				got = append(got, strings.Split(text, " ")...)
				continue
			}
			select {
			case <-r.woken:
			case <-r.ended:
				ended = true
			case <-time.After(10 * time.Second):
				t.Errorf("nothing comes any more, after %d", len(got))
				ended = true
			}
		}
		after := sub.Cursor()
		how.After = &after
		sub.Close()
	}
	sending.Wait()
	for i, text := range got {
		if text != fmt.Sprint(i) {
			t.Fatalf("message %d is %s; read %v", i, text, got)
		}
	}
}

// TestUnanswered: a node that is heard, and does not answer, holds nobody up for long.
func TestUnanswered(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2, Options{patience: usual})
	a, b := nodes[0], nodes[1]
	m := farMailbox(t, a, b)
	deaf := func(string, []byte) bool { return true }
	a.mesh.deaf.Store(&deaf)
	g := grant(t, b.Server, m.Key.Reveal())
	for what, f := range map[string]func() error{
		"post":      func() error { return post(b.Server, m.Address, "1") },
		"describe":  func() error { _, err := b.Describe(g); return err },
		"subscribe": func() error { _, err := b.Subscribe(g, Subscribing{}, newReader()); return err },
	} {
		running := standstill.Start(t)
		err := f()
		if took := running.Elapsed(); !errors.Is(err, ErrUnavailable) || took > 3*time.Second {
			t.Errorf("%s: %v after %v, want ErrUnavailable after %v", what, err, took, callPatience)
		}
	}
	if calls := b.Metrics().Cluster.Calls; calls != 0 {
		t.Errorf("%d calls are left", calls)
	}
	a.mesh.deaf.Store(nil)
	await(t, 5*time.Second, "the other node answers again", func() bool { _, err := b.Describe(g); return err == nil })
}

// TestDeafOwner: a node that hears nothing any more goes on telling the others that it lives, and can't tell the readers
// of its mailboxes on nodes that it has given up. They are sent away all the same.
func TestDeafOwner(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2, Options{patience: usual})
	a, b := nodes[0], nodes[1]
	m := farMailbox(t, a, b)
	sub, r := subscribe(t, b.Server, m, Subscribing{})
	mustPost(t, b.Server, m.Address, "1")
	collect(t, sub, r, 1)

	before := a.id()
	all := func(string, []byte) bool { return true }
	a.mesh.deaf.Store(&all)
	a.deaf.append.Store(true)
	t.Cleanup(func() { a.appear(t) })
	select {
	case why := <-r.ended:
		if !errors.Is(why, ErrMoved) {
			t.Errorf("the reader was ended with %v, want ErrMoved", why)
		}
	case <-time.After(5 * time.Second):
		t.Error("the reader was not ended")
	}
	if !b.cluster.knows(before) {
		t.Skip("the deaf node was not heard either, and given up")
	}
	sub.Close()
	await(t, 10*time.Second, "the mailbox is elsewhere", func() bool { return post(b.Server, m.Address, "2") == nil })
	sub, r = subscribe(t, b.Server, m, Subscribing{})
	if got := collect(t, sub, r, 2); !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("read %v, want 1 and 2", got)
	}
	sub.Close()
}

// TestShardGone: a post that reaches a node which has just lost the shard was not taken, and its sender is told so.
func TestShardGone(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2, Options{patience: usual})
	a, b := nodes[0], nodes[1]
	m := farMailbox(t, a, b)
	shard := shardOf(uuid.UUID(grant(t, a.Server, m.Key.Reveal()).Mailbox()))
	// b does not hear that a let go of it
	deaf := func(_ string, data []byte) bool { return data[0] == isBeat }
	b.mesh.deaf.Store(&deaf)
	a.cluster.owning.Lock() // nor does a take it again
	a.member.disown([]uint8{shard})
	err := post(b.Server, m.Address, "1")
	a.cluster.owning.Unlock()
	if !errors.Is(err, ErrUnavailable) {
		t.Errorf("a post to a node that does not own the shard: %v, want ErrUnavailable", err)
	}
	b.mesh.deaf.Store(nil)
	await(t, 10*time.Second, "the mailbox is back", func() bool { return post(b.Server, m.Address, "2") == nil })
}

// TestClaimOfUnknownFate: a claim that is stored after who claimed gave up is not forgotten, for nobody else can have
// the shards.
func TestClaimOfUnknownFate(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2, Options{})
	a, b := nodes[0], nodes[1]
	a.cluster.owning.Lock()
	// b owns the first of its shards no more, and a claims it without noticing
	i := b.member.owned()[0]
	within, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	b.cluster.owning.Lock()
	if err := b.member.release(within, []uint8{i}); err != nil {
		t.Fatal(err)
	}
	if err := a.member.current().add(&mailbox.Record{Type: mailbox.Claimed, Shards: []uint8{i}}).waitUntil(within); err != nil {
		t.Fatal(err)
	}
	a.cluster.ask([]uint8{i}, true)
	b.cluster.owning.Unlock()
	a.cluster.owning.Unlock()
	await(t, 10*time.Second, "the shard is owned", func() bool {
		return a.shards[i].isOwned() || b.shards[i].isOwned()
	})
	awaitShare(t, a, b)
}

// TestFarProcess: a process that one node has is reached from all, and one that several have shares its messages when
// the queue of one is full.
func TestFarProcess(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 3, Options{Queue: 2})
	got := newReceived()
	addr := handle(t, nodes[0].Server, "only", got)
	for i, n := range nodes {
		await(t, 10*time.Second, "the process is known", func() bool { return post(n.Server, addr, fmt.Sprint(i)) == nil })
	}
	if bodies := got.wait(t, 3); !slices.Equal(bodies, []string{"0", "1", "2"}) {
		t.Errorf("got %v", bodies)
	}
	nodes[0].Release("only")
	await(t, 10*time.Second, "the process is gone", func() bool { return errors.Is(post(nodes[1].Server, addr, "3"), ErrGone) })

	// each has room for two messages, and nothing is done until all are taken
	block := make(chan struct{})
	unblock := sync.OnceFunc(func() { close(block) })
	defer unblock()
	var handled [3]atomic.Int64
	for i, n := range nodes {
		addr = handle(t, n.Server, "shared", HandlerFunc(func(context.Context, Message) error {
			<-block
			handled[i].Add(1)
			return nil
		}))
	}
	for _, n := range nodes {
		await(t, 10*time.Second, "all have it", func() bool { return len(n.cluster.routes.Load().processes["shared"]) == 2 })
	}
	const taken = 6
	for i := range taken {
		if err := post(nodes[0].Server, addr, "1"); err != nil {
			t.Errorf("post %d: %v", i, err)
		}
	}
	if err := post(nodes[0].Server, addr, "1"); !errors.Is(err, ErrFull) {
		t.Errorf("a message too many: %v, want ErrFull", err)
	}
	unblock()
	await(t, 10*time.Second, "all are handled", func() bool {
		return handled[0].Load()+handled[1].Load()+handled[2].Load() >= taken
	})
	for i := range handled {
		if n := handled[i].Load(); n != 2 {
			t.Errorf("node %d handled %d, want 2", i, n)
		}
	}
}

// TestPackets: what makes no sense ends nothing but itself.
func TestPackets(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2, Options{})
	a, b := nodes[0], nodes[1]
	m := farMailbox(t, a, b)
	n := b.cluster.others()[0]
	n.send(func(b []byte) []byte { return append(b, isPost, 7, 0, 99, 1, 2) })
	n.send(func(b []byte) []byte { return append(b, 250) })
	await(t, 5*time.Second, "posts work", func() bool { return post(b.Server, m.Address, "1") == nil })
}

func TestRemoteErrors(t *testing.T) {
	for i, known := range remoteErrors {
		if known == nil {
			if got := readError(&pack.Reader{Rest: appendError(nil, nil)}); got != nil {
				t.Errorf("no error becomes %v", got)
			}
			continue
		}
		r := pack.Reader{Rest: appendError(nil, fmt.Errorf("%w: so it is", known))}
		got := readError(&r)
		if !errors.Is(got, known) || got.Error() != known.Error()+": so it is" || r.Failed || len(r.Rest) > 0 {
			t.Errorf("error %d: %v becomes %v", i, known, got)
		}
	}
	got := readError(&pack.Reader{Rest: appendError(nil, errors.New("other"))})
	if got == nil || got.Error() != "other" || errors.Unwrap(got) != nil {
		t.Errorf("an unknown error becomes %v", got)
	}
}
