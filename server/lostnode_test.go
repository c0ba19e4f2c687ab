package server

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/internal/testport"
	"github.com/genbrowser/genbrowser/mailbox"
)

// vanish has a node reach nobody, and nobody reach it, until the test ends.
func (n *testNode) vanish(t testing.TB) {
	all := func(string, []byte) bool { return true }
	n.mesh.lose.Store(&all)
	n.mesh.deaf.Store(&all)
	n.deaf.append.Store(true)
	t.Cleanup(func() { n.appear(t) })
}

// appear takes that back.
func (n *testNode) appear(t testing.TB) {
	n.deaf.append.Store(false)
	n.mesh.lose.Store(nil)
	n.mesh.deaf.Store(nil)
	await(t, 20*time.Second, "the node is back", func() bool { return n.Ready() == nil })
}

// forgetful remembers no names, so that what is told twice comes twice, and waits for other nodes as long as usual.
var forgetful = Options{Limits: mailbox.Limits{NameWindow: time.Second}, patience: usual}

func nothing(context.Context, Message) error { return nil }

// awaitProcess waits until a node knows which others have a process.
func awaitProcess(t testing.TB, n *testNode, name string, others int) {
	t.Helper()
	await(t, 10*time.Second, fmt.Sprintf("%q is known to be on %d others", name, others), func() bool {
		return len(n.cluster.routes.Load().processes[name]) == others
	})
}

// farWatched returns how many watches of a process on another node a node knows.
func (n *testNode) farWatched(of *testNode, name string) int {
	n.watchers.mu.Lock()
	defer n.watchers.mu.Unlock()
	return len(n.watchers.far[of.id()][name])
}

// awaitHeard waits until others hear a node, so that they do not give it up sooner than usual after this, for it, or they, were held up.
func awaitHeard(t testing.TB, n *testNode, others ...*testNode) {
	t.Helper()
	id := n.id()
	await(t, 10*time.Second, "the node is heard just now", func() bool {
		return !slices.ContainsFunc(others, func(other *testNode) bool {
			c := other.cluster
			c.mu.Lock()
			defer c.mu.Unlock()
			return c.nodes[id] == nil || time.Since(c.nodes[id].heard) > beatEvery/3
		})
	})
}

// TestNodeLost: who watches a process is told once when the last node is gone that has it.
func TestNodeLost(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 3, forgetful)
	a, b, c := nodes[0], nodes[1], nodes[2]
	only := handle(t, b.Server, "only", HandlerFunc(nothing))
	both := handle(t, b.Server, "both", HandlerFunc(nothing))
	handle(t, c.Server, "both", HandlerFunc(nothing))
	awaitProcess(t, a, "only", 1)
	awaitProcess(t, a, "both", 2)
	await(t, 10*time.Second, "c knows, too", func() bool { return len(c.cluster.routes.Load().processes["only"]) == 1 })
	watcher, ofLink := farMailbox(t, a, b, c), farMailbox(t, a, b, c)
	mayLink, err := b.keys.ProcessFor("only", address.Monitor|address.Link)
	if err != nil {
		t.Fatal(err)
	}
	ask(t, a.Server, mailbox.KindLink, "l", ofLink, mayLink)
	linked, probe := serveSession(t, a.Server, "linked", false)
	if _, err := a.Call(ctx, linked, only); err != nil {
		t.Fatal(err)
	}
	ask(t, a.Server, mailbox.KindMonitor, "back", watcher, only)
	ask(t, c.Server, mailbox.KindDemonitor, "back", watcher, only)
	ask(t, b.Server, mailbox.KindMonitor, "here", watcher, only) // the node that dies took it
	ask(t, b.Server, mailbox.KindMonitor, "both", watcher, both)
	for _, n := range []*testNode{a, c} { // at once, for who watches was told that it does
		if only, both := n.farWatched(b, "only"), n.farWatched(b, "both"); only != 3 || both != 1 {
			t.Errorf("%s knows %d and %d watches, want 3 and 1", n.id(), only, both)
		}
	}
	awaitHeard(t, b, a, c)
	began := time.Now()
	b.vanish(t)
	expectTold(t, a.Server, watcher, `down here {"reason":"node-lost"}`)
	if took := time.Since(began); took < usual.seal+usual.silence/2 {
		t.Errorf("told after %v, before the node's lease is over", took)
	}
	if why := expectOne(t, "the linked process's end", probe.ended); why.Reason != "node-lost" {
		t.Errorf("the linked process ended with %+v", why)
	}
	expectTold(t, a.Server, ofLink, `exited l {"reason":"node-lost"}`)
	awaitUnwatched(t, ofLink, a.Server, c.Server) // or its end would end what has the process's name next
	await(t, 10*time.Second, "the other node of that name has the watch", func() bool {
		return a.farWatched(c, "both") == 1 && a.farWatched(c, "only") == 0 // c may be who told
	})
	c.vanish(t)
	expectTold(t, a.Server, watcher, `down here {"reason":"node-lost"}`, `down both {"reason":"node-lost"}`)
	if left := a.watchers.nodes(); len(left) != 0 {
		t.Errorf("watches of %v are left", left)
	}
}

// lastToEnd is a service that holds up the end of its node.
type lastToEnd struct{ may chan struct{} }

func (l *lastToEnd) Call(*Context, Message) (any, error) { return nil, nil }
func (l *lastToEnd) Cast(*Context, Message) error        { return nil }
func (l *lastToEnd) Terminate(Down)                      { <-l.may }

// TestNodeComesBack: a node that is silent for less than its lease is not lost, nor is one that leaves while another has
// a process of the same name, and what ends then is told.
func TestNodeComesBack(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 3, forgetful)
	a, b, c := nodes[0], nodes[1], nodes[2]
	both := handle(t, b.Server, "both", HandlerFunc(nothing))
	awaitProcess(t, a, "both", 1)
	watcher := farMailbox(t, a, b, c)
	ask(t, a.Server, mailbox.KindMonitor, "m", watcher, both)
	all := func(string, []byte) bool { return true }
	b.mesh.lose.Store(&all)
	await(t, 10*time.Second, "the node is given up", func() bool { return !a.cluster.knows(b.id()) && !c.cluster.knows(b.id()) })
	b.mesh.lose.Store(nil)
	await(t, 10*time.Second, "it is back", func() bool { return a.cluster.knows(b.id()) && a.farWatched(b, "both") == 1 })

	handle(t, c.Server, "both", HandlerFunc(nothing))
	awaitProcess(t, a, "both", 2)
	awaitProcess(t, b, "both", 1)
	alone := handle(t, b.Server, "alone", HandlerFunc(nothing))
	awaitProcess(t, a, "alone", 1)
	ask(t, a.Server, mailbox.KindMonitor, "alone", watcher, alone)
	last := &lastToEnd{make(chan struct{})}
	if _, err := b.Serve("last", func() Service { return last }, ProcessOptions{}); err != nil {
		t.Fatal(err)
	}
	left := make(chan struct{})
	go func() { b.leave(t); close(left) }()
	expectTold(t, a.Server, watcher, `down alone {"reason":"normal"}`)
	close(last.may)
	<-left
	await(t, 10*time.Second, "the other node has the watch", func() bool { return a.farWatched(c, "both") == 1 })
	mayExit, err := a.keys.ProcessFor("both", address.Exit)
	if err != nil {
		t.Fatal(err)
	}
	ask(t, a.Server, mailbox.KindExit, "", watcher, mayExit)
	expectTold(t, a.Server, watcher, `down alone {"reason":"normal"}`, `down m {"reason":"exit","detail":null}`)
	await(t, 5*time.Second, "nobody keeps the watch", func() bool { return len(a.watchers.nodes()) == 0 })
}

// TestSingleNodeLost: a process that one node runs at a time is lost with that node, though another one begins it anew.
func TestSingleNodeLost(t *testing.T) {
	t.Parallel()
	url := startNATS(t)
	nodes := []*testNode{startNode(t, url, "a", forgetful), startNode(t, url, "b", forgetful)}
	awaitShare(t, nodes...)
	a, b := nodes[0], nodes[1]
	got := []*received{newReceived(), newReceived()}
	name := ""
	for i := 0; name == ""; i++ { // one that b runs
		try := fmt.Sprint("single", i)
		if shard := shardOfName(try); slices.Contains(b.member.owned(), shard) {
			name = try
		}
	}
	for i, n := range nodes {
		if _, err := n.HandleSingle(name, got[i]); err != nil {
			t.Fatal(err)
		}
	}
	awaitProcess(t, a, name, 1)
	watcher := farMailbox(t, a, b)
	ask(t, a.Server, mailbox.KindMonitor, "m", watcher, mustProcess(t, a.Server, name))
	await(t, 5*time.Second, "the other knows", func() bool { return a.farWatched(b, name) == 1 })
	c := startNode(t, url, "c", forgetful)
	await(t, 5*time.Second, "a new one knows", func() bool { return c.farWatched(b, name) == 1 })
	b.vanish(t)
	expectTold(t, a.Server, watcher, `down m {"reason":"node-lost"}`)
}

// TestAllAreCutOff: nodes that can't reach each other because nobody reaches NATS do not take each other for lost.
func TestAllAreCutOff(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	port := testport.Port(t)
	nats := startNATSOn(t, port, dir)
	a, b := startNode(t, nats.ClientURL(), "a", forgetful), startNode(t, nats.ClientURL(), "b", forgetful)
	awaitShare(t, a, b)
	only := handle(t, b.Server, "only", HandlerFunc(nothing))
	awaitProcess(t, a, "only", 1)
	watcher := farMailbox(t, a, b)
	ask(t, a.Server, mailbox.KindMonitor, "m", watcher, only)
	await(t, 5*time.Second, "the other knows", func() bool { return a.farWatched(b, "only") == 1 })
	nats.Shutdown()
	nats.WaitForShutdown()
	began := time.Now()
	await(t, 10*time.Second, "a node would be lost by now", func() bool { return time.Since(began) > usual.silence+a.cluster.lostAfter()+2*heirAfter })
	startNATSOn(t, port, dir)
	defer func() { a.leave(t); b.leave(t) }()
	awaitShare(t, a, b)
	awaitProcess(t, a, "only", 1)
	await(t, 10*time.Second, "the process is watched again", func() bool { return a.farWatched(b, "only") == 1 })
	mayExit, err := a.keys.ProcessFor("only", address.Exit)
	if err != nil {
		t.Fatal(err)
	}
	ask(t, a.Server, mailbox.KindExit, "", watcher, mayExit)
	expectTold(t, a.Server, watcher, `down m {"reason":"exit","detail":null}`)
}

// TestWatchIsShared: who is told that a watch is taken does not lose it with the node that has the process. So the
// other nodes know it by then, or are given up.
func TestWatchIsShared(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 3, forgetful)
	a, b, c := nodes[0], nodes[1], nodes[2]
	logger := handle(t, b.Server, "logger", HandlerFunc(nothing))
	awaitProcess(t, a, "logger", 1)
	awaitProcess(t, c, "logger", 1)
	watcher := farMailbox(t, a, b)
	all := func(string, []byte) bool { return true }
	awaitHeard(t, c, a, b)
	c.mesh.lose.Store(&all) // what it answers
	var asked sync.WaitGroup
	for _, n := range []*testNode{a, b} { // through another node, and at the one that has the process
		asked.Go(func() {
			began := time.Now()
			ask(t, n.Server, mailbox.KindMonitor, n.id(), watcher, logger)
			if took := time.Since(began); took < usual.silence/2 {
				t.Errorf("accepted after %v, while a node that was not given up does not know", took)
			}
		})
	}
	asked.Wait()
	if known := a.farWatched(b, "logger"); known != 2 {
		t.Errorf("%d watches are known, want 2", known)
	}
	c.mesh.lose.Store(nil)
}
