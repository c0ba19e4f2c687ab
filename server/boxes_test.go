package server

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/uuid"
)

// TestBoxes adds, finds and removes at random, beside a map.
func TestBoxes(t *testing.T) {
	var bs boxes
	want := make(map[uuid.UUID]*box)
	known := make([]uuid.UUID, 0, 1000)
	for range 10_000 {
		switch {
		case len(known) == 0 || rand.IntN(100) < 51:
			b := &box{id: uuid.New()}
			bs.add(b)
			want[b.id] = b
			known = append(known, b.id)
		default:
			id := known[rand.IntN(len(known))] // it may be gone already
			bs.remove(id)
			delete(want, id)
		}
		id := uuid.New()
		if len(known) > 0 {
			id = known[rand.IntN(len(known))]
		}
		if got := bs.get(id); got != want[id] {
			t.Fatalf("get(%v) = %p, want %p", id, got, want[id])
		}
	}
	if len(bs.list) != len(want) || len(bs.at) != len(want) {
		t.Fatalf("%d in the list, %d in the map, want %d", len(bs.list), len(bs.at), len(want))
	}
	for _, b := range bs.list {
		if want[b.id] != b {
			t.Errorf("%v is there, want it removed", b.id)
		}
	}
	for _, id := range slices.Collect(maps.Keys(want)) {
		bs.remove(id)
	}
	if len(bs.list) != 0 || len(bs.at) != 0 {
		t.Errorf("%d in the list, %d in the map, want none", len(bs.list), len(bs.at))
	}
	for _, b := range bs.list[:cap(bs.list)] {
		if b != nil {
			t.Fatal("a removed mailbox can't be collected")
		}
	}
}
