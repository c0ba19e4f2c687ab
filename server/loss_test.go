package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/mailbox"
)

// TestLateAnswers: what a node was asked before it was given up has other numbers than what it is asked once it is back, or a late
// answer would be taken for another one: a reader would get the messages of somebody else's mailbox.
func TestLateAnswers(t *testing.T) {
	t.Parallel()
	a := startNode(t, startNATS(t), "a", Options{patience: usual})
	seen := make(map[uint64]bool)
	for range 2 {
		n := a.cluster.node("another")
		asked := n.ask(isClose, func(b []byte) []byte { return b })
		posted := n.post([16]byte{}, mailbox.Message{Body: []byte("1")}, mailbox.NameHash{}, time.Now())
		subscribed := make(chan error, 1)
		go func() { subscribed <- n.subscribe(Subscribing{}, &Subscription{reader: newReader()}) }()
		await(t, 5*time.Second, "it is asked for a mailbox", func() bool { return len(n.farSubscriptions()) == 1 })
		n.mu.Lock()
		numbers := append([]uint64{posted.posts.number}, keys(n.calls)...)
		numbers = append(numbers, keys(n.far)...)
		n.mu.Unlock()
		for _, number := range numbers {
			if seen[number] {
				t.Errorf("number %d is not new", number)
			}
			seen[number] = true
		}
		a.cluster.drop(n)
		<-subscribed
		if _, err := asked.wait(); !errors.Is(err, ErrUnavailable) {
			t.Errorf("what it was asked ends with %v", err)
		}
	}
	if len(seen) < 6 {
		t.Errorf("%d numbers", len(seen))
	}
}

func keys[V any](m map[uint64]V) (all []uint64) {
	for k := range m {
		all = append(all, k)
	}
	return all
}

// TestLossKeepsOrder: who sends through another node without waiting for answers, and sends again in order what was refused, finds its
// messages in order, though a packet got lost with the first of them only.
func TestLossKeepsOrder(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2, Options{patience: usual})
	a, b := nodes[0], nodes[1]
	m := farMailbox(t, b, a)
	send := func(name string) (posted Posted) {
		t.Helper()
		err := again(t, a.Server, func() (err error) {
			posted, err = a.Post(m.Address.String(), &Letter{Body: []byte(name), Name: name})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return posted
	}
	lost := make(chan struct{})
	a.mesh.lose.Store(packets(b.id(), func(n int64) bool {
		if n == 1 {
			close(lost)
		}
		return n == 1
	}))
	first := send("1")
	<-lost
	second := send("2")
	if _, err := first.Wait(); !errors.Is(err, ErrUnavailable) {
		t.Errorf("what got lost ends with %v", err)
	}
	second.Wait()
	for _, name := range []string{"1", "2"} {
		if err := again(t, a.Server, func() error { posted := send(name); _, err := posted.Wait(); return err }); err != nil {
			t.Fatal(err)
		}
	}
	sub, r := subscribeSoon(t, a.Server, m)
	defer func() { sub.Close() }()
	if got := strings.Join(collect(t, sub, r, 2), " "); got != "1 2" {
		t.Errorf("read %s, want 1 2", got)
	}
}

// TestReaderOfALateNode: a reader whose node was out of reach, and who went on at another one, does not end itself there once the old node
// is heard again.
func TestReaderOfALateNode(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 3, Options{patience: usual})
	a, b, c := nodes[0], nodes[1], nodes[2]
	m := farMailbox(t, b, a, c)
	hold := make(chan struct{})
	stuck := func(string, []byte) bool { <-hold; return false }
	a.mesh.lose.Store(&stuck)
	request, gone := context.WithCancel(ctx)
	how := Subscribing{Context: request, Hold: true}
	if _, err := a.Subscribe(grant(t, a.Server, m.Key.Reveal()), how, newReader()); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a reader at a node that reaches nobody: %v", err)
	}
	gone()
	await(t, 10*time.Second, "the node is given up", func() bool { return !b.cluster.knows(a.id()) })
	sub, r := subscribeSoon(t, c.Server, m)
	defer func() { sub.Close() }()
	close(hold)
	a.mesh.lose.Store(nil)
	mustPost(t, a.Server, m.Address, "1") // behind all that it had sent
	for got := ""; got == ""; got = read(sub) {
		select {
		case <-r.woken:
		case why := <-r.ended:
			t.Fatalf("the only reader was ended with %v", why)
		}
	}
}

// TestGivenUpDescribesNothing: a node that can store nothing does not say what is in a mailbox, which another node may have by now.
func TestGivenUpDescribesNothing(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2, Options{patience: usual})
	a, b := nodes[0], nodes[1]
	m := farMailbox(t, a, b)
	g := grant(t, a.Server, m.Key.Reveal())
	a.vanish(t)
	await(t, 15*time.Second, "the other owns all", func() bool { return len(b.member.owned()) == shardCount })
	if err := again(t, b.Server, func() error { return b.Close(g) }); err != nil {
		t.Fatal(err)
	}
	if got, err := a.Describe(g); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a mailbox that has ended: %v, %v, want ErrUnavailable", got.Cursor, err)
	}
	box, err := a.find(g.Mailbox())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := box.described(); !errors.Is(err, ErrUnavailable) {
		t.Errorf("what it tells other nodes of it: %v, want ErrUnavailable", err)
	}
}

// TestGapOfWhatIsNotStored: no gap counts messages whose places others may get, if they are lost with this process.
func TestGapOfWhatIsNotStored(t *testing.T) {
	d := startDurable(t, t.TempDir(), Options{Limits: mailbox.Limits{Backlog: 3, Overflow: mailbox.DropOldest}})
	m := open(t, d.Server)
	mustPost(t, d.Server, m.Address, "1", "2")
	reads, _ := subscribe(t, d.Server, m, Subscribing{Hold: true})
	gate := d.closeGate(t)
	var last Posted
	for i := 3; i <= 7; i++ {
		var err error
		if last, err = d.Post(m.Address.String(), &Letter{Body: []byte(fmt.Sprint(i))}); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(reads); got != "" {
		t.Errorf("read %s before that is stored", got)
	}
	reads.Close()
	sub, r := subscribe(t, d.Server, m, Subscribing{Hold: true})
	defer sub.Close()
	if sub.Gap != 2 {
		t.Errorf("a gap of %d, and 2 are stored", sub.Gap)
	}
	sub.Delivered(sub.Cursor().Seq + sub.Gap)
	if got := read(sub); got != "" {
		t.Errorf("read %s before that is stored", got)
	}
	close(gate)
	reader, err := last.Wait()
	if err != nil {
		t.Fatal(err)
	}
	reader.Wake()
	if got := strings.Join(collect(t, sub, r, 5), " "); got != "gap: 2 5 6 7" {
		t.Errorf("read %s, want a gap of 2, and the rest", got)
	}
}
