package server

import (
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
)

// Who watches a process is known to the nodes, which forget it if they all end. So a mailbox that watches one follows it,
// too: that is stored with the mailbox, until it is told. Who takes the mailbox from the log looks whether some node knows
// that watch; if none does, the process has ended with its node, and nobody else is left to tell.

// following lets a process be watched for somebody, or not any more, as do does. It is stored before, so that there is
// no watch that is not.
func (s *Server) following(name string, w *mailbox.Watch, remove bool, do func() error) error {
	var g address.Grant
	if s.member == nil || s.keys.Verify(&g, w.Reply) != nil || g.Kind() != address.Mailbox {
		return do()
	}
	f := mailbox.Follow{Watch: *w, Process: name, Single: s.processes.isOne(name)}
	if remove {
		return errors.Join(do(), s.unfollow(g.Mailbox(), &f))
	}
	fresh, err := s.follow(g.Mailbox(), &f)
	if err != nil && !hasEnded(err) {
		return err
	}
	if err = do(); err != nil && fresh {
		err = errors.Join(err, s.unfollow(g.Mailbox(), &f))
	}
	return err
}

// follow has a mailbox follow a process, on whatever node the mailbox is, and reports whether it did not yet.
func (s *Server) follow(id uuid.UUID, f *mailbox.Follow) (fresh bool, err error) {
	err = s.at(id, func(b *box) error {
		var stored *commit
		if stored, fresh, err = b.follow(f); err != nil {
			return err
		}
		return stored.wait()
	}, func(n *node) (err error) {
		fresh, err = n.follow(id, f)
		return err
	})
	return fresh, err
}

// unfollow takes that back. A mailbox that has ended follows nothing.
func (s *Server) unfollow(id uuid.UUID, f *mailbox.Follow) error {
	err := s.at(id, func(b *box) error {
		stored, err := b.unfollow(f)
		if err != nil {
			return err
		}
		return stored.wait()
	}, func(n *node) error { return n.unfollow(id, f) })
	if hasEnded(err) {
		return nil
	}
	return err
}

func (b *box) follow(f *mailbox.Follow) (stored *commit, fresh bool, err error) {
	if err := b.log.ready(); err != nil {
		return nil, false, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.over(); err != nil {
		return nil, false, err
	}
	known, err := b.mail.CanFollow(f, b.server.clock.now())
	if err != nil {
		return nil, false, err
	}
	if known {
		return b.log.newest(), false, nil
	}
	b.mail.Follow(*f)
	return b.note(followRecord(mailbox.Followed, f)), true, nil
}

func (b *box) unfollow(f *mailbox.Follow) (*commit, error) {
	if err := b.log.ready(); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.over(); err != nil {
		return nil, err
	}
	if !b.mail.Follows(f) {
		return b.log.newest(), nil // it may be being taken back
	}
	b.mail.Unfollow(f.Ref)
	return b.note(followRecord(mailbox.Unfollowed, f)), nil
}

func followRecord(t mailbox.RecordType, f *mailbox.Follow) *mailbox.Record {
	return &mailbox.Record{Type: t, Watch: f.Watch, Process: f.Process, Single: f.Single}
}

// followed is a watch of a process that may be nobody's any more.
type followed struct {
	box *box
	mailbox.Follow
}

// follows returns what mailboxes follow that nobody else changes yet.
func (b *boxes) follows(now time.Time) (all []followed) {
	for _, b := range b.list {
		for _, f := range b.mail.Following(now) {
			all = append(all, followed{b, f})
		}
	}
	return all
}

// inheritFollows takes over watches that only the log knows, once this node has heard what the others have, and programs
// had the time to begin their processes.
func (s *Server) inheritFollows(all []followed) {
	if len(all) == 0 || s.offline {
		return
	}
	background := &s.background
	if s.cluster != nil {
		background = &s.cluster.background // which the one belongs to that took the mailboxes
	}
	background.Go(func() {
		ticker := time.NewTicker(governEvery)
		defer ticker.Stop()
		for due := time.Now().Add(lostAfter); time.Now().Before(due) || !s.cluster.knowsWatches(); {
			select {
			case <-ticker.C:
			case <-s.done:
				return
			}
		}
		for i := range all {
			if f := &all[i]; f.box.follows(&f.Follow) && !s.watchers.know(f.Process, &f.Watch) {
				s.inherit(farWatch{f.Process, f.Single, f.Watch})
			}
		}
	})
}

// knowsWatches reports whether this node knows what the others have, if there are others.
func (c *cluster) knowsWatches() bool {
	if c == nil {
		return true
	}
	_, sure := c.place()
	return sure && c.reach() == nil
}

// follows reports whether the mailbox is here, and still follows that.
func (b *box) follows(f *mailbox.Follow) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.over() == nil && b.mail.Follows(f)
}

// know reports whether some node has a watch.
func (w *watchers) know(name string, one *mailbox.Watch) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, byName := range w.far {
		if slices.ContainsFunc(byName[name], func(f farWatch) bool { return one.Is(f.Watch) }) {
			return true
		}
	}
	return slices.ContainsFunc(w.byName[name], one.Is)
}
