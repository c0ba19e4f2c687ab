package server

import (
	"encoding/binary"

	"github.com/google/uuid"
)

// boxes is the mailboxes of a shard; the zero value has none. A hash table with linear probing finds them. Ids are random, so
// that a part of each serves as its hash, and the whole is left to its mailbox. Against a map of places, opening a
// mailbox takes 0.8 of the time. The table has no pointers: the garbage collector need not read it, and comes by the mailboxes
// in the order in which they were opened.
type boxes struct {
	list  []*box
	slots []slot // a power of two, of which at most three quarters are taken
}

// slot has the hash of a mailbox's id in its upper half, and in the lower one its place in the list plus 1; it is 0 if it is free.
type slot uint64

// fewestSlots is how many a shard with mailboxes has.
const fewestSlots = 8

func slotFor(id uuid.UUID, place int) slot {
	return slot(binary.LittleEndian.Uint32(id[:]))<<32 | slot(place+1)
}

func (s slot) hash() uint32 { return uint32(s >> 32) }
func (s slot) place() int   { return int(uint32(s)) - 1 }

// next is the slot that is looked at after slot i.
func (bs *boxes) next(i int) int { return (i + 1) & (len(bs.slots) - 1) }

// home is the slot that is looked at first.
func (bs *boxes) home(hash uint32) int { return int(hash) & (len(bs.slots) - 1) }

// get returns nil if it is not there.
func (bs *boxes) get(id uuid.UUID) *box {
	if i := bs.find(id); i >= 0 {
		return bs.list[bs.slots[i].place()]
	}
	return nil
}

// find returns the slot of a mailbox, -1 if it is not there.
func (bs *boxes) find(id uuid.UUID) int {
	if len(bs.list) == 0 {
		return -1
	}
	hash := slotFor(id, 0).hash()
	for i := bs.home(hash); bs.slots[i] != 0; i = bs.next(i) {
		if s := bs.slots[i]; s.hash() == hash && bs.list[s.place()].id == id {
			return i
		}
	}
	return -1
}

// add is for a mailbox that is not there yet.
func (bs *boxes) add(b *box) {
	if len(bs.list) >= len(bs.slots)/4*3 {
		bs.grow()
	}
	bs.put(slotFor(b.id, len(bs.list)))
	bs.list = append(bs.list, b)
}

func (bs *boxes) put(s slot) {
	i := bs.home(s.hash())
	for bs.slots[i] != 0 {
		i = bs.next(i)
	}
	bs.slots[i] = s
}

func (bs *boxes) grow() {
	before := bs.slots
	bs.slots = make([]slot, max(fewestSlots, 2*len(before)))
	for _, s := range before {
		if s != 0 {
			bs.put(s)
		}
	}
}

// remove gives its place to the newest. If it is not there, that changes nothing.
func (bs *boxes) remove(id uuid.UUID) {
	i := bs.find(id)
	if i < 0 {
		return
	}
	place, end := bs.slots[i].place(), len(bs.list)-1
	last := bs.list[end]
	bs.slots[bs.find(last.id)] = slotFor(last.id, place)
	bs.free(i)
	bs.list[place], bs.list[end] = last, nil
	bs.list = bs.list[:end]
}

// free empties a slot, and moves those behind it that would not be found any more (Knuth, The Art of Computer Programming,
// volume 3, 6.4, algorithm R).
func (bs *boxes) free(hole int) {
	for i := bs.next(hole); bs.slots[i] != 0; i = bs.next(i) {
		mask := len(bs.slots) - 1
		fromHome, fromHole := (i-bs.home(bs.slots[i].hash()))&mask, (i-hole)&mask
		if fromHome >= fromHole {
			bs.slots[hole], hole = bs.slots[i], i
		}
	}
	bs.slots[hole] = 0
}
