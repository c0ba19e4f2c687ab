package server

import (
	"maps"
	"slices"
	"sync"

	"github.com/google/uuid"

	"github.com/genbrowser/genbrowser/mailbox"
)

// untold is what is to be told of mailboxes that end, until it is: a snapshot must say it, which forgets them. It is
// about those that a log has.
type untold struct {
	mu sync.Mutex
	of map[uuid.UUID]*[]telling
}

func (u *untold) add(id uuid.UUID, all []telling) {
	if len(all) == 0 {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.of == nil {
		u.of = make(map[uuid.UUID]*[]telling)
	}
	all = slices.Clone(all)
	u.of[id] = &all
}

// settle forgets what was told, or never will be, and stores that it was. A snapshot says it before that, or not at all.
// What was added since, by who read of that end in the log, it leaves to them.
func (u *untold) settle(id uuid.UUID, ends *[]telling, told bool, j *journal) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.of[id] == ends {
		delete(u.of, id)
	}
	if told && j != nil {
		j.add(&mailbox.Record{Type: mailbox.Told, Mailbox: id})
	}
}

func (u *untold) now(id uuid.UUID) *[]telling {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.of[id]
}

// forget is for an end that may never be.
func (u *untold) forget(id uuid.UUID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.of, id)
}

// mailboxes returns those of which there is something to tell.
func (u *untold) mailboxes() []uuid.UUID {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Collect(maps.Keys(u.of))
}

// restate says in a snapshot what is to be told of a mailbox.
func (u *untold) restate(id uuid.UUID, w *snapshotWriter) {
	u.mu.Lock()
	defer u.mu.Unlock()
	ends := u.of[id]
	if ends == nil {
		return
	}
	for _, t := range *ends {
		meta := &mailbox.Meta{Kind: t.kind, Ref: t.ref, Reply: t.reply}
		w.add(&mailbox.Record{Type: mailbox.Untold, Mailbox: id, Message: mailbox.Message{Body: t.body, Meta: meta}})
	}
}

// appendUntold adds what a snapshot says, unless the end itself was in the log, too.
func appendUntold(all []telling, r *mailbox.Record) []telling {
	m := r.Message.Meta
	if m == nil || slices.ContainsFunc(all, func(t telling) bool { return t.kind == m.Kind && t.ref == m.Ref && t.reply == m.Reply }) {
		return all
	}
	return append(all, telling{reply: m.Reply, ref: m.Ref, kind: m.Kind, body: slices.Clone(r.Message.Body)})
}

// tellEnd tells of the end of a mailbox; j is nil if it lives without a log.
func (s *Server) tellEnd(id uuid.UUID, all []telling, j *journal) {
	ends := s.untold.now(id)
	s.notices.add(notice{server: s, tellings: all, done: func(told bool) { s.untold.settle(id, ends, told, j) }})
}
