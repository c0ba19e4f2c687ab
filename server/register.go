package server

import (
	"fmt"

	"github.com/genbrowser/genbrowser/address"
)

// claim is a name that this node is about to give.
type claim struct {
	lost bool          // somebody else has it; guarded by the mutex of names
	over chan struct{} // closed when that is decided
}

// Register gives a name, of [address.NameForm] and with no ~ first, to any address of a mailbox or process, wherever that
// is: [Server.Whereis] on every node hands out that very address, so that whoever registers decides what it may do. The
// others know within moments.
//
// A name has one meaning in the whole cluster. If it is registered or exported, or that of a process that runs, for
// anything but the same mailbox or process, the error is [ErrNameTaken]; else a later address takes the place of the
// earlier one. Of two nodes that register a name at the same time, one at most gets it, and the other one is refused;
// while nodes can't reach each other or the log, the error is [ErrUnavailable]. Should two nodes have it all the same, as
// those may that have not heard of each other yet, the one with the lower id keeps it once they have, and the other one
// logs that it lost it.
//
// The name lasts until [Server.Unregister], until its mailbox ends, until no node that is heard has its process any more,
// or until the address expires. When the node that registered it ends or dies, another takes it over, within about 3
// seconds; names do not outlive the last node, nor does one whose only node was cut off from the others for so long that
// they gave it up. A process's crash does not end its name if it is restarted.
//
// Of an address that leads to nothing the error is [ErrGone] or a more exact one; of one more than
// Options.MaxRegistered names of this server's it is [ErrOverloaded].
func (s *Server) Register(name string, to address.Address) error {
	r, err := s.readName(name, to.String())
	if err != nil {
		return err
	}
	if s.stopping.Load() {
		return ErrShuttingDown
	}
	if r.over() {
		return address.ErrExpired
	}
	if err := s.lives(r.target); err != nil {
		return err
	}
	c, err := s.beginClaim(r)
	if err != nil {
		return err
	}
	if err := s.endClaim(c, r, s.cluster.claimName(r)); err != nil {
		return err
	}
	return s.endNamesIfOver(r.target) // it may have ended while the name was claimed
}

// lives returns why a target is no more, asking the node that knows.
func (s *Server) lives(t target) error {
	if t.process != "" {
		return s.endOf(t)
	}
	return s.at(t.mailbox, func(b *box) error {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.over()
	}, func(n *node) error {
		_, _, err := n.describe(t.mailbox)
		return err
	})
}

// beginClaim checks whether a name can be given, as far as this node knows. No other claim for it begins until endClaim.
func (s *Server) beginClaim(r *registration) (*claim, error) {
	all := &s.names
	s.lockUndisputed(r.name)
	defer all.mu.Unlock()
	if err := s.mayHave(r, all.find(r.name)); err != nil {
		return nil, err
	}
	if all.own[r.name] == nil && len(all.own)+len(all.claims) >= all.most {
		for _, old := range all.own {
			if old.over() {
				s.dropName(old)
			}
		}
		if len(all.own)+len(all.claims) >= all.most {
			return nil, fmt.Errorf("%w: %d names are registered", ErrOverloaded, len(all.own))
		}
	}
	c := &claim{over: make(chan struct{})}
	all.claims[r.name] = c
	return c, nil
}

// lockUndisputed takes the mutex of names when no claim for that name is under way at this node.
func (s *Server) lockUndisputed(name string) {
	for all := &s.names; ; {
		all.mu.Lock()
		c := all.claims[name]
		if c == nil {
			return
		}
		all.mu.Unlock()
		<-c.over
	}
}

// mayHave returns [ErrNameTaken] if a name that has a meaning, have if it was registered, has another one.
func (s *Server) mayHave(r, have *registration) error {
	if have != nil && have.target != r.target && s.holds(have) || r.target.process != r.name && s.isProcess(r.name) {
		return fmt.Errorf("%w: %q", ErrNameTaken, r.name)
	}
	return nil
}

// endClaim gives the name, unless the claim failed or was lost.
func (s *Server) endClaim(c *claim, r *registration, err error) error {
	all := &s.names
	all.mu.Lock()
	defer all.mu.Unlock()
	delete(all.claims, r.name)
	close(c.over)
	switch {
	case err != nil:
		return err
	case c.lost:
		return fmt.Errorf("%w: %q", ErrNameTaken, r.name)
	}
	all.put(r)
	s.cluster.tellNamed(r, true)
	return nil
}

// Unregister takes a name back that leads to the same mailbox or process as an address, or to whatever it leads to if
// that is the zero value, on whatever node it was registered. Addresses that were handed out stay valid. That there is no
// such name is no error; [ErrUnavailable] says that the node that keeps it can't be reached.
func (s *Server) Unregister(name string, of address.Address) error {
	var to *target
	if !of.IsZero() {
		r, err := s.readName(name, of.String())
		if err != nil {
			return err
		}
		to = &r.target
	}
	all := &s.names
	s.lockUndisputed(name)
	var far []string
	for id, some := range all.far {
		if r := some[name]; r != nil && (to == nil || *to == r.target) {
			far = append(far, id)
		}
	}
	s.unregisterOwn(name, to)
	all.mu.Unlock()
	for _, id := range far {
		if err := s.cluster.unregister(id, name, of); err != nil {
			return err
		}
	}
	return nil
}

// unregisterOwn removes a name of this node's, if it leads there; mu of names is held.
func (s *Server) unregisterOwn(name string, to *target) {
	if r := s.names.own[name]; r != nil && (to == nil || *to == r.target) {
		s.dropName(r)
	}
}
