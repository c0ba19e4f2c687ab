package server

import (
	"fmt"
	"slices"
	"sync"

	"github.com/genbrowser/genbrowser/mailbox"
)

// maxProcessWatches is how many watches a process has at most.
const maxProcessWatches = 1000

// requestOfProcess watches or ends a process of this node.
func (s *Server) requestOfProcess(name string, msg *mailbox.Message) error {
	if msg.Meta.Kind == mailbox.KindExit {
		if !s.exitProcess(name, downOf(ErrExited, slices.Clone(msg.Body))) {
			return fmt.Errorf("%w: process %q", ErrGone, name)
		}
		return nil
	}
	w, err := s.watchOf(msg.Meta)
	if err != nil {
		return err
	}
	remove := msg.Meta.Kind == mailbox.KindDemonitor || msg.Meta.Kind == mailbox.KindUnlink
	if !remove && !s.processes.knows(name) {
		if s.cluster != nil && len(s.cluster.routes.Load().processes[name]) > 0 {
			return fmt.Errorf("%w: process %q", ErrGone, name) // another node has it
		}
		s.notices.add(notice{server: s, tellings: []telling{tellingOf(&w, Down{Reason: "gone"})}})
		return nil
	}
	return s.watchers.change(name, &w, remove)
}

// watchers are who is told of the end of this node's processes, by the names of those.
type watchers struct {
	mu     sync.Mutex
	byName map[string][]mailbox.Watch
}

// change adds a watch of a process, or removes it.
func (w *watchers) change(name string, one *mailbox.Watch, remove bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	same := func(have mailbox.Watch) bool { return have.Ref == one.Ref && have.Reply == one.Reply }
	all := w.byName[name]
	switch i := slices.IndexFunc(all, same); {
	case remove && i >= 0:
		all = slices.Delete(all, i, i+1)
	case remove || i >= 0:
		return nil
	case len(all) >= maxProcessWatches:
		return mailbox.ErrWatched
	default:
		all = append(all, *one)
	}
	if w.byName == nil {
		w.byName = make(map[string][]mailbox.Watch)
	}
	if w.byName[name] = all; len(all) == 0 {
		delete(w.byName, name)
	}
	return nil
}

// take returns who watches a process, and forgets them.
func (w *watchers) take(name string) []mailbox.Watch {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.byName[name]
	delete(w.byName, name)
	return all
}

// ended tells who watches a process that it ended.
func (s *Server) ended(name string, why Down) {
	n := notice{server: s}
	for _, w := range s.watchers.take(name) {
		n.tellings = append(n.tellings, tellingOf(&w, why))
	}
	s.notices.add(n)
}
