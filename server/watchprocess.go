package server

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
)

// maxProcessWatches is how many watches a process has at most.
const maxProcessWatches = 1000

// requestOfProcess watches or ends a process of this node. The call is nil, or ends when the other nodes know.
func (s *Server) requestOfProcess(name string, msg *mailbox.Message, once mailbox.NameHash) (*call, error) {
	if msg.Meta.Kind == mailbox.KindExit {
		if err := checkDetail(msg.Body); err != nil {
			return nil, err
		}
		if !s.exitProcess(name, once, downOf(ErrExited, slices.Clone(msg.Body))) {
			return nil, fmt.Errorf("%w: process %q", ErrGone, name)
		}
		return nil, nil
	}
	w, err := s.watchOf(msg.Meta, msg.Body, true)
	if err != nil {
		return nil, err
	}
	if w.States || w.Grace != 0 {
		return nil, fmt.Errorf("%w: process %q has no states: only a mailbox has a reader, or none", ErrEnvelope, name)
	}
	remove := msg.Meta.Kind == mailbox.KindDemonitor || msg.Meta.Kind == mailbox.KindUnlink
	if !remove && !s.processes.knows(name) {
		if s.cluster.mayHave(name) {
			return nil, fmt.Errorf("%w: process %q", ErrGone, name) // another node may have it
		}
		return nil, s.notices.offer(notice{server: s, tellings: []telling{tellingOf(&w, Down{Reason: "gone"})}})
	}
	known, err := s.watchProcess(name, &w, remove)
	away := s.processes.isOne(name) && s.isElsewhere(name)
	if err != nil || remove || s.processes.knows(name) && !away || !s.watchers.has(name, &w) {
		return known, err
	}
	// it ended or left meanwhile, and did not see this watch
	if known, err = s.watchProcess(name, &w, true); err != nil {
		return nil, err
	}
	if away {
		return nil, errElsewhere
	}
	s.notices.add(notice{server: s, tellings: []telling{tellingOf(&w, Down{Reason: "gone"})}})
	return known, nil
}

// watchers are who is told of the end of processes.
type watchers struct {
	mu      sync.Mutex
	byName  map[string][]mailbox.Watch // of this node's processes
	count   int                        // of them
	sweepAt int                        // how many there are when it is worth looking for those that are past
	swept   time.Time                  // when that was done last
	far     farWatches                 // of those of other nodes
}

// Somebody may watch any number of keyed processes that never wake, and be gone.
const (
	sweepWatches = 10_000
	sweepEvery   = time.Minute
	// maxWatches is how many watches the processes of a node have at most.
	maxWatches = 1_000_000
)

// watchProcess adds a watch of a process of this node, or removes one of whatever node. The call is nil, or ends when
// the other nodes know.
func (s *Server) watchProcess(name string, one *mailbox.Watch, remove bool) (*call, error) {
	single := s.processes.isOne(name)
	if !remove {
		s.sweepWatches()
	}
	w := &s.watchers
	w.mu.Lock()
	defer w.mu.Unlock()
	_, err := w.change(name, one, remove)
	if errors.Is(err, mailbox.ErrWatched) && s.forgetPast(name) {
		_, err = w.change(name, one, remove)
	}
	if err != nil {
		return nil, err
	}
	w.far.remove(name, one)
	return s.cluster.shareWatch(farWatch{name, single, *one}, remove), nil
}

// sweepWatches removes watches that are past, if there are many more than there were, or there is no room and it has not
// been looked for a while.
func (s *Server) sweepWatches() {
	for _, name := range s.watchers.toSweep() {
		s.watchers.mu.Lock() // not for all of them: other nodes' packets wait for it
		s.forgetPast(name)
		s.watchers.sweepAt = 2 * s.watchers.count
		s.watchers.mu.Unlock()
	}
}

// toSweep returns the processes to be looked at, if it is time to.
func (w *watchers) toSweep() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.count < max(w.sweepAt, sweepWatches) && (w.count < maxWatches || time.Since(w.swept) < sweepEvery) {
		return nil
	}
	w.sweepAt, w.swept = 2*w.count, time.Now() // who comes meanwhile need not look, too
	return slices.Collect(maps.Keys(w.byName))
}

// change adds a watch of a process of this node, or removes it, and reports whether it did; mu is held.
func (w *watchers) change(name string, one *mailbox.Watch, remove bool) (changed bool, err error) {
	all := w.byName[name]
	switch i := slices.IndexFunc(all, one.Is); {
	case remove && i >= 0 && all[i].Link == one.Link: // the end of a monitor does not undo half a link
		all = slices.Delete(all, i, i+1)
		w.count--
	case remove || i >= 0:
		return false, nil
	case len(all) >= maxProcessWatches:
		return false, mailbox.ErrWatched
	case w.count >= maxWatches:
		return false, ErrOverloaded
	default:
		all = append(all, *one)
		w.count++
	}
	if w.byName == nil {
		w.byName = make(map[string][]mailbox.Watch)
	}
	if w.byName[name] = all; len(all) == 0 {
		delete(w.byName, name)
	}
	return true, nil
}

func (w *watchers) has(name string, one *mailbox.Watch) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.byName[name], one.Is)
}

// forgetPast removes the watches of a process that are past, and reports whether there were any; watchers.mu is held.
func (s *Server) forgetPast(name string) (some bool) {
	for _, one := range slices.Clone(s.watchers.byName[name]) {
		if !s.isPast(&one) {
			continue
		}
		s.watchers.change(name, &one, true)
		s.cluster.tellWatch(farWatch{name: name, Watch: one}, true)
		some = true
	}
	return some
}

// isPast reports whether a watch is of no use any more: its time is over, or its watcher is a mailbox that this node
// knows to have ended.
func (s *Server) isPast(w *mailbox.Watch) bool {
	if w.Until != 0 && w.Until <= s.clock.now().Unix() {
		return true
	}
	var g address.Grant
	if s.keys.Verify(&g, w.Reply) != nil || g.Kind() != address.Mailbox {
		return false
	}
	_, err := s.box(g.Mailbox())
	return err != nil && !errors.Is(err, errElsewhere)
}

// take returns who watches a process, and forgets them.
func (w *watchers) take(name string) []mailbox.Watch {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.byName[name]
	delete(w.byName, name)
	w.count -= len(all)
	return all
}

// names returns which processes of this node are watched.
func (w *watchers) names() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(maps.Keys(w.byName))
}

// ofPrefix returns which processes of a prefix are watched.
func (w *watchers) ofPrefix(prefix string) (names []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for name := range w.byName {
		if strings.HasPrefix(name, prefix+"/") {
			names = append(names, name)
		}
	}
	return names
}

// ended tells who watches a process that it ended.
func (s *Server) ended(name string, why Down) {
	if s.othersServe(name) {
		return // they take the watches over
	}
	n := notice{server: s, lasting: true} // a mailbox follows the process until it is told
	taken := s.watchers.take(name)
	for i := range taken {
		n.tellings = append(n.tellings, tellingOf(&taken[i], why))
	}
	if s.cluster != nil {
		n.done = func(bool) { s.told(name, taken) }
	}
	s.takeHalvesBack(name, taken) // first, for who is told may link again
	s.notices.add(n)
}

// othersServe reports whether a process that ends because this node leaves is another node's as well.
func (s *Server) othersServe(name string) bool {
	return s.stopping.Load() && !s.processes.isOne(name) && len(s.cluster.haveProcess(name)) > 0
}
