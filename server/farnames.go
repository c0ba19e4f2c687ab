package server

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/internal/pack"
)

// Each node keeps the names that it registered, and knows those of the others: it is told of each, and of all of them
// when it is new or something got lost. A name is claimed from all nodes before it is given; of two claims at the same
// time, that of the node with the lower id counts. When a mailbox ends, the node that has it tells those that keep names
// of it; when a node dies, another one inherits its names.

// claimName asks all other nodes whether a name can be given.
func (c *cluster) claimName(r *registration) error {
	if c == nil {
		return nil
	}
	if err := c.awaitWhole(); err != nil {
		return err
	}
	asked := make(map[*node]*call)
	for _, n := range c.others() {
		asked[n] = n.ask(isClaim, func(b []byte) []byte { return appendName(b, r) })
	}
	var refused error
	for n, call := range asked {
		if _, err := call.wait(); err != nil && c.knows(n.id) { // it did not die meanwhile
			refused = err
		}
	}
	return refused
}

// awaitWhole waits until this node knows nodes for all shards: until then there may be some that it does not hear.
func (c *cluster) awaitWhole() error {
	for deadline := time.Now().Add(routePatience); ; {
		if err := c.reach(); err != nil {
			return err
		}
		if len(c.missing()) == 0 {
			return nil
		}
		if !c.awaitChange(deadline) {
			return fmt.Errorf("%w: nodes are missing", ErrUnavailable)
		}
	}
}

func appendName(b []byte, r *registration) []byte {
	return pack.AppendString(pack.AppendString(b, r.name), r.address.String())
}

// takeName does with a frame what it says of names.
func (n *node) takeName(kind byte, r *pack.Reader) {
	s := n.cluster.server
	switch kind {
	case isClaim:
		call, name, to := r.Uint(), r.String(), r.String()
		if !r.Failed {
			n.answer(call, nil, s.cede(n, name, to))
		}
	case isUnregister:
		call, name, of := r.Uint(), r.String(), r.String()
		if !r.Failed {
			n.answer(call, nil, s.unregisterFor(name, of))
		}
	case isNamed:
		if name, to, anew := r.String(), r.String(), r.Flag(); !r.Failed {
			n.named(name, to, anew)
		}
	case isUnnamed:
		n.unnamed(r.String())
	case isNameless:
		if id := readID(r); !r.Failed {
			s.endNames(target{mailbox: id})
		}
	case isNamesAnew:
		s.names.forgetNode(n.id)
	}
}

// cede lets another node have a name, or says that it can't. A claim of this node's own for it is lost then.
func (s *Server) cede(to *node, name, text string) error {
	r, err := s.readName(name, text)
	if err != nil {
		return err
	}
	self := s.cluster.id()
	all := &s.names
	all.mu.Lock()
	defer all.mu.Unlock()
	if err := s.mayHave(r, all.own[name]); err != nil {
		return err
	}
	if c := all.claims[name]; c != nil {
		if self < to.id {
			return fmt.Errorf("%w: %q is about to be registered", ErrNameTaken, name)
		}
		c.lost = true
	}
	return nil
}

// id returns by which the others know this node.
func (c *cluster) id() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.self
}

// unregister asks the node that keeps a name to take it back.
func (c *cluster) unregister(id, name string, of address.Address) error {
	c.mu.Lock()
	n := c.nodes[id]
	c.mu.Unlock()
	if n == nil {
		return fmt.Errorf("%w: another node is about to take over the name %q", ErrUnavailable, name)
	}
	_, err := n.ask(isUnregister, func(b []byte) []byte { return pack.AppendString(pack.AppendString(b, name), of.String()) }).wait()
	return err
}

func (s *Server) unregisterFor(name, of string) error {
	var to *target
	if of != "" {
		r, err := s.readName(name, of)
		if err != nil {
			return err
		}
		to = &r.target
	}
	s.names.mu.Lock()
	defer s.names.mu.Unlock()
	s.unregisterOwn(name, to)
	return nil
}

// named notes a name that another node keeps, and gives up this node's own of that name, if it has moved there, be it
// just now, or if the other node comes first.
func (n *node) named(name, to string, now bool) {
	c := n.cluster
	s, self := c.server, c.id()
	r, err := s.readName(name, to)
	if err != nil {
		s.log.Warn("another node registered what makes no sense here; has it the same secrets?", "node", n.id, "name", name, "error", err)
		return
	}
	r.node = n.id
	all := &s.names
	all.mu.Lock()
	all.put(r)
	for id, some := range all.far {
		if id != n.id && !c.knows(id) {
			all.remove(some[name]) // it was inherited
		}
	}
	if own := all.own[name]; own != nil {
		same := own.target == r.target
		if !same && n.id < self {
			s.log.Warn("a registered name is lost: another node has it", "name", name, "node", n.id)
		}
		if same && now || n.id < self {
			s.dropName(own)
		}
	}
	all.mu.Unlock()
	if r.target.process == "" {
		s.endNamesIfOver(r.target) // it may have ended before the other node told of its name
	}
}

// unnamed forgets a name of another node.
func (n *node) unnamed(name string) {
	all := &n.cluster.server.names
	all.mu.Lock()
	defer all.mu.Unlock()
	all.remove(all.far[n.id][name])
}

func (all *names) forgetNode(id string) {
	all.mu.Lock()
	defer all.mu.Unlock()
	for _, r := range all.far[id] {
		all.remove(r)
	}
}

// tellNamed lets the other nodes know of a name of this one, and whether it was registered just now. mu of names is held,
// as for the next two.
func (c *cluster) tellNamed(r *registration, now bool) {
	if c == nil {
		return
	}
	for _, n := range c.others() {
		n.tellNamed(r, now)
	}
}

func (n *node) tellNamed(r *registration, now bool) {
	n.send(func(b []byte) []byte { return pack.AppendFlag(appendName(append(b, isNamed), r), now) })
}

// tellUnnamed lets the other nodes know that this one does not keep a name any more.
func (c *cluster) tellUnnamed(name string) {
	if c == nil {
		return
	}
	for _, n := range c.others() {
		n.send(func(b []byte) []byte { return pack.AppendString(append(b, isUnnamed), name) })
	}
}

// tellNameless lets a node that keeps names of a mailbox know that this has ended.
func (c *cluster) tellNameless(id string, mailbox uuid.UUID) {
	c.mu.Lock()
	n := c.nodes[id]
	c.mu.Unlock()
	if n != nil {
		n.send(func(b []byte) []byte { return append(append(b, isNameless), mailbox[:]...) })
	}
}

// tellNames lets a node know all names of this one. While this node can't be sure that the others have not given it up
// for dead, and inherited its names, that is put off.
func (n *node) tellNames() {
	all := &n.cluster.server.names
	if !n.cluster.member.current().sure() {
		all.untold.Store(true)
		return
	}
	all.mu.RLock()
	defer all.mu.RUnlock()
	n.send(func(b []byte) []byte { return append(b, isNamesAnew) })
	for _, r := range all.own {
		n.tellNamed(r, false)
	}
}

// retellNames lets all other nodes know the names of this one, if that was put off and need not be any more.
func (c *cluster) retellNames() {
	all := &c.server.names
	if !all.untold.Load() || !c.member.current().sure() {
		return
	}
	all.untold.Store(false)
	for _, n := range c.others() {
		n.tellNames()
	}
}

// nodes returns the ids of the other nodes that keep names.
func (all *names) nodes() []string {
	all.mu.RLock()
	defer all.mu.RUnlock()
	return slices.Collect(maps.Keys(all.far))
}

// inheritNames takes over the names of a node that is gone.
func (s *Server) inheritNames(id string) {
	all := &s.names
	all.mu.Lock()
	var inherited []target
	for name, r := range all.far[id] {
		all.remove(r)
		if all.find(name) != nil {
			continue
		}
		own := *r
		own.node = ""
		all.put(&own)
		s.cluster.tellNamed(&own, false)
		inherited = append(inherited, own.target)
	}
	all.mu.Unlock()
	for _, t := range inherited {
		s.endNamesIfOver(t)
	}
}

// endNamesIn removes the names of the mailboxes of shards which turn out to have ended, now that this node has them.
func (s *Server) endNamesIn(shards []uint8) {
	all := &s.names
	all.mu.RLock()
	var there []target
	for t := range all.of {
		if t.process == "" && slices.Contains(shards, shardOf(t.mailbox)) {
			there = append(there, t)
		}
	}
	all.mu.RUnlock()
	for _, t := range there {
		s.endNamesIfOver(t)
	}
}
