package server

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/address"
)

// TestNamesInACluster holds that it does not matter where a name is registered, where what it is for is, or who asks.
func TestNamesInACluster(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 3, Options{})
	a, b, c := nodes[0], nodes[1], nodes[2]
	m, other := farMailbox(t, b, a, c), farMailbox(t, b, a, c)
	sendOnly := narrowed(t, m.Address, address.Only(address.Send))
	register(t, a.Server, "m", sendOnly)
	awaitName(t, "m", sendOnly, nodes...)
	for _, n := range nodes {
		if err := n.Register("m", other.Address); !errors.Is(err, ErrNameTaken) {
			t.Errorf("another mailbox's = %v, want ErrNameTaken", err)
		}
		if err := n.Export("m"); !errors.Is(err, ErrNameTaken) {
			t.Errorf("Export = %v, want ErrNameTaken", err)
		}
	}
	from := a
	for _, to := range []*testNode{c, a, c} { // whichever has the lower id
		register(t, to.Server, "m", m.Address)
		awaitName(t, "m", m.Address, nodes...)
		await(t, 5*time.Second, "the other node keeps it", func() bool { return from.Metrics().Registered == 0 && to.Metrics().Registered == 1 })
		from = to
	}
	if err := b.Unregister("m", other.Address); err != nil {
		t.Error(err)
	}
	awaitName(t, "m", m.Address, nodes...)
	if err := b.Unregister("m", sendOnly); err != nil {
		t.Error(err)
	}
	expectName(t, b.Server, "m", address.Address{})
	awaitName(t, "m", address.Address{}, nodes...)
	if err := b.Unregister("m", m.Address); err != nil {
		t.Errorf("once more: %v", err)
	}
}

// TestFarEnds holds that names on one node end with what is on another.
func TestFarEnds(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 3, Options{})
	a, b, c := nodes[0], nodes[1], nodes[2]
	m := farMailbox(t, b, a, c)
	register(t, a.Server, "m", m.Address)
	register(t, c.Server, "m2", m.Address)
	awaitName(t, "m", m.Address, nodes...)
	awaitName(t, "m2", m.Address, nodes...)
	closeBox(t, c.Server, m)
	awaitName(t, "m", address.Address{}, nodes...)
	awaitName(t, "m2", address.Address{}, nodes...)
	await(t, 5*time.Second, "no node keeps them", func() bool { return a.Metrics().Registered+c.Metrics().Registered == 0 })

	p := handle(t, b.Server, "process", newReceived())
	awaitProcess(t, a, "process", 1)
	awaitProcess(t, c, "process", 1)
	register(t, a.Server, "p", p)
	awaitName(t, "p", p, nodes...)
	if err := c.Register("process", open(t, c.Server).Address); !errors.Is(err, ErrNameTaken) {
		t.Errorf("the name of another node's process = %v, want ErrNameTaken", err)
	}
	handle(t, c.Server, "process", newReceived())
	awaitProcess(t, a, "process", 2)
	b.Release("process")
	awaitProcess(t, a, "process", 1)
	awaitName(t, "p", p, a, c) // c has one
	c.Release("process")
	awaitName(t, "p", address.Address{}, nodes...)
	await(t, 5*time.Second, "no node keeps it", func() bool { return a.Metrics().Registered == 0 })

	// a name that another node exports at the same time as it is registered
	r, err := a.readName("both", open(t, a.Server).Address.String())
	if err != nil {
		t.Fatal(err)
	}
	a.names.mu.Lock()
	a.names.put(r)
	a.names.mu.Unlock()
	if err := b.Export("both"); err != nil {
		t.Fatal(err)
	}
	awaitName(t, "both", mustProcess(t, a.Server, "both"), nodes...)
}

// TestRegisterRaces holds that of many who register a name at the same time, on several nodes, one gets it, and all nodes
// agree on whom.
func TestRegisterRaces(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 3, Options{})
	const each = 2
	var mailboxes []Mailbox
	for i := range len(nodes) * each {
		mailboxes = append(mailboxes, farMailbox(t, nodes[i%len(nodes)], nodes...))
	}
	for round := range 20 {
		name := fmt.Sprint("name", round)
		var won atomic.Int64
		var winner address.Address
		var all sync.WaitGroup
		for i, m := range mailboxes {
			all.Go(func() {
				switch err := nodes[(i+1)%len(nodes)].Register(name, m.Address); {
				case err == nil:
					if won.Add(1) == 1 {
						winner = m.Address
					}
				case !errors.Is(err, ErrNameTaken):
					t.Errorf("Register = %v, want ErrNameTaken", err)
				}
			})
		}
		all.Wait()
		if won.Load() != 1 {
			t.Fatalf("%d got the name, want one", won.Load())
		}
		awaitName(t, name, winner, nodes...)
	}
	kept := 0
	for _, n := range nodes {
		kept += n.Metrics().Registered
	}
	if kept != 20 {
		t.Errorf("%d names are kept, want 20", kept)
	}
}

// TestNamesAreInherited holds that names outlive the node that registered them, whether it leaves or dies, and that a node
// which was given up for dead begins with none.
func TestNamesAreInherited(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 3, Options{patience: usual})
	a, b, c := nodes[0], nodes[1], nodes[2]
	m, there := farMailbox(t, a, b, c), farMailbox(t, b, a, c)
	p := handle(t, b.Server, "process", newReceived())
	awaitProcess(t, a, "process", 1)
	awaitProcess(t, c, "process", 1)
	register(t, b.Server, "m", m.Address)
	register(t, b.Server, "there", there.Address)
	register(t, b.Server, "p", p)
	register(t, c.Server, "c", m.Address)
	last := farMailbox(t, b, a, c)
	register(t, a.Server, "last", last.Address)
	for name, to := range map[string]address.Address{"m": m.Address, "there": there.Address, "p": p, "c": m.Address, "last": last.Address} {
		awaitName(t, name, to, nodes...)
	}
	dead := b.id()
	all := func(string, []byte) bool { return true }
	b.mesh.lose.Store(&all)
	closeBox(t, b.Server, last) // which only the log knows
	b.vanish(t)
	awaitName(t, "p", address.Address{}, a, c) // once its node is given up for lost
	await(t, 15*time.Second, "other nodes have its names", func() bool {
		for _, n := range []*testNode{a, c} {
			n.names.mu.RLock()
			if dead, there := n.names.far[dead]["m"], n.names.of[target{mailbox: grant(t, a.Server, m.Key.Reveal()).Mailbox()}]; dead != nil && len(there) > 2 {
				t.Error("a node takes a name for the dead one's that another inherited")
			}
			n.names.mu.RUnlock()
		}
		return a.Metrics().Registered+c.Metrics().Registered == 3 && // p is lost
			!slices.Contains(slices.Concat(a.names.nodes(), c.names.nodes()), dead)
	})
	for _, n := range []*testNode{a, c} {
		expectName(t, n.Server, "m", m.Address)
		expectName(t, n.Server, "there", there.Address)
		expectName(t, n.Server, "p", address.Address{})
	}
	if err := a.Unregister("m", m.Address); err != nil {
		t.Error(err)
	}
	awaitName(t, "m", address.Address{}, a, c)
	b.appear(t)
	awaitName(t, "there", there.Address, nodes...)
	awaitName(t, "c", m.Address, nodes...)
	if n := b.Metrics().Registered; n != 0 {
		t.Errorf("the node that was given up for dead keeps %d names", n)
	}
	for _, n := range nodes {
		expectName(t, n.Server, "m", address.Address{})
	}
	c.leave(t)
	await(t, 15*time.Second, "the others have its names", func() bool { return a.Metrics().Registered+b.Metrics().Registered == 2 })
	awaitName(t, "c", m.Address, a, b)
	awaitName(t, "there", there.Address, a, b)
	closeBox(t, a.Server, m)
	closeBox(t, a.Server, there)
	awaitName(t, "c", address.Address{}, a, b)
	awaitName(t, "there", address.Address{}, a, b)
}

// TestNameOfTwo holds that of two nodes that have a name, which heard of each other too late, one keeps it.
func TestNameOfTwo(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2, Options{})
	a, b := nodes[0], nodes[1]
	if b.id() < a.id() {
		a, b = b, a
	}
	for name, same := range map[string]bool{"same": true, "different": false} {
		m := farMailbox(t, a, b)
		other := m
		if !same {
			other = farMailbox(t, b, a)
		}
		for n, to := range map[*testNode]address.Address{a: m.Address, b: other.Address} {
			r, err := n.readName(name, to.String())
			if err != nil {
				t.Fatal(err)
			}
			n.names.mu.Lock()
			n.names.put(r)
			n.names.mu.Unlock()
		}
		for _, n := range nodes {
			n.cluster.others()[0].tellNames()
		}
		await(t, 10*time.Second, "one has it", func() bool { return b.Metrics().Registered == 0 })
		awaitName(t, name, m.Address, a, b)
	}
	if n := a.Metrics().Registered; n != 2 {
		t.Errorf("the node that comes first keeps %d names, want both", n)
	}
}

// TestNamesGetThrough holds that what gets lost of what nodes say of names is said again.
func TestNamesGetThrough(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2, Options{})
	a, b := nodes[0], nodes[1]
	m := farMailbox(t, b, a)
	lose := func(n *testNode, frame ...byte) (lost func() bool) { // once
		var some atomic.Bool
		f := func(_ string, data []byte) bool {
			return data[0] == isPacket && bytes.Contains(data, frame) && some.CompareAndSwap(false, true)
		}
		n.mesh.lose.Store(&f)
		return some.Load
	}
	lost := lose(a, isNamed, 1, 'm')
	register(t, a.Server, "m", m.Address)
	await(t, 5*time.Second, "that is lost", lost)
	awaitName(t, "m", m.Address, a, b)
	id := grant(t, a.Server, m.Key.Reveal()).Mailbox()
	lost = lose(b, append([]byte{isNameless}, id[:]...)...)
	closeBox(t, b.Server, m)
	await(t, 5*time.Second, "that is lost", lost)
	awaitName(t, "m", address.Address{}, a, b)
	mine := open(t, a.Server)
	register(t, a.Server, "n", mine.Address)
	awaitName(t, "n", mine.Address, a, b)
	lost = lose(a, isUnnamed, 1, 'n')
	if err := a.Unregister("n", mine.Address); err != nil {
		t.Fatal(err)
	}
	await(t, 5*time.Second, "that is lost", lost)
	awaitName(t, "n", address.Address{}, a, b)

	register(t, a.Server, "o", mine.Address)
	awaitName(t, "o", mine.Address, a, b)
	a.names.mu.Lock()
	a.names.remove(a.names.own["o"])
	a.names.mu.Unlock()
	a.names.untold.Store(true) // as when it was not sure that the others have not inherited its names
	awaitName(t, "o", address.Address{}, a, b)
}
