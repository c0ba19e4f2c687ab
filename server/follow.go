package server

import (
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
)

// Who watches a process is known to the nodes, which forget it if they all end. So a mailbox that watches one follows it,
// too: that is stored with the mailbox, until it is told. Who takes the mailbox from the log looks whether some node knows
// that watch; if none does, the process has ended with its node, and nobody else is left to tell.

// following lets a process be watched for somebody, or not any more, as do does. What is returned is to be waited for.
func (s *Server) following(name string, w *mailbox.Watch, remove bool, do func() error) (Posted, error) {
	var g address.Grant
	if s.member == nil || s.keys.Verify(&g, w.Reply) != nil || g.Kind() != address.Mailbox {
		return Posted{}, do()
	}
	f := mailbox.Follow{Watch: *w, Process: name, Single: s.processes.isOne(name)}
	if remove { // before, for inheritFollows must not undo it
		posted, err := s.follow(g.Mailbox(), &f, true)
		return posted, errors.Join(err, do())
	}
	posted, err := s.follow(g.Mailbox(), &f, false) // before, for do may tell the end of it
	if err != nil && !hasEnded(err) {
		return posted, err
	}
	err = do()
	if err != nil && !errors.Is(err, ErrUnavailable) && !s.watchers.know(name, w) { // it was refused
		_, failed := s.follow(g.Mailbox(), &f, true)
		err = errors.Join(err, failed)
	}
	return posted, err
}

// follow has a mailbox follow a process, or not any more, on whatever node the mailbox is. One that has ended follows
// nothing. A server that is alone need not wait until it is stored.
func (s *Server) follow(id uuid.UUID, f *mailbox.Follow, remove bool) (posted Posted, err error) {
	err = s.at(id, func(b *box) error {
		stored, err := b.follow(f, remove)
		if err != nil {
			return err
		}
		if s.cluster == nil {
			posted = Posted{added: added{box: b}, commit: stored}
			return nil
		}
		return stored.wait()
	}, func(n *node) error { return n.follow(id, f, remove) })
	if remove && hasEnded(err) {
		err = nil
	}
	return posted, err
}

func (b *box) follow(f *mailbox.Follow, remove bool) (*commit, error) {
	if err := b.log.ready(); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.over(); err != nil {
		return nil, err
	}
	switch {
	case remove && b.mail.Follows(f):
		b.mail.Unfollow(f.Ref)
	case !remove && b.mail.MayFollow(f, b.server.clock.now()):
		b.mail.Follow(*f, b.server.clock.now())
	default:
		return b.log.newest(), nil // it may be being stored
	}
	r := followRecord(f, remove)
	return b.note(&r), nil
}

func followRecord(f *mailbox.Follow, remove bool) mailbox.Record {
	r := mailbox.Record{Type: mailbox.Followed, Watch: f.Watch, Process: f.Process, Single: f.Single}
	if remove {
		r.Type = mailbox.Unfollowed
	}
	return r
}

// followed is a watch of a process that may be nobody's any more.
type followed struct {
	box *box
	mailbox.Follow
	tries   int         // to find a process to watch in place of the one that was
	telling atomic.Bool // its watcher is being told that there is none
}

// follows returns what mailboxes follow that nobody else changes yet.
func (b *boxes) follows(now time.Time) (all []*followed) {
	for _, b := range b.list {
		for _, f := range b.mail.Following(now) {
			all = append(all, &followed{box: b, Follow: f})
		}
	}
	return all
}

const (
	// followsAfter is how long after a start nobody is told that processes are lost: programs begin them by then.
	followsAfter = 5 * time.Second
	// followsEvery is how often it is looked whether somebody knows of what mailboxes follow.
	followsEvery = time.Second
	// followsAtOnce is how many of them are asked for at other nodes then, whose queues are others' as well.
	followsAtOnce = 500
	// followTries is how often another node is asked for one until it is lost: each time that may have been refused.
	followTries = 10
)

// inheritFollows takes over the watches of processes that are in the log and that no node knows: others may be about to
// tell this one of some, and programs to begin the processes.
func (m *member) inheritFollows() {
	all, s := m.follows, m.server
	m.follows = nil
	if len(all) == 0 || s.offline {
		return
	}
	background := &s.background
	if s.cluster != nil {
		background = &s.cluster.background // of which the one is that claims
	}
	background.Go(func() {
		ticker := time.NewTicker(followsEvery)
		defer ticker.Stop()
		for began := time.Now(); len(all) > 0; {
			select {
			case <-ticker.C:
			case <-s.done:
				return
			}
			if s.cluster.knowsWatches() {
				all = s.lookAfter(all, time.Since(began) >= followsAfter)
			}
		}
	})
}

// lookAfter returns what is to be looked after again. Unless it is late nothing is lost yet.
func (s *Server) lookAfter(all []*followed, late bool) (left []*followed) {
	asked := 0
	for _, f := range all {
		w := farWatch{f.Process, f.Single, f.Watch}
		here, follows := f.box.follows(&f.Follow)
		switch {
		case !here: // where it is, the same is done
			continue
		case !follows:
			if f.tries > 0 { // a process may have been found for it just after that ended
				s.watchProcess(f.Process, &f.Watch, true)
			}
			continue
		case s.watchers.know(f.Process, &f.Watch):
			continue
		case !late || f.telling.Load() || asked == followsAtOnce:
		case f.tries < followTries && s.watchAgain(&w, f.tries):
			asked++
			f.tries++
		default:
			s.tellFollowLost(f)
		}
		left = append(left, f)
	}
	return left
}

// tellFollowLost tells who watches a process that it was lost, and is to be called again if that was in vain.
func (s *Server) tellFollowLost(f *followed) {
	f.telling.Store(true)
	s.takeHalvesBack(f.Process, []mailbox.Watch{f.Watch})
	one := tellingOf(&f.Watch, Down{Reason: downNodeLost})
	s.notices.add(notice{server: s, tellings: []telling{one}, done: func(told bool) {
		if told {
			f.box.follow(&f.Follow, true) // for who got an answer with that ref before
		}
		f.telling.Store(false)
	}})
}

// knowsWatches reports whether this node knows what the others have, if there are others.
func (c *cluster) knowsWatches() bool {
	if c == nil {
		return true
	}
	_, sure := c.place()
	return sure && c.reach() == nil
}

// follows reports whether the mailbox is here, and follows that.
func (b *box) follows(f *mailbox.Follow) (here, follows bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !errors.Is(b.why(), errElsewhere), b.over() == nil && b.mail.Follows(f)
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
