package client

// ledger holds which of the messages that were read the program has taken. It lets a peer read on, so that replies
// do not wait behind messages that nobody takes yet, and acknowledge only what was taken: the mailbox at the
// server then counts the others, and its limits bound what waits in the peer's memory too.
//
// It belongs to a mailbox and is guarded by its mutex.
type ledger struct {
	read   []*receipt // in the order of the mailbox; the first is not taken
	cursor string     // everything up to it was taken; empty: nothing yet
	look   func()     // has the acknowledgements looked at
}

// receipt is one message that was read.
type receipt struct {
	box    *Mailbox
	cursor string
	bytes  int
	taken  bool
}

// enter notes a message that is about to be handed to the peer; nil if the mailbox keeps no ledger.
func (m *Mailbox) enter(cursor string, bytes int) *receipt {
	if m.ledger == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	r := &receipt{box: m, cursor: cursor, bytes: bytes}
	m.ledger.read = append(m.ledger.read, r)
	return r
}

// take notes that the program has the message. Taking it again changes nothing.
func (r *receipt) take() {
	if r == nil {
		return
	}
	m := r.box
	m.mu.Lock()
	r.taken = true
	l := m.ledger
	for len(l.read) > 0 && l.read[0].taken {
		first := l.read[0]
		l.read[0], l.read = nil, l.read[1:]
		l.cursor = first.cursor
		m.unacked.count++
		m.unacked.bytes += first.bytes
	}
	look := l.look
	m.mu.Unlock()
	if look != nil {
		look()
	}
}

// done is the cursor up to which everything was handled, and may be acknowledged. The caller holds mu.
func (m *Mailbox) done() string {
	if m.ledger != nil {
		return m.ledger.cursor
	}
	return m.cursor
}

// looks sets what a ledger tells that more was taken.
func (m *Mailbox) looks(look func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ledger != nil {
		m.ledger.look = look
	}
}
