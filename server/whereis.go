package server

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
)

// exports are the names of processes that whereis tells to anybody.
type exports struct {
	mu    sync.RWMutex
	names map[string]bool
}

// Export lets anybody find the process of that name, with [Server.Whereis] or over the wire, on every node. It need
// not run yet. If the name is registered for anything else, the error is [ErrNameTaken].
func (s *Server) Export(name string) error {
	if _, err := s.keys.Process(name); err != nil {
		return err
	}
	if strings.HasPrefix(name, "~") {
		return fmt.Errorf("server: export %q: names that begin with ~ are the server's own", name)
	}
	s.names.mu.Lock()
	defer s.names.mu.Unlock()
	if r := s.names.find(name); r != nil && r.target.process != name && s.holds(r) {
		return fmt.Errorf("%w: %q", ErrNameTaken, name)
	}
	if c := s.names.claims[name]; c != nil {
		c.lost = true
	}
	s.exports.mu.Lock()
	defer s.exports.mu.Unlock()
	if s.exports.names == nil {
		s.exports.names = make(map[string]bool)
	}
	s.exports.names[name] = true
	s.named.Add(1)
	return nil
}

// Unexport takes that back. Addresses that were handed out stay valid.
func (s *Server) Unexport(name string) {
	s.exports.mu.Lock()
	defer s.exports.mu.Unlock()
	delete(s.exports.names, name)
	s.named.Add(1)
}

// Whereis returns the address that was registered under that name, or that of the process that is exported under it, by
// this node or another one, and whether there is one.
func (s *Server) Whereis(name string) (address.Address, bool) {
	s.names.mu.RLock()
	r := s.names.find(name)
	s.names.mu.RUnlock()
	if r != nil && s.holds(r) {
		return r.address, true
	}
	if !s.exports.has(name) && (s.cluster == nil || !s.cluster.routes.Load().exported[name]) {
		return address.Address{}, false
	}
	addr, err := s.keys.Process(name)
	return addr, err == nil
}

func (e *exports) has(name string) bool {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.names[name]
}

func (e *exports) all() []string {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return slices.Sorted(maps.Keys(e.names))
}

// forProcess gives a message to the process of a name on this node. What is asked of the server itself does not get
// into its queue, nor does what came before under the same idempotency key. Nothing does where another node runs it by now.
func (s *Server) forProcess(ctx context.Context, name string, msg mailbox.Message, once mailbox.NameHash) (Posted, error) {
	if name == s.callers.name {
		return Posted{}, s.callers.take(&msg)
	}
	if s.processes.isOne(name) && s.isElsewhere(name) {
		return Posted{}, errElsewhere
	}
	if m := msg.Meta; m != nil && m.Kind >= mailbox.KindMonitor {
		known, err := s.requestOfProcess(name, &msg, once)
		return Posted{call: known}, err
	}
	return Posted{}, s.queueFor(ctx, name, msg, once)
}
