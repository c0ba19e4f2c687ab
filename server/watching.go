package server

import (
	"errors"
	"slices"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
)

// Watching reports whether a mailbox or process that this node keeps is watched by that monitor or link, and its
// watcher is not known to have ended. The target is given as [address.Inspect] describes its address.
func (s *Server) Watching(target *address.Description, ref, reply string) bool {
	var g address.Grant
	if s.keys.Verify(&g, reply) != nil {
		return false
	}
	if g.Kind() == address.Mailbox {
		if _, err := s.box(g.Mailbox()); err != nil && !errors.Is(err, errElsewhere) {
			return false
		}
	}
	one := mailbox.Watch{Ref: ref, Reply: reply}
	return slices.ContainsFunc(s.watchesOf(target), one.Is)
}

func (s *Server) watchesOf(target *address.Description) []mailbox.Watch {
	if target.Kind == address.Process {
		s.watchers.mu.Lock()
		defer s.watchers.mu.Unlock()
		return slices.Clone(s.watchers.byName[target.Name])
	}
	b, err := s.box(target.Mailbox)
	if err != nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mail.Watches()
}
