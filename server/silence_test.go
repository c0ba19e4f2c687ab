package server

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/mailbox"
)

// silence has a node hear the others, which do not hear it, until they have given it up. What comes from the channel is each
// beat that told names, and got lost.
func (n *testNode) silence(t testing.TB, others ...*testNode) (telling chan beat) {
	telling = make(chan beat, 1000)
	all := func(_ string, data []byte) bool {
		var b beat
		if data[0] == isBeat && json.Unmarshal(data[1:], &b) == nil && b.Full {
			telling <- b
		}
		return true
	}
	n.mesh.lose.Store(&all)
	for _, other := range others {
		await(t, 10*time.Second, "the node is given up", func() bool { return !other.cluster.knows(n.id()) })
	}
	return telling
}

// TestSilentNode: what a node has that hears the others and is not heard is not taken for gone before it can be back.
func TestSilentNode(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2, Options{patience: usual})
	a, b := nodes[0], nodes[1]
	only := handle(t, b.Server, "only", HandlerFunc(nothing))
	handle(t, b.Server, "exported", HandlerFunc(nothing))
	if err := b.Export("exported"); err != nil {
		t.Fatal(err)
	}
	awaitName(t, "exported", mustProcess(t, a.Server, "exported"), a)
	if err := a.Register("registered", only); err != nil {
		t.Fatal(err)
	}
	watcher := open(t, a.Server)
	monitor := func() error {
		l := &Letter{Body: []byte("null"), Meta: mailbox.Meta{Kind: mailbox.KindMonitor, Ref: "m", Reply: replyAddress(t, watcher, "m")}}
		posted, err := a.Post(only.String(), l)
		if err == nil {
			_, err = posted.Wait()
		}
		return err
	}
	found := func(name string) bool { _, ok := a.Whereis(name); return ok }

	b.silence(t, a)
	if err := post(a.Server, only, "1"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a post: %v, want ErrUnavailable", err)
	}
	if err := monitor(); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a monitor: %v, want ErrUnavailable", err)
	}
	for _, name := range []string{"registered", "exported"} {
		if !found(name) {
			t.Errorf("%s is forgotten", name)
		}
	}
	telling := func(_ string, data []byte) bool {
		var b beat
		return data[0] == isBeat && json.Unmarshal(data[1:], &b) == nil && b.Telling > 0
	}
	b.mesh.lose.Store(&telling) // its processes are known before it tells them anew
	await(t, 5*time.Second, "the node is heard", func() bool { return a.cluster.knows(b.id()) })
	mustPost(t, a.Server, only, "2")
	if err := again(t, a.Server, monitor); err != nil {
		t.Errorf("a monitor, once the node is back: %v", err)
	}

	b.vanish(t)
	await(t, 10*time.Second, "its process is gone, and with it its names", func() bool {
		return errors.Is(post(a.Server, only, "3"), ErrGone) && !found("registered") && !found("exported")
	})
}

// TestGivenUp: a node that hears the others, and was given up by them, notices that, and tells all when it is heard again.
func TestGivenUp(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2, Options{patience: usual})
	a, b := nodes[0], nodes[1]
	m := farMailbox(t, a, b)
	_, r := subscribe(t, b.Server, m, Subscribing{})
	handle(t, b.Server, "old", HandlerFunc(nothing))
	awaitProcess(t, a, "old", 1)
	telling := b.silence(t, a)
	if why := expectOne(t, "the end of a reader that is told nothing any more", r.ended); !errors.Is(why, ErrMoved) {
		t.Errorf("the reader was ended with %v, want ErrMoved", why)
	}

	b.Release("old")
	handle(t, b.Server, "new", HandlerFunc(nothing))
	for told := false; !told; {
		told = slices.Contains(expectOne(t, "a beat that tells the new name", telling).Processes, "new")
	}
	expectOne(t, "the beat that comes now and then", telling) // the next one is far
	beats := make(chan beat, 1000)
	hear := func(from string, data []byte) bool {
		var heard beat
		if from == b.id() && data[0] == isBeat && json.Unmarshal(data[1:], &heard) == nil {
			beats <- heard
		}
		return false
	}
	a.mesh.deaf.Store(&hear)
	b.mesh.lose.Store(nil)
	for i := 0; !expectOne(t, "a beat", beats).Full; i++ {
		if i == 2 {
			t.Fatal("three beats, and none tells names")
		}
	}
	awaitProcess(t, a, "new", 1)
	awaitProcess(t, a, "old", 0)
}
