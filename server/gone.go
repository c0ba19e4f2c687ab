package server

import (
	"maps"
	"sync"

	"github.com/google/uuid"
)

// gone remembers why the latest mailboxes ended, so that senders are told. Older ones are only "gone".
type gone struct {
	mu             sync.Mutex
	recent, before map[uuid.UUID]error
}

// remembered is how many mailboxes each of the two maps holds.
const remembered = 50_000

func (g *gone) add(id uuid.UUID, why error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.recent == nil || len(g.recent) >= remembered {
		g.recent, g.before = make(map[uuid.UUID]error), g.recent
	}
	g.recent[id] = why
}

func (g *gone) why(id uuid.UUID) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err, ok := g.recent[id]; ok {
		return err
	}
	if err, ok := g.before[id]; ok {
		return err
	}
	return ErrGone
}

// each calls f with all that is remembered, what ended longer ago first.
func (g *gone) each(f func(id uuid.UUID, why error)) {
	g.mu.Lock()
	older, newer := maps.Clone(g.before), maps.Clone(g.recent)
	g.mu.Unlock()
	for _, ended := range []map[uuid.UUID]error{older, newer} {
		for id, why := range ended {
			f(id, why)
		}
	}
}
