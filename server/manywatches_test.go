package server

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/mailbox"
)

// TestManyWatches: another node is told of more watches than the way to it has room for as fast as it takes them, and what
// else it is sent does not wait for all of them.
func TestManyWatches(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2, Options{})
	a, b := nodes[0], nodes[1]
	const names = 30
	reply := strings.Repeat("x", 500)
	b.watchers.mu.Lock()
	b.watchers.byName = make(map[string][]mailbox.Watch)
	for i := range names {
		var all []mailbox.Watch
		for j := range maxProcessWatches {
			all = append(all, mailbox.Watch{Ref: fmt.Sprint(j), Reply: reply})
		}
		b.watchers.byName[fmt.Sprint("order/", i)] = all
	}
	b.watchers.count = names * maxProcessWatches
	b.watchers.mu.Unlock()
	known := func() (count int) {
		a.watchers.mu.Lock()
		defer a.watchers.mu.Unlock()
		for _, all := range a.watchers.far[b.id()] {
			count += len(all)
		}
		return count
	}

	most := 0
	toA := b.cluster.node(a.id())
	slow := func(to string, data []byte) bool {
		if to == a.id() && len(data) > 1000 {
			time.Sleep(20 * time.Millisecond)
			toA.mu.Lock()
			defer toA.mu.Unlock()
			most = max(most, toA.waiting)
		}
		return false
	}
	b.mesh.lose.Store(&slow)
	reset := func() { a.cluster.node(b.id()).send(func(b []byte) []byte { return append(b, isReset) }) }
	reset()
	await(t, 10*time.Second, "some are known", func() bool { return known() > 0 })
	reset()
	ask(t, b.Server, mailbox.KindMonitor, "m", farMailbox(t, a, b), handle(t, b.Server, "new", HandlerFunc(nothing)))
	if known() > names*maxProcessWatches {
		t.Error("a new watch waited for those that there were")
	}
	await(t, 30*time.Second, "all are known", func() bool { return known() == names*maxProcessWatches+1 })
	if lost := a.counters.packetsLost.Load(); lost > 0 {
		t.Errorf("%d packets were lost", lost)
	}
	toA.mu.Lock()
	defer toA.mu.Unlock()
	if limit := 2 * watchesAtOnce * 2 * len(reply); most > limit {
		t.Errorf("%d bytes waited to be sent at a time, want at most %d", most, limit)
	}
}
