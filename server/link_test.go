package server

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/genbrowser/genbrowser/internal/pack"
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
	nodes := startNodes(t, 2, Options{})
	a, b := nodes[0], nodes[1]
	m := farMailbox(t, a, b)

	sub, r := subscribe(t, b.Server, m, Subscribing{})
	mustPost(t, b.Server, m.Address, "1")
	collect(t, sub, r, 1)
	b.mesh.lose.Store(packets(a.id(), func(n int64) bool { return n == 1 }))
	began := time.Now()
	if err := post(b.Server, m.Address, "2"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a post that got lost: %v, want ErrUnavailable", err)
	}
	if took := time.Since(began); took > time.Second {
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
	nodes := startNodes(t, 2, Options{})
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
		began := time.Now()
		err := f()
		if took := time.Since(began); !errors.Is(err, ErrUnavailable) || took > 3*time.Second {
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
	nodes := startNodes(t, 2, Options{})
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
	nodes := startNodes(t, 2, Options{})
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

// TestFarInitial: what was there when a reader on another node came is told from what came since.
func TestFarInitial(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2, Options{})
	a, b := nodes[0], nodes[1]
	m := farMailbox(t, a, b)
	mustPost(t, a.Server, m.Address, "1", "2")
	sub, _ := subscribe(t, b.Server, m, Subscribing{Hold: true})
	defer sub.Close()
	mustPost(t, a.Server, m.Address, "3")
	await(t, 5*time.Second, "all came", func() bool {
		sub.far.mu.Lock()
		defer sub.far.mu.Unlock()
		return len(sub.far.queue) == 3
	})
	for want, read := range map[string]func(func(*mailbox.Message, error) bool) bool{"12": sub.ReadInitial, "123": sub.Read} {
		got := ""
		read(func(m *mailbox.Message, err error) bool { got += string(m.Body); return true })
		if got != want {
			t.Errorf("read %s, want %s", got, want)
		}
	}
}

// TestFarGap: a reader on another node is told once, and how many messages, are missing.
func TestFarGap(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2, Options{Limits: mailbox.Limits{Backlog: 3, Overflow: mailbox.DropOldest}})
	a, b := nodes[0], nodes[1]
	m := farMailbox(t, a, b)
	mustPost(t, a.Server, m.Address, "1", "2", "3", "4", "5")

	// as a long-poll reads
	sub, r := subscribe(t, b.Server, m, Subscribing{Hold: true})
	if got := collect(t, sub, r, 4); !slices.Equal(got, []string{"gap:", "2", "3", "4", "5"}) && strings.Join(got, " ") != "gap: 2 3 4 5" {
		t.Errorf("read %v, want a gap of 2, and 3 to 5", got)
	}
	sub.Close()

	// as a stream does, whose first event tells of the gap
	sub, r = subscribe(t, b.Server, m, Subscribing{Hold: true})
	if sub.Gap != 2 {
		t.Errorf("a gap of %d, want 2", sub.Gap)
	}
	sub.Delivered(sub.Cursor().Seq + sub.Gap)
	if got := collect(t, sub, r, 3); !slices.Equal(got, []string{"3", "4", "5"}) {
		t.Errorf("read %v, want 3 to 5", got)
	}
	sub.Close()
}

// TestFarAtOnce: a reader that does not wait finds what is in the mailbox.
func TestFarAtOnce(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2, Options{})
	a, b := nodes[0], nodes[1]
	m := farMailbox(t, a, b)
	mustPost(t, a.Server, m.Address, "1")
	for range 500 {
		sub, _ := subscribe(t, b.Server, m, Subscribing{Hold: true})
		got := read(sub)
		if sub.Close(); got != "1" {
			t.Fatalf("read %q at once, want 1", got)
		}
	}
}

// TestFarGapKept: a gap between two messages is told, also if the message before it was delivered by itself.
func TestFarGapKept(t *testing.T) {
	f := &farSubscription{node: &node{gone: true}, reader: newReader()}
	f.pushed([]farItem{
		{msg: mailbox.Message{Seq: 3, Body: []byte("3")}},
		{missing: 5, msg: mailbox.Message{Seq: 8}},
		{msg: mailbox.Message{Seq: 9, Body: []byte("9")}},
	})
	sub := &Subscription{far: f}
	f.delivered(3)
	var got []string
	f.read(time.Now(), math.MaxUint64, func(m *mailbox.Message, err error) bool {
		if err != nil {
			got = append(got, err.Error())
		} else {
			got = append(got, string(m.Body))
		}
		return true
	})
	if want := []string{(&mailbox.GapError{Missing: 5}).Error(), "9"}; !slices.Equal(got, want) {
		t.Errorf("read %q, want %q", got, want)
	}
	sub.Delivered(8)
	if len(f.queue) != 1 {
		t.Errorf("%d items wait after the gap was delivered, want 1", len(f.queue))
	}
}

// TestFarExpired: as many messages as are sent ahead end before the reader takes them; later ones still come.
func TestFarExpired(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2, Options{})
	a, b := nodes[0], nodes[1]
	m := farMailbox(t, a, b)
	sub, r := subscribe(t, b.Server, m, Subscribing{Hold: true})
	defer sub.Close()
	for range windowMessages + 10 {
		posted, err := a.Post(m.Address.String(), &Letter{Body: []byte("0"), TTL: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		if r, err := posted.Wait(); err != nil {
			t.Fatal(err)
		} else if r != nil {
			r.Wake()
		}
	}
	f := sub.far
	await(t, 5*time.Second, "they expire on their way", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return len(f.queue) == windowMessages && f.queue[windowMessages-1].expired(time.Now())
	})
	if text := read(sub); text != "" {
		t.Errorf("read %q of what expired", text)
	}
	mustPost(t, b.Server, m.Address, "1")
	if got := collect(t, sub, r, 1); !slices.Equal(got, []string{"1"}) {
		t.Errorf("read %v, want 1", got)
	}
}

// TestFarWindow: a reader that takes nothing has the other node send it no more than the window, and gets all that
// its mailbox holds when it goes on.
func TestFarWindow(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2, Options{})
	a, b := nodes[0], nodes[1]
	for name, size := range map[string]int{"many": 5, "large": 30_000} {
		t.Run(name, func(t *testing.T) {
			m := farMailbox(t, a, b)
			sub, r := subscribe(t, b.Server, m, Subscribing{})
			defer sub.Close()
			count := min(900, 900_000/size)
			for i := range count {
				mustPost(t, a.Server, m.Address, fmt.Sprintf("1%0*d", size, i))
			}
			f := sub.far
			queued := func() (n, bytes int) {
				f.mu.Lock()
				defer f.mu.Unlock()
				for _, item := range f.queue {
					bytes += len(item.msg.Body)
				}
				return len(f.queue), bytes
			}
			await(t, 5*time.Second, "the window is full", func() bool {
				n, bytes := queued()
				return n >= windowMessages || bytes >= windowBytes
			})
			if n, bytes := queued(); n > windowMessages || bytes > windowBytes+size+1 {
				t.Errorf("%d messages, %d bytes wait here, want at most a window", n, bytes)
			}
			got := collect(t, sub, r, count)
			for i, text := range got {
				if want := fmt.Sprintf("1%0*d", size, i); text != want {
					t.Fatalf("message %d is %.20s, want %.20s", i, text, want)
				}
			}
		})
	}
}

// TestFarTakeover: of readers on several nodes the newest has the mailbox, and the others are told.
func TestFarTakeover(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 3, Options{})
	m := farMailbox(t, nodes[0], nodes[1], nodes[2])
	var before *reader
	for i := range 6 {
		n := nodes[i%3]
		sub, r := subscribe(t, n.Server, m, Subscribing{})
		defer sub.Close()
		if before != nil {
			select {
			case why := <-before.ended:
				if !errors.Is(why, ErrTakenOver) {
					t.Errorf("reader %d was ended with %v, want ErrTakenOver", i, why)
				}
			case <-time.After(5 * time.Second):
				t.Errorf("reader %d was not ended", i)
			}
		}
		mustPost(t, nodes[(i+1)%3].Server, m.Address, fmt.Sprint(i))
		want := fmt.Sprint(i)
		for got := collect(t, sub, r, 1); got[len(got)-1] != want; got = collect(t, sub, r, 1) {
		}
		before = r
	}
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
