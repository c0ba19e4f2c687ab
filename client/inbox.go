package client

import (
	"errors"
	"sync"
)

// inbox is what a peer read and the program has not taken: messages, and errors that are no end. Most of the time its
// mailbox bounds it, where what is not taken is not acknowledged. But there it may be dropped for newer ones, or expire, and
// make room for more: so it has the same bound, beyond which the oldest go and leave a gap.
type inbox struct {
	ready chan struct{} // holds a token while there is something

	mu     sync.Mutex
	items  []item
	count  int // of messages among them
	bytes  int // of their bodies
	closed bool
}

type item struct {
	message Message
	err     error // then there is no message
}

func newInbox() *inbox { return &inbox{ready: make(chan struct{}, 1)} }

// put adds an item; the bound is that of the mailbox.
func (i *inbox) put(it item, bound limits) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return
	}
	i.items = append(i.items, it)
	i.counts(&it, 1)
	for bound.Backlog > 0 && i.count > bound.Backlog || bound.BacklogBytes > 0 && i.bytes > bound.BacklogBytes && i.count > 1 {
		i.drop()
	}
	i.tell()
}

// counts counts an item in, or out.
func (i *inbox) counts(it *item, sign int) {
	if it.err == nil {
		i.count += sign
		i.bytes += sign * len(it.message.Body)
	}
}

// drop has the oldest message leave a gap, which takes up those before it.
func (i *inbox) drop() {
	missing, known := uint64(1), true
	for n := range i.items {
		it := &i.items[n]
		var gap *GapError
		if errors.As(it.err, &gap) {
			missing, known = missing+gap.Missing, known && gap.Missing > 0
			continue
		}
		it.message.receipt.take()
		i.counts(it, -1)
		if !known {
			missing = 0
		}
		*it = item{err: &GapError{missing}}
		i.items = i.items[n:]
		return
	}
}

// close leaves what is here to whoever reads the mailbox next.
func (i *inbox) close() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.items, i.closed = nil, true
}

// take returns the oldest, if there is one, and notes that the program has it: all at once, or it could be here no more and
// not be noted when the inbox closes.
func (i *inbox) take() (item, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.items) == 0 {
		return item{}, false
	}
	it := i.items[0]
	it.message.receipt.take()
	i.counts(&it, -1)
	i.items[0] = item{}
	if i.items = i.items[1:]; len(i.items) > 0 {
		i.tell() // another goroutine may wait
	}
	return it, true
}

func (i *inbox) tell() {
	select {
	case i.ready <- struct{}{}:
	default:
	}
}
