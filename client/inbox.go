package client

import "sync"

// inbox is what a peer read and the program has not taken: messages, and errors that are no end. It needs no bound,
// for what is not taken is not acknowledged, and so counts in the mailbox.
type inbox struct {
	ready chan struct{} // holds a token while there is something

	mu     sync.Mutex
	items  []item
	closed bool
}

type item struct {
	message Message
	err     error // then there is no message
}

func newInbox() *inbox { return &inbox{ready: make(chan struct{}, 1)} }

func (i *inbox) put(it item) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.closed {
		i.items = append(i.items, it)
		i.tell()
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
