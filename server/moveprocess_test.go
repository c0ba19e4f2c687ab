package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/internal/standstill"
	"github.com/genbrowser/genbrowser/mailbox"
)

// TestKeyedMoves: when another node gets their shard, keyed processes that are awake end where they were, though they have
// timers, and begin there; who watches one, awake or asleep, is told. The others go on.
func TestKeyedMoves(t *testing.T) {
	t.Parallel()
	url := startNATS(t)
	var notes [2]notes
	a := startNode(t, url, "a", Options{})
	awaitShare(t, a)
	if err := a.Keyed("order", orders(&notes[0]), KeyedOptions{Idle: time.Hour}); err != nil {
		t.Fatal(err)
	}
	const count = 32 // of which about half move; every other one is awake
	var watchers [count]Mailbox
	for i := range count {
		to := keyedAddress(t, a.Server, "order", fmt.Sprint(i))
		if i%2 == 0 {
			expectCall(t, a.Server, to, "timer", "1")
		}
		watchers[i] = open(t, a.Server)
		ask(t, a.Server, mailbox.KindMonitor, "m", watchers[i], to)
	}
	notes[0].take()
	b := startNode(t, url, "b", Options{})
	if err := b.Keyed("order", orders(&notes[1]), KeyedOptions{Idle: time.Hour}); err != nil {
		t.Fatal(err)
	}
	awaitShare(t, a, b)
	var moved int
	for i := range count {
		to := keyedAddress(t, a.Server, "order", fmt.Sprint(i))
		want := "2"
		if b.shards[shardOfName(fmt.Sprint("order/", i))].isOwned() {
			moved++
			want = "1"
			expectTold(t, a.Server, watchers[i], `down m {"reason":"normal"}`)
		}
		if i%2 == 0 {
			expectCall(t, a.Server, to, 0, want)
		}
	}
	if moved == 0 || moved == count {
		t.Fatalf("%d of %d moved", moved, count)
	}
	await(t, 5*time.Second, "none is awake on both nodes", func() bool {
		return a.processes.awake("order")+b.processes.awake("order") == count/2
	})
}

// TestSingleMoves: who watches a process that one node runs at a time is told when another one does from then on.
func TestSingleMoves(t *testing.T) {
	t.Parallel()
	url := startNATS(t)
	a := startNode(t, url, "a", Options{})
	awaitShare(t, a)
	const count = 16
	var watchers [count]Mailbox
	for i := range count {
		name := fmt.Sprint("single", i)
		to, err := a.HandleSingle(name, HandlerFunc(nothing))
		if err != nil {
			t.Fatal(err)
		}
		watchers[i] = open(t, a.Server)
		ask(t, a.Server, mailbox.KindMonitor, "m", watchers[i], to)
	}
	b := startNode(t, url, "b", Options{})
	awaitShare(t, a, b)
	for i := range count {
		if name := fmt.Sprint("single", i); b.shards[shardOfName(name)].isOwned() {
			expectTold(t, a.Server, watchers[i], `down m {"reason":"node-lost"}`)
		} else if !slices.Contains(a.watchers.names(), name) {
			t.Errorf("%s stays, and is watched no more", name)
		}
	}
}

// TestNewNodeKnowsProcesses holds that a node that joins knows which processes the others have before it owns anything.
func TestNewNodeKnowsProcesses(t *testing.T) {
	t.Parallel()
	url := startNATS(t)
	a := startNode(t, url, "a", Options{})
	handle(t, a.Server, "shop", HandlerFunc(nothing))
	awaitShare(t, a)
	for range 3 {
		b := startNode(t, url, "b", Options{})
		await(t, 10*time.Second, "it owns something", func() bool { return len(b.member.owned()) > 0 })
		if len(b.cluster.routes.Load().processes["shop"]) != 1 {
			t.Error("it owns shards, and does not know a process of the other")
		}
		b.leave(t)
		awaitShare(t, a)
	}
}

// moving are two nodes of which the second one joins when a process of the first, that is to go to it, handles the message 1,
// which ends when the gate opens.
type moving struct {
	a, b  *testNode
	to    address.Address // of the process
	shard uint8
	gate  chan struct{}
	notes notes
}

// startMoving begins with one node, on which run makes the process of that name, or for its key, for the node called who.
func startMoving(t *testing.T, o Options, prefix string, run func(m *moving, n *testNode, who, name string) error) *moving {
	t.Helper()
	url := startNATS(t)
	m := &moving{gate: make(chan struct{})}
	m.a = startNode(t, url, "a", o)
	awaitShare(t, m.a)
	m.b = startNode(t, url, "b", o)
	name := prefix
	for i := 0; ; i++ {
		name = prefix + fmt.Sprint(i)
		m.shard = shardOfName(name)
		if assign([]string{min(m.a.id(), m.b.id()), max(m.a.id(), m.b.id())})[m.shard] == m.b.id() {
			break
		}
	}
	for who, n := range map[string]*testNode{"a": m.a, "b": m.b} {
		if err := run(m, n, who, name); err != nil {
			t.Fatal(err)
		}
	}
	m.to = mustProcess(t, m.a.Server, name)
	mustPost(t, m.a.Server, m.to, "1")
	await(t, 5*time.Second, "the first message is handled", func() bool { return m.notes.has("a begins") })
	return m
}

// awaitVacating waits until the shard is to go.
func (m *moving) awaitVacating(t *testing.T) {
	t.Helper()
	await(t, 10*time.Second, "the shard is to go", func() bool { return m.a.processes.vacating[m.shard].Load() != 0 })
	if !m.a.shards[m.shard].isOwned() {
		t.Error("the shard went at once, with its mailboxes")
	}
}

// handle notes what is handled where; the message 1 takes until the gate opens.
func (m *moving) handle(who string, msg Message) {
	if string(msg.Body) == "1" {
		m.notes.add("%s begins", who)
		<-m.gate
	}
	m.notes.add("%s %s", who, msg.Body)
}

// TestKeyedEndsBeforeItMoves: Terminate of a keyed process is over before the node that gets its shard begins it anew, which
// also gets what a sender had no room for until then.
func TestKeyedEndsBeforeItMoves(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	saved := 0
	m := startMoving(t, Options{}, "order/", func(m *moving, n *testNode, who, name string) error {
		return n.Keyed("order", func(string) Service {
			sum := 0
			return scripted{
				init: func(*Context) error { mu.Lock(); defer mu.Unlock(); sum = saved; return nil },
				cast: func(_ *Context, msg Message) error { sum++; m.handle(who, msg); return nil },
				call: func(*Context, Message) (any, error) { return fmt.Sprint(who, " ", sum), nil },
				terminate: func(Down) {
					mu.Lock()
					defer mu.Unlock()
					saved = sum
					m.notes.add("%s ends", who)
				},
			}
		}, KeyedOptions{Idle: time.Hour, ProcessOptions: ProcessOptions{Queue: 2}})
	})
	mustPost(t, m.a.Server, m.to, "2")
	sent := make(chan error, 1)
	go func() { sent <- m.a.Send(ctx, m.to, 3) }()
	m.awaitVacating(t)
	close(m.gate)
	if err := <-sent; err != nil {
		t.Error("a message that waited for room:", err)
	}
	awaitShare(t, m.a, m.b)
	expectCall(t, m.a.Server, m.to, 0, `"b 3"`)
	if got, want := m.notes.take(), "a begins, a 1, a 2, a ends, b 3"; got != want {
		t.Errorf("%s; want %s", got, want)
	}
	if awake := m.a.processes.awake("order"); awake != 0 {
		t.Errorf("%d are awake where they are no more", awake)
	}
}

// TestOthersWaitWhileItMoves: who sends from another node waits as well until a process has moved, and nothing else that is to be
// told does.
func TestOthersWaitWhileItMoves(t *testing.T) {
	t.Parallel()
	m := startMoving(t, Options{}, "order/", func(m *moving, n *testNode, who, name string) error {
		return n.Keyed("order", func(string) Service {
			return scripted{cast: func(_ *Context, msg Message) error { m.handle(who, msg); return nil }}
		}, KeyedOptions{Idle: time.Hour})
	})
	openGate := sync.OnceFunc(func() { close(m.gate) })
	defer openGate()
	m.awaitVacating(t)
	sent := make(chan error, 1)
	go func() { sent <- post(m.b.Server, m.to, "2") }()
	watcher := open(t, m.a.Server)
	told := make(chan struct{})
	for _, n := range []notice{
		{tellings: []telling{{of: m.to, kind: mailbox.KindDemonitor, ref: "m", reply: replyAddress(t, watcher, "m")}}},
		{tellings: []telling{{of: watcher.Address, kind: mailbox.KindDemonitor, ref: "m", reply: replyAddress(t, watcher, "m")}}, done: func(bool) { close(told) }},
	} {
		n.server = m.a.Server
		m.a.notices.add(n)
	}
	expectOne(t, "what is told elsewhere", told)
	if m.notes.has("a 1") || m.a.processes.vacating[m.shard].Load() == 0 {
		t.Error("that was told once the process had moved")
	}
	select {
	case err := <-sent:
		t.Error("the other node's sender did not wait:", err)
		sent <- nil
	default:
	}
	openGate()
	if err := <-sent; err != nil {
		t.Error("the other node's sender:", err)
	}
	await(t, 5*time.Second, "both were handled, in order", func() bool { return m.notes.is("a begins, a 1, b 2") })
}

// TestAnnouncedBeforeItMoves: processes that are to move go on until the others were told that they will.
func TestAnnouncedBeforeItMoves(t *testing.T) {
	t.Parallel()
	var c *cluster
	m := startMoving(t, Options{}, "order/", func(m *moving, n *testNode, who, name string) error {
		if who == "a" {
			c = n.cluster
			c.owning.Lock() // govern does nothing until the end
		}
		return n.Keyed("order", func(string) Service {
			return scripted{cast: func(_ *Context, msg Message) error { m.handle(who, msg); return nil }}
		}, KeyedOptions{Idle: time.Hour})
	})
	defer close(m.gate)
	defer c.owning.Unlock()
	to := m.b.id()
	await(t, 10*time.Second, "the other node can have the shard", func() bool { return c.isSettled(to) && c.isWarm(to, m.shard) })
	before := m.b.Placement()
	for _, wantVacating := range []bool{false, true} {
		if err := c.handOver(assign(c.live())); err != nil {
			t.Fatal(err)
		}
		if vacating := m.a.processes.vacating[m.shard].Load() != 0; vacating != wantVacating {
			t.Errorf("its processes are about to end: %v, want %v", vacating, wantVacating)
		}
		await(t, 5*time.Second, "the other node was told", func() bool { return m.b.cluster.routes.Load().going[m.shard] })
	}
	if m.b.Placement() == before {
		t.Error("who posts several letters at once through the other node is not told that they may be refused now")
	}
}

// TestMoveThatIsOff: a process that was to move goes on where it is while shards are nobody's.
func TestMoveThatIsOff(t *testing.T) {
	t.Parallel()
	m := startMoving(t, Options{patience: patience{silence: 4 * time.Second, lease: 4 * time.Second, seal: 5 * time.Second}}, "order/", func(m *moving, n *testNode, who, name string) error {
		return n.Keyed("order", func(string) Service {
			return scripted{cast: func(_ *Context, msg Message) error { m.handle(who, msg); return nil }}
		}, KeyedOptions{Idle: time.Hour})
	})
	m.awaitVacating(t)
	m.b.vanish(t)
	c := m.a.cluster
	c.owning.Lock() // govern does nothing meanwhile
	lost := uint8(0)
	for lost == m.shard {
		lost++
	}
	err := m.a.member.release(ctx, []uint8{lost})
	c.owning.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	running := standstill.Start(t)
	close(m.gate)
	await(t, 10*time.Second, "its process goes on", func() bool { return m.a.processes.vacating[m.shard].Load() == 0 })
	if took := running.Elapsed(); took > time.Second {
		t.Errorf("its process goes on after %v", took)
	}
	mustPost(t, m.a.Server, m.to, "2")
	await(t, 5*time.Second, "both were handled", func() bool { return m.notes.is("a begins, a 1, a 2") })
	awaitShare(t, m.a)
}

// TestSingleMovesBetweenMessages: a process that one node runs at a time moves when it has handled what waited.
func TestSingleMovesBetweenMessages(t *testing.T) {
	t.Parallel()
	m := startMoving(t, Options{Queue: 1}, "single", func(m *moving, n *testNode, who, name string) error {
		_, err := n.HandleSingle(name, HandlerFunc(func(_ context.Context, msg Message) error { m.handle(who, msg); return nil }))
		return err
	})
	sent := make(chan error, 1)
	go func() { sent <- m.a.Send(ctx, m.to, 2) }()
	m.awaitVacating(t)
	close(m.gate)
	if err := <-sent; err != nil {
		t.Error("a message that waited for room:", err)
	}
	awaitShare(t, m.a, m.b)
	await(t, 5*time.Second, "both were handled, in order, at one node at a time", func() bool {
		return m.notes.is("a begins, a 1, b 2")
	})
}

// TestShardGoesInTheEnd: a process that takes long for what waits does not keep its shard for ever.
func TestShardGoesInTheEnd(t *testing.T) {
	t.Parallel()
	m := startMoving(t, Options{}, "order/", func(m *moving, n *testNode, who, name string) error {
		return n.Keyed("order", func(string) Service {
			return scripted{cast: func(_ *Context, msg Message) error { m.handle(who, msg); return nil }}
		}, KeyedOptions{})
	})
	m.awaitVacating(t)
	began := time.Now()
	awaitShare(t, m.a, m.b)
	if took := time.Since(began); took < vacatePatience/2 {
		t.Errorf("it went after %v", took)
	}
	mustPost(t, m.b.Server, m.to, "2")
	await(t, 5*time.Second, "the other node has begun it", func() bool { return m.notes.has("b 2") })
	close(m.gate)
}

// TestEndsBeforeItBegins: who watches a keyed process that is awake and has had no message is told when its shard leaves, and when
// it is ended.
func TestEndsBeforeItBegins(t *testing.T) {
	for reason, end := range map[string]func(s *Server, name string){
		"normal": func(s *Server, name string) { s.leaveProcesses([]uint8{shardOfName(name)}) },
		"exit":   func(s *Server, name string) { s.exitProcess(name, mailbox.NameHash{}, Down{Reason: "exit"}) },
	} {
		s := newServer(t, Options{})
		if err := s.Keyed("order", orders(new(notes)), KeyedOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.processes.keyed["order"].awaken("44"); err != nil {
			t.Fatal(err)
		}
		watcher := open(t, s)
		ask(t, s, mailbox.KindMonitor, "n", watcher, keyedAddress(t, s, "order", "44"))
		end(s, "order/44")
		expectTold(t, s, watcher, fmt.Sprintf(`down n {"reason":%q}`, reason))
	}
}

// TestWatchesWhileItMoves: who asks to watch a keyed process of which the shard is about to go watches the one at the node that
// gets it, and is told nothing of the one before.
func TestWatchesWhileItMoves(t *testing.T) {
	t.Parallel()
	var name string
	m := startMoving(t, Options{}, "order/", func(m *moving, n *testNode, who, moves string) error {
		name = moves
		return n.Keyed("order", func(string) Service {
			return scripted{cast: func(_ *Context, msg Message) error { m.handle(who, msg); return nil }}
		}, KeyedOptions{Idle: time.Hour})
	})
	m.awaitVacating(t)
	watcher := open(t, m.a.Server)
	monitor := mailbox.Message{Body: []byte("null"), Meta: &mailbox.Meta{Kind: mailbox.KindMonitor, Ref: "n", Reply: replyAddress(t, watcher, "n")}}
	for _, msg := range []mailbox.Message{monitor, {Body: []byte("null"), Meta: &mailbox.Meta{Kind: mailbox.KindExit}}} {
		if _, err := m.a.forProcessHere(ctx, name, msg, mailbox.NameHash{}); !errors.Is(err, errElsewhere) {
			t.Errorf("%v of what leaves: %v", msg.Meta.Kind, err)
		}
	}
	if _, err := m.a.requestOfProcess(name, &monitor, mailbox.NameHash{}); !errors.Is(err, errElsewhere) {
		t.Errorf("monitor of what left meanwhile: %v", err)
	}
	if n := len(m.a.watchers.names()); n != 0 {
		t.Errorf("%d processes are watched where they are no more", n)
	}
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		ask(t, m.a.Server, mailbox.KindMonitor, "n", watcher, m.to)
	}()
	close(m.gate)
	<-asked
	awaitShare(t, m.a, m.b)
	mustPost(t, m.b.Server, m.to, "2") // or it sleeps
	mayExit, err := m.b.keys.ProcessFor(name, address.Exit)
	if err != nil {
		t.Fatal(err)
	}
	ask(t, m.b.Server, mailbox.KindExit, "", watcher, mayExit)
	expectTold(t, m.a.Server, watcher, `down n {"reason":"exit","detail":null}`)
}

// TestOneOfManyWatches: a service of which each node has one can't watch, since another one could be told instead.
func TestOneOfManyWatches(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2, Options{})
	a, b := nodes[0], nodes[1]
	to, _ := serveSession(t, a.Server, "each", false)
	client := open(t, a.Server)
	serveSession(t, b.Server, "each", false)
	awaitProcess(t, a, "each", 1)
	if _, err := a.Call(ctx, to, client.Address); err == nil || !strings.Contains(err.Error(), "want a process that is Single, or Keyed") {
		t.Errorf("it watches: %v", err)
	}
}
