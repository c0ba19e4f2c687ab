package server

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/genbrowser/genbrowser/address"
)

// target is what an address leads to.
type target struct {
	mailbox uuid.UUID // unless process is set
	process string
}

// registration is a name that an address was given.
type registration struct {
	name    string
	address address.Address
	target  target
	ends    int64  // seconds since 1970 when the address does; 0: never
	node    string // the id of the node that keeps it; empty: this one
}

// over reports whether the address's time is.
func (r *registration) over() bool { return r.ends != 0 && r.ends <= time.Now().Unix() }

// names are those that were given to addresses, on this node and on the others. The mutex is taken before those of
// exports, processes, the cluster and its nodes, and held while the other nodes are told, so that what they are told of
// one name is in its order.
type names struct {
	most   int         // that this node keeps
	untold atomic.Bool // some node was not told when it should have been

	mu     sync.RWMutex
	own    map[string]*registration
	claims map[string]*claim                   // of this node
	far    map[string]map[string]*registration // by node's id and name; a dead node's are there until another inherits them
	of     map[target]map[*registration]bool   // all of them
}

func (all *names) init(most int) {
	if all.most = most; most == 0 {
		all.most = 10_000
	}
	all.claims = make(map[string]*claim)
	all.forget()
}

// forget forgets all names; mu is held.
func (all *names) forget() {
	all.own = make(map[string]*registration)
	all.far = make(map[string]map[string]*registration)
	all.of = make(map[target]map[*registration]bool)
	for _, c := range all.claims {
		c.lost = true
	}
}

// forgetAll is forget for who does not hold the mutex.
func (all *names) forgetAll() {
	all.mu.Lock()
	defer all.mu.Unlock()
	all.forget()
}

// ofNode returns the names that a node keeps, which may be nil.
func (all *names) ofNode(id string) map[string]*registration {
	if id == "" {
		return all.own
	}
	return all.far[id]
}

// put adds a name, in the place of the one that its node has under it; mu is held.
func (all *names) put(r *registration) {
	all.remove(all.ofNode(r.node)[r.name])
	if r.node != "" && all.far[r.node] == nil {
		all.far[r.node] = make(map[string]*registration)
	}
	all.ofNode(r.node)[r.name] = r
	if all.of[r.target] == nil {
		all.of[r.target] = make(map[*registration]bool)
	}
	all.of[r.target][r] = true
}

// remove removes a name, if it is there; mu is held.
func (all *names) remove(r *registration) {
	if r == nil || all.ofNode(r.node)[r.name] != r {
		return
	}
	delete(all.ofNode(r.node), r.name)
	if r.node != "" && len(all.far[r.node]) == 0 {
		delete(all.far, r.node)
	}
	delete(all.of[r.target], r)
	if len(all.of[r.target]) == 0 {
		delete(all.of, r.target)
	}
}

// count returns how many names this node keeps.
func (all *names) count() int {
	all.mu.RLock()
	defer all.mu.RUnlock()
	return len(all.own)
}

// find returns what a name was given to: by this node, else by the one with the lowest id; nil for nothing. mu is held.
func (all *names) find(name string) (found *registration) {
	if r := all.own[name]; r != nil {
		return r
	}
	for id, some := range all.far {
		if r := some[name]; r != nil && (found == nil || id < found.node) {
			found = r
		}
	}
	return found
}

// readName makes what is to be registered of a name and the text of an address. It does not matter whether that expired.
func (s *Server) readName(name, to string) (*registration, error) {
	if _, err := s.keys.Process(name); err != nil {
		return nil, err
	}
	if strings.HasPrefix(name, "~") {
		return nil, fmt.Errorf("server: name %q: those that begin with ~ are the server's own", name)
	}
	a, err := address.Parse(to)
	if err != nil {
		return nil, err
	}
	r := &registration{name: name, address: a}
	var g address.Grant
	if err := s.keys.Verify(&g, to); err != nil {
		return nil, err
	}
	r.target = targetOf(&g)
	if until, ends := g.Expires(); ends {
		r.ends = until.Unix()
	}
	return r, nil
}

func targetOf(g *address.Grant) target {
	if g.Kind() == address.Process {
		return target{process: string(g.Name())}
	}
	return target{mailbox: g.Mailbox()}
}

// holds reports whether a name still names something: its address's time is not over, and if it leads to a process,
// some node has that. The end of a mailbox is told.
func (s *Server) holds(r *registration) bool {
	return !r.over() && (r.target.process == "" || s.anyHas(r.target.process))
}

// anyHas reports whether this node has a process of that name, or another may.
func (s *Server) anyHas(process string) bool {
	return s.processes.knows(process) || s.cluster.mayHave(process)
}

// isProcess reports whether a name is that of a process, or exported, anywhere.
func (s *Server) isProcess(name string) bool {
	return s.anyHas(name) || s.exports.has(name) || s.cluster != nil && s.cluster.routes.Load().exported[name]
}

// endOf returns why a target is no more, as far as this node is the one to know.
func (s *Server) endOf(t target) error {
	if t.process != "" {
		if !s.anyHas(t.process) {
			return fmt.Errorf("%w: process %q", ErrGone, t.process)
		}
		return nil
	}
	_, err := s.box(t.mailbox)
	if !hasEnded(err) || s.cluster != nil && s.cluster.reach() != nil { // another node may have it
		return nil
	}
	return err
}

// dropName removes a name of this node's; mu of names is held.
func (s *Server) dropName(r *registration) {
	s.names.remove(r)
	s.cluster.tellUnnamed(r.name)
}

// endNames removes the names of what has ended. Those of a mailbox, which its node knows to have ended, may be on any
// node; those of a process are the business of the nodes that keep them.
func (s *Server) endNames(t target) {
	all := &s.names
	all.mu.RLock()
	some := len(all.of[t]) > 0
	all.mu.RUnlock()
	if !some {
		return
	}
	all.mu.Lock()
	defer all.mu.Unlock()
	for r := range all.of[t] {
		switch {
		case r.node == "":
			s.dropName(r)
		case t.process == "":
			all.remove(r)
			s.cluster.tellNameless(r.node, t.mailbox)
		}
	}
}

// endNamesIfOver removes the names of what has ended, if this node knows that it has.
func (s *Server) endNamesIfOver(t target) (why error) {
	if why = s.endOf(t); why != nil {
		s.endNames(t)
	}
	return why
}

// reviewNames removes the names of this node that name nothing any more, and those that another node exports.
func (s *Server) reviewNames() {
	all := &s.names
	all.mu.Lock()
	defer all.mu.Unlock()
	for _, r := range all.own {
		switch {
		case !s.holds(r):
			s.dropName(r)
		case s.cluster != nil && r.target.process != r.name && s.cluster.routes.Load().exported[r.name]:
			s.log.Warn("a registered name is taken back: another node exports it", "name", r.name)
			s.dropName(r)
		}
	}
}
