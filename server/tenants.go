package server

import (
	"encoding/json"
	"fmt"
	"sync"

	"github.com/google/uuid"
)

// tenants are the clients whose mailboxes are counted, and the mailboxes of this node that are theirs.
type tenants struct {
	mu  sync.Mutex
	of  map[uuid.UUID]string
	has map[string]int // mailboxes, those that are about to be opened among them
}

// OpenFor is Open for a client that may have at most so many mailboxes at a time: the next one is refused with
// [ErrTooManyMailboxes]. Those count that were opened for it here since this server started, and that live here.
func (s *Server) OpenFor(client string, most int, config json.RawMessage) (Mailbox, error) {
	if err := s.tenants.enter(client, most); err != nil {
		return Mailbox{}, err
	}
	id, opened, err := s.open(config)
	if err != nil {
		s.tenants.exit(client)
		return opened, err
	}
	s.tenants.settle(id, client)
	if _, err := s.box(id); err != nil { // it has ended already, or another node has it
		s.tenants.leave(id)
	}
	return opened, nil
}

func (t *tenants) enter(client string, most int) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.has[client] >= most {
		return fmt.Errorf("%w: at most %d", ErrTooManyMailboxes, most)
	}
	if t.has == nil {
		t.has, t.of = make(map[string]int), make(map[uuid.UUID]string)
	}
	t.has[client]++
	return nil
}

func (t *tenants) settle(id uuid.UUID, client string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.of[id] = client
}

// leave forgets a mailbox that has ended, or left this node; once.
func (t *tenants) leave(id uuid.UUID) {
	t.mu.Lock()
	client, counted := t.of[id]
	delete(t.of, id)
	t.mu.Unlock()
	if counted {
		t.exit(client)
	}
}

func (t *tenants) exit(client string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.has[client]--; t.has[client] == 0 {
		delete(t.has, client)
	}
}
