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
	if n := slotsTaken(&bs); len(bs.list) != len(want) || n != len(want) {
		t.Fatalf("%d in the list, %d slots are taken, want %d", len(bs.list), n, len(want))
	}
	for _, b := range bs.list {
		if want[b.id] != b {
			t.Errorf("%v is there, want it removed", b.id)
		}
	}
	for _, id := range slices.Collect(maps.Keys(want)) {
		bs.remove(id)
	}
	if n := slotsTaken(&bs); len(bs.list) != 0 || n != 0 {
		t.Errorf("%d in the list, %d slots are taken, want none", len(bs.list), n)
	}
	for _, b := range bs.list[:cap(bs.list)] {
		if b != nil {
			t.Fatal("a removed mailbox can't be collected")
		}
	}
}

// TestBoxesGrow looks, at each size, for what is not there: that ends at a free slot.
func TestBoxesGrow(t *testing.T) {
	var bs boxes
	for n := range 1000 {
		if bs.get(uuid.New()) != nil || 4*n > 3*len(bs.slots) {
			t.Fatalf("%d mailboxes in %d slots", n, len(bs.slots))
		}
		bs.add(&box{id: uuid.New()})
	}
}

func slotsTaken(bs *boxes) (n int) {
	for _, s := range bs.slots {
		if s != 0 {
			n++
		}
	}
	return n
}
