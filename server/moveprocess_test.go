package server

import (
	"fmt"
	"slices"
	"testing"
	"time"

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
