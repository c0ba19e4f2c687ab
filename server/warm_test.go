package server

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// startDeaf starts a node whose log tells nothing until hear is called.
func startDeaf(t *testing.T, url, name string) (n *testNode, hear func()) {
	t.Helper()
	log := &deafLog{Log: natsLog(t, url), reading: make(chan struct{}, 100), hear: make(chan struct{})}
	log.read.Store(true)
	return startNodeOn(t, log, name, Options{patience: usual}), func() { log.read.Store(false); close(log.hear) }
}

// heard returns when another node was heard last.
func (n *testNode) heard(other *testNode) time.Time {
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	if of := n.cluster.nodes[other.id()]; of != nil {
		return of.heard
	}
	return time.Time{}
}

func awaitReading(t *testing.T, n *testNode) {
	t.Helper()
	select {
	case <-n.deaf.reading:
	case <-time.After(10 * time.Second):
		t.Fatal("the node does not read the log")
	}
}

// TestShardsStayUntilTheyAreKnown: a node that has joined, and is still reading, takes nothing over.
func TestShardsStayUntilTheyAreKnown(t *testing.T) {
	t.Parallel()
	url := startNATS(t)
	a := startNode(t, url, "a", Options{patience: usual})
	awaitShare(t, a)
	m := open(t, a.Server)
	b, hear := startDeaf(t, url, "b")
	awaitReading(t, b)
	await(t, 10*time.Second, "the node counts", func() bool { return a.cluster.isSettled(b.id()) })
	for beats := range 4 { // in which the shards are looked at as often, at least
		last := a.heard(b)
		await(t, 5*time.Second, "the next beat", func() bool { return a.heard(b).After(last) })
		if owned := len(a.member.owned()); owned != shardCount {
			t.Fatalf("after %d beats it owns %d shards, want all", beats+1, owned)
		}
	}
	mustPost(t, b.Server, m.Address, "1")
	hear()
	awaitShare(t, a, b)
	mustPost(t, b.Server, m.Address, "2")
	sub, r := subscribe(t, b.Server, m, Subscribing{})
	collect(t, sub, r, 2)
	sub.Close()
}

// TestLeaverServesUntilItsHeirKnows: who leaves keeps its mailboxes while the others are still reading, but not for ever.
func TestLeaverServesUntilItsHeirKnows(t *testing.T) {
	t.Parallel()
	for _, hears := range []bool{true, false} {
		t.Run(fmt.Sprint(hears), func(t *testing.T) {
			t.Parallel()
			url := startNATS(t)
			a := startNode(t, url, "a", Options{patience: usual})
			awaitShare(t, a)
			m := open(t, a.Server)
			b, hear := startDeaf(t, url, "b")
			awaitReading(t, b)
			await(t, 10*time.Second, "the node can own shards", func() bool { return len(a.cluster.live()) == 2 })

			within, cancel := context.WithTimeout(ctx, 6*time.Second)
			defer cancel()
			left := make(chan error, 1)
			go func() { left <- a.Shutdown(within) }()
			await(t, 10*time.Second, "the node leaves", a.cluster.yielding)
			sub, r := subscribe(t, b.Server, m, Subscribing{})
			mustPost(t, b.Server, m.Address, "1")
			collect(t, sub, r, 1)
			if hears {
				hear()
			}
			select {
			case err := <-left:
				if err != nil {
					t.Errorf("Shutdown = %v", err)
				}
			case <-time.After(15 * time.Second):
				t.Fatal("it waits for ever")
			}
			if early := within.Err() == nil; !early {
				t.Error("it waited until there was no time left for what comes after")
			}
			if !hears {
				hear()
			}
			sub.Close()
			await(t, 10*time.Second, "its heir owns all", func() bool { return len(b.member.owned()) == shardCount })
			mustPost(t, b.Server, m.Address, "2")
		})
	}
}

// TestClaimsReadWhatIsNew: what a node reads once it owns shards, and others wait for, is what was written since it began to
// read, whether they were handed over or were a dead node's.
func TestClaimsReadWhatIsNew(t *testing.T) {
	t.Parallel()
	url := startNATS(t)
	log := &logged{}
	o := Options{Logger: log.logger(), patience: usual}
	// expect checks that a node has read the whole log once. One that gave up others, for the machine was busy, had to
	// read for other shards as well.
	expect := func(n *testNode, silent int, what string) {
		t.Helper()
		if strings.Count(log.String(), "is silent") > silent {
			t.Skip("nodes did not hear each other in time")
		}
		expectReads(t, n, 300, what)
	}
	a := startNode(t, url, "a", o)
	awaitShare(t, a)
	m := open(t, a.Server)
	for i := range 300 {
		mustPost(t, a.Server, m.Address, fmt.Sprint(i))
	}
	b := startNode(t, url, "b", o)
	awaitShare(t, a, b)
	expect(b, 0, "handed over")
	c := startNode(t, url, "c", o)
	awaitShare(t, a, b, c)
	expect(c, 0, "handed over by two")

	c.deaf.forgetReads()
	b.deaf.forgetReads()
	a.vanish(t)
	await(t, 15*time.Second, "the others own all", func() bool { return len(b.member.owned())+len(c.member.owned()) == shardCount })
	expect(b, 4, "a dead node's") // each of the two does not hear a, nor does a hear them
	expect(c, 4, "a dead node's")
	mustPost(t, b.Server, m.Address, "1")
}

func (l *deafLog) forgetReads() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads = nil
}

// expectReads checks that a node has read the whole log once.
func expectReads(t *testing.T, n *testNode, whole int, what string) {
	t.Helper()
	n.deaf.mu.Lock()
	defer n.deaf.mu.Unlock()
	big := 0
	for _, entries := range n.deaf.reads {
		if entries > whole/3 {
			big++
		}
	}
	if big != 1 || len(n.deaf.reads) < 2 || n.deaf.reads[len(n.deaf.reads)-1] > whole/3 {
		t.Errorf("%s: it read %v entries, want %d once, and then what was new", what, n.deaf.reads, whole)
	}
}
