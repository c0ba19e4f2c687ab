package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/address"
)

// TestManyNames: a node with more names than one message of the mesh can carry is heard, and all of its names are known.
func TestManyNames(t *testing.T) {
	t.Parallel()
	nodes := startNodes(t, 2, Options{})
	a, b := nodes[0], nodes[1]
	pad := strings.Repeat("x", address.MaxName-len("session/00000"))
	const many = 9000 // 1.2 MB
	name := func(i int) string { return fmt.Sprintf("session/%s%05d", pad, i) }
	for i := range many {
		handle(t, b.Server, name(i), HandlerFunc(nothing))
	}
	if err := b.Export(name(many - 1)); err != nil {
		t.Fatal(err)
	}
	known := func() int { return len(a.cluster.routes.Load().processes) }
	await(t, 10*time.Second, "all names are known", func() bool { return known() == many+1 }) // with who waits for replies
	awaitName(t, name(many-1), mustProcess(t, a.Server, name(many-1)), a)
	for _, i := range []int{0, many / 2, many - 1} {
		mustPost(t, a.Server, mustProcess(t, a.Server, name(i)), "1")
	}

	// where some of the beats that tell them get lost, what was known before is: the others are no whole
	var lost atomic.Int64
	lose := func(_ string, data []byte) bool {
		var b beat
		if data[0] != isBeat || json.Unmarshal(data[1:], &b) != nil || b.Telling == 0 {
			return false
		}
		lone := b.Telling%2 == 0 // the first one of one telling comes before the rest of the next
		if lone == (b.Piece == 0) {
			return false
		}
		lost.Add(1)
		return true
	}
	b.mesh.lose.Store(&lose)
	handle(t, b.Server, "new", HandlerFunc(nothing)) // in the first beat
	for range 4 {
		b.cluster.sendBeat(true, false)
	}
	mustPost(t, a.Server, mustProcess(t, a.Server, name(0)), "1") // whose answer comes after them
	if lost.Load() < 4 {
		t.Fatal("nothing got lost: all names are in one beat")
	}
	if n := known(); n != many+1 {
		t.Errorf("%d names are known after some of %d got lost", n, many+2)
	}
	b.mesh.lose.Store(nil)
	awaitProcess(t, a, "new", 1)
	if n := known(); n != many+2 {
		t.Errorf("%d names are known, want %d", n, many+2)
	}
	if !a.cluster.knows(b.id()) {
		t.Error("the node was given up")
	}
}

// TestUnheard: that a node can't say that it lives is in its log, once, and what it could not say it says as soon as it can.
func TestUnheard(t *testing.T) {
	t.Parallel()
	var l logged
	url := startNATS(t)
	a, b := startNode(t, url, "a", Options{}), startNode(t, url, "b", Options{Logger: l.logger()})
	awaitShare(t, a, b)
	warnings := func() int { return strings.Count(l.String(), "can't be told that this one lives") }
	mute := errors.New("too long")
	for round := range 2 {
		b.mesh.mute.Store(&mute)
		name := fmt.Sprint("new", round)
		handle(t, b.Server, name, HandlerFunc(nothing))
		tried := b.mesh.refused.Load()
		await(t, 5*time.Second, "it is tried", func() bool { return b.mesh.refused.Load() >= tried+3 })
		beats := make(chan beat, 100)
		watch := func(_ string, data []byte) bool {
			var b beat
			if data[0] == isBeat && json.Unmarshal(data[1:], &b) == nil {
				beats <- b
			}
			return false
		}
		b.mesh.lose.Store(&watch)
		b.mesh.mute.Store(nil)
		if first := expectOne(t, "a beat", beats); !slices.Contains(first.Processes, name) {
			t.Errorf("the first beat that got through tells of %q, not of %s", first.Processes, name)
		}
		b.mesh.lose.Store(nil)
		awaitProcess(t, a, name, 1)
		if n := warnings(); n != round+1 {
			t.Errorf("%d warnings, want %d", n, round+1)
		}
	}
}
