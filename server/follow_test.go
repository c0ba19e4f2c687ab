package server

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
)

// TestFollowsGoOn holds that who watches a process of a server that ends is told, be it by the next one; unless that has
// the process, too, which is watched from then on.
func TestFollowsGoOn(t *testing.T) {
	for how, end := range endings {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := startDurable(t, dir, forgetful)
			mayLink := func(name string) address.Address {
				handle(t, s.Server, name, HandlerFunc(nothing))
				to, err := s.keys.ProcessFor(name, address.Monitor|address.Link|address.Exit)
				if err != nil {
					t.Fatal(err)
				}
				return to
			}
			back, lost := mayLink("back"), mayLink("lost")
			ofBack, ofLost, ofLink := open(t, s.Server), open(t, s.Server), open(t, s.Server)
			ask(t, s.Server, mailbox.KindMonitor, "m", ofBack, back)
			ask(t, s.Server, mailbox.KindMonitor, "late", ofBack, back)
			ask(t, s.Server, mailbox.KindMonitor, "a", ofLost, lost) // it would be told before the other
			ask(t, s.Server, mailbox.KindMonitor, "m", ofLost, lost)
			ask(t, s.Server, mailbox.KindMonitor, "m", ofLost, lost)
			ask(t, s.Server, mailbox.KindDemonitor, "a", ofLost, lost)
			ask(t, s.Server, mailbox.KindLink, "l", ofLink, lost)
			session, _ := serveSession(t, s.Server, "session", false)
			ofSession := open(t, s.Server)
			if _, err := s.Call(ctx, session, ofSession.Address); err != nil { // the session links to the mailbox
				t.Fatal(err)
			}

			ofKey := open(t, s.Server)
			var n notes
			if err := s.Keyed("order", orders(&n), KeyedOptions{}); err != nil {
				t.Fatal(err)
			}
			ask(t, s.Server, mailbox.KindMonitor, "m", ofKey, keyedAddress(t, s.Server, "order", "1")) // which sleeps

			end(t, s)
			began := time.Now()
			s = startDurable(t, dir, forgetful)
			handle(t, s.Server, "back", HandlerFunc(nothing))
			if err := s.Keyed("order", orders(&n), KeyedOptions{}); err != nil {
				t.Fatal(err)
			}
			ask(t, s.Server, mailbox.KindDemonitor, "late", ofBack, back)
			crashed := how == "crash" || how == "snapshot, crash"
			reason := "normal"
			if crashed {
				reason = "node-lost"
			}
			expectTold(t, s.Server, ofLost, fmt.Sprintf(`down m {"reason":%q}`, reason))
			if took := time.Since(began); crashed && took < followsAfter-time.Second {
				t.Errorf("told %v after the start, before programs have begun their processes", took)
			}
			expectTold(t, s.Server, ofKey, fmt.Sprintf(`down m {"reason":%q}`, reason))
			expectTold(t, s.Server, ofLink, fmt.Sprintf(`exited l {"reason":%q}`, reason))
			expectExited(t, s.Server, ofSession, reason)
			awaitUnwatched(t, ofLink, s.Server) // or its end would end what has the process's name next
			awaitUnwatched(t, ofSession, s.Server)
			if !crashed {
				expectTold(t, s.Server, ofBack, `down m {"reason":"normal"}`, `down late {"reason":"normal"}`)
				return
			}
			await(t, 10*time.Second, "the process is watched again", func() bool { return len(s.watchers.names()) == 1 })
			ask(t, s.Server, mailbox.KindExit, "", ofBack, back)
			expectTold(t, s.Server, ofBack, `down m {"reason":"exit","detail":null}`)
			for what, m := range map[string]Mailbox{"one told of an end": ofBack, "one told of a loss": ofLost, "one that was linked": ofLink} {
				if left := follows(t, s.Server, m); len(left) > 0 {
					t.Errorf("%s follows %v", what, left)
				}
			}
		})
	}
}

func follows(t testing.TB, s *Server, m Mailbox) []mailbox.Follow {
	t.Helper()
	b, err := s.box(grant(t, s, m.Key.Reveal()).Mailbox())
	if err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mail.Following(time.Now())
}

// awaitUnwatched waits until a mailbox's end ends nothing, and is told to nobody. One of the servers has it, not always the same.
func awaitUnwatched(t testing.TB, m Mailbox, servers ...*Server) {
	t.Helper()
	id := grant(t, servers[0], m.Key.Reveal()).Mailbox()
	await(t, 5*time.Second, "nothing watches the mailbox", func() bool {
		return slices.ContainsFunc(servers, func(s *Server) bool {
			b, err := s.box(id)
			if err != nil {
				return false
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			return len(b.mail.Watches()) == 0
		})
	})
}

// expectExited waits for one message of kind exited, whatever its ref.
func expectExited(t testing.TB, s *Server, m Mailbox, reason string) {
	t.Helper()
	sub, r := subscribe(t, s, m, Subscribing{Hold: true})
	defer sub.Close()
	want := fmt.Sprintf(`exited {"reason":%q}`, reason)
	for got := ""; got == ""; {
		sub.Read(func(m *mailbox.Message, err error) bool {
			got = fmt.Sprintf("%v %s", m.Meta.Kind, m.Body)
			return false
		})
		switch got {
		case want:
		case "":
			expectOne(t, want, r.woken)
		default:
			t.Errorf("told %s, want %s", got, want)
		}
	}
}

// TestAllNodesLost: who watches a process of nodes that all died at once is told by those that come after them.
func TestAllNodesLost(t *testing.T) {
	t.Parallel()
	url := startNATS(t)
	a, b := startNode(t, url, "a", forgetful), startNode(t, url, "b", forgetful)
	awaitShare(t, a, b)
	only := handle(t, b.Server, "only", HandlerFunc(nothing))
	awaitProcess(t, a, "only", 1)
	watcher := farMailbox(t, a, b)
	ask(t, b.Server, mailbox.KindMonitor, "m", watcher, only) // b lets a store it
	ask(t, b.Server, mailbox.KindMonitor, "back", watcher, only)
	ask(t, b.Server, mailbox.KindDemonitor, "back", watcher, only)
	a.vanish(t)
	b.vanish(t)
	c := startNode(t, url, "c", forgetful)
	awaitShare(t, c)
	expectTold(t, c.Server, watcher, `down m {"reason":"node-lost"}`)
}

// TestFollowsAreToldAgain: who has no room for that is told once it has, be it much later.
func TestFollowsAreToldAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := Options{Limits: mailbox.Limits{Backlog: 1}}
	s := startDurable(t, dir, o)
	watcher := open(t, s.Server)
	ask(t, s.Server, mailbox.KindMonitor, "m", watcher, handle(t, s.Server, "lost", HandlerFunc(nothing)))
	mustPost(t, s.Server, watcher.Address, "1")
	s.crash(t)
	s = startDurable(t, dir, o)
	for _, running := range []bool{true, false} { // it is tried, and given up
		await(t, followsAfter+tellPatience+10*time.Second, "telling", func() bool {
			s.notices.mu.Lock()
			defer s.notices.mu.Unlock()
			return s.notices.running == running
		})
	}
	if err := s.Ack(grant(t, s.Server, watcher.Key.Reveal()), mailbox.Cursor{Epoch: watcher.Cursor.Epoch, Seq: 1}); err != nil {
		t.Fatal(err)
	}
	expectTold(t, s.Server, watcher, `down m {"reason":"node-lost"}`)
	await(t, 5*time.Second, "it follows nothing", func() bool { return len(follows(t, s.Server, watcher)) == 0 })
}

// TestSleepersEndWithTheirNode: a keyed process of a node that leaves ends there, also if it sleeps.
func TestSleepersEndWithTheirNode(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2, forgetful)
	a, b := nodes[0], nodes[1]
	var ended notes
	for _, n := range nodes {
		if err := n.Keyed("order", orders(&ended), KeyedOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	watcher := farMailbox(t, a, b)
	ask(t, a.Server, mailbox.KindMonitor, "m", watcher, keyedAddress(t, b.Server, "order", keyOf(b)))
	b.leave(t)
	expectTold(t, a.Server, watcher, `down m {"reason":"normal"}`)
}

// keyOf returns a key of whose process that node has the place.
func keyOf(n *testNode) string {
	key := 0
	for !n.shards[shardOfName(fmt.Sprint("order/", key))].isOwned() {
		key++
	}
	return fmt.Sprint(key)
}

// TestFollowsMove: that the mailbox goes to another node is no end of what it watches.
func TestFollowsMove(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 3, forgetful)
	a, b, c := nodes[0], nodes[1], nodes[2]
	var ended notes
	for _, n := range nodes {
		if err := n.Keyed("order", orders(&ended), KeyedOptions{}); err != nil { // one that no other can be in place of
			t.Fatal(err)
		}
	}
	order := keyedAddress(t, a.Server, "order", keyOf(a))
	watcher := farMailbox(t, b, a, c)
	ask(t, c.Server, mailbox.KindMonitor, "m", watcher, order)
	b.vanish(t)
	await(t, 20*time.Second, "another node has the mailbox", func() bool {
		id := grant(t, a.Server, watcher.Key.Reveal()).Mailbox()
		_, atA := a.box(id)
		_, atC := c.box(id)
		return atA == nil || atC == nil
	})
	began := time.Now()
	await(t, 20*time.Second, "it would be inherited by now", func() bool { return time.Since(began) > followsAfter+2*followsEvery })
	a.Release("order")
	expectTold(t, a.Server, watcher, `down m {"reason":"normal"}`)
}

// TestFollowsAreTakenUp: a watch whose way to the node that has the process again got lost goes there once more.
func TestFollowsAreTakenUp(t *testing.T) {
	t.Parallel()
	url := startNATS(t)
	a := startNode(t, url, "a", forgetful)
	awaitShare(t, a)
	shared := handle(t, a.Server, "shared", HandlerFunc(nothing))
	watchers := make(map[uint8]Mailbox) // of so many shards that some will be of either node
	for len(watchers) < 20 {
		m := open(t, a.Server)
		watchers[shardOf(grant(t, a.Server, m.Key.Reveal()).Mailbox())] = m
	}
	for _, w := range watchers {
		ask(t, a.Server, mailbox.KindMonitor, "m", w, shared)
	}
	a.vanish(t)
	b, c := startNode(t, url, "b", forgetful), startNode(t, url, "c", forgetful)
	handle(t, c.Server, "shared", HandlerFunc(nothing))
	var lost atomic.Bool
	lose := func(to string, data []byte) bool {
		return to == c.id() && data[0] == isPacket && bytes.Contains(data, []byte("shared")) && !lost.Swap(true)
	}
	b.mesh.lose.Store(&lose)
	awaitShare(t, b, c)
	await(t, 30*time.Second, "the process is watched", func() bool {
		c.watchers.mu.Lock()
		defer c.watchers.mu.Unlock()
		return len(c.watchers.byName["shared"]) == len(watchers)
	})
	if !lost.Load() {
		t.Error("nothing got lost")
	}
	c.Release("shared")
	for _, w := range watchers {
		expectTold(t, b.Server, w, `down m {"reason":"normal"}`)
	}
}

// crowd has a mailbox watch a process as often as can be.
func (d *durable) crowd(t testing.TB, name string, watcher Mailbox) {
	t.Helper()
	for i := range maxProcessWatches {
		one := mailbox.Watch{Ref: fmt.Sprint(i), Reply: replyAddress(t, watcher, fmt.Sprint(i))}
		if _, err := d.watchProcess(name, &one, false); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFollowsThatAreRefused: who can't be watched again is lost to who watched it.
func TestFollowsThatAreRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := startDurable(t, dir, Options{})
	watcher := open(t, s.Server)
	ask(t, s.Server, mailbox.KindMonitor, "m", watcher, handle(t, s.Server, "crowded", HandlerFunc(nothing)))
	s.crash(t)
	s = startDurable(t, dir, Options{})
	handle(t, s.Server, "crowded", HandlerFunc(nothing))
	s.crowd(t, "crowded", open(t, s.Server))
	expectTold(t, s.Server, watcher, `down m {"reason":"node-lost"}`)
}

// TestFollowIsTakenBack: what could not be watched is not followed, nor what is told already; and what can't be followed is
// watched.
func TestFollowIsTakenBack(t *testing.T) {
	t.Parallel()
	s := startDurable(t, t.TempDir(), Options{})
	to := handle(t, s.Server, "crowded", HandlerFunc(nothing))
	crowd, watcher := open(t, s.Server), open(t, s.Server)
	s.crowd(t, "crowded", crowd)
	l := &Letter{Body: []byte("null"), Meta: mailbox.Meta{Kind: mailbox.KindMonitor, Ref: "m", Reply: replyAddress(t, watcher, "m")}}
	if _, err := s.Post(to.String(), l); !errors.Is(err, mailbox.ErrWatched) {
		t.Errorf("Post = %v, want ErrWatched", err)
	}
	for range 2 {
		ask(t, s.Server, mailbox.KindMonitor, "gone", watcher, mustProcess(t, s.Server, "gone"))
		expectTold(t, s.Server, watcher, `down gone {"reason":"gone"}`)
		if left := follows(t, s.Server, watcher); len(left) > 0 {
			t.Errorf("it follows %v", left)
		}
	}
	closeBox(t, s.Server, crowd)
	b, err := s.box(grant(t, s.Server, watcher.Key.Reveal()).Mailbox())
	if err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	for i := range 10_000 {
		b.mail.Follow(mailbox.Follow{Watch: mailbox.Watch{Ref: fmt.Sprint(i)}}, time.Now())
	}
	b.mu.Unlock()
	ask(t, s.Server, mailbox.KindMonitor, "m", watcher, to)
	s.watchers.mu.Lock()
	if got := len(s.watchers.byName["crowded"]); got != 1 {
		t.Errorf("it has %d watches, want 1", got)
	}
	s.watchers.mu.Unlock()
	closeBox(t, s.Server, watcher)
	if _, err := s.Post(to.String(), l); err != nil {
		t.Errorf("a monitor of a mailbox that is gone: %v", err)
	}
}

// TestBigSnapshotsAreRare: one that is longer than what would be due for the next is none, in a cluster neither. Watches are
// in it, too.
func TestBigSnapshotsAreRare(t *testing.T) {
	for name, start := range map[string]func(testing.TB) *Server{
		"alone":     func(t testing.TB) *Server { return startDurable(t, t.TempDir(), Options{Snapshot: 1}).Server },
		"a cluster": func(t testing.TB) *Server { return startNodes(t, 1, Options{Snapshot: 1})[0].Server },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			crowd, watched := open(t, s), handle(t, s, "watched", HandlerFunc(nothing))
			for i := range 100 {
				ask(t, s, mailbox.KindMonitor, fmt.Sprint(i), crowd, watched)
			}
			await(t, 10*time.Second, "a snapshot with the watches", func() bool { return s.Metrics().Log.SnapshotSize > 100*100 })
			before := s.Metrics().Log.Snapshots
			began := time.Now()
			await(t, 10*time.Second, "it would be written again by now", func() bool { return time.Since(began) > 4*snapshotCheck })
			if got := s.Metrics().Log.Snapshots; got > before+1 { // one may be under way
				t.Errorf("%d more were written, and nothing was to be said", got-before)
			}
		})
	}
}
