package server

import "github.com/google/uuid"

// boxes is the mailboxes of a shard; the zero value has none. Its map has places in the list instead of pointers: the
// garbage collector need not read it, and comes by the mailboxes in the order in which they were opened.
type boxes struct {
	at   map[uuid.UUID]uint32
	list []*box
}

// get returns nil if it is not there.
func (bs *boxes) get(id uuid.UUID) *box {
	i, ok := bs.at[id]
	if !ok {
		return nil
	}
	return bs.list[i]
}

// add is for a mailbox that is not there yet.
func (bs *boxes) add(b *box) {
	if bs.at == nil {
		bs.at = make(map[uuid.UUID]uint32)
	}
	bs.at[b.id] = uint32(len(bs.list))
	bs.list = append(bs.list, b)
}

// remove gives its place to the newest. If it is not there, that changes nothing.
func (bs *boxes) remove(id uuid.UUID) {
	i, ok := bs.at[id]
	if !ok {
		return
	}
	end := len(bs.list) - 1
	last := bs.list[end]
	bs.list[i], bs.list[end] = last, nil
	bs.at[last.id] = i
	bs.list = bs.list[:end]
	delete(bs.at, id)
}
