package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
)

// Down says why a mailbox or process ended: the body of messages of kind down and exited.
type Down struct {
	Reason string `json:"reason"` // normal, closed, expired, disconnected, exit, crashed, node-lost or gone
	Detail any    `json:"detail,omitempty"`
}

// downOf is what the watchers of a mailbox are told.
func downOf(why error, detail []byte) Down {
	d := Down{Reason: "gone"}
	switch {
	case errors.Is(why, ErrClosed):
		d.Reason = "closed"
	case errors.Is(why, ErrExpired):
		d.Reason = "expired"
	case errors.Is(why, ErrExited):
		d.Reason = "exit"
	}
	if detail != nil {
		d.Detail = json.RawMessage(detail)
	}
	return d
}

// rightFor is what a capability must allow for a message of that kind.
func rightFor(kind mailbox.Kind) address.Rights {
	switch kind {
	case mailbox.KindCall:
		return address.Call
	case mailbox.KindMonitor, mailbox.KindDemonitor:
		return address.Monitor
	case mailbox.KindLink, mailbox.KindUnlink:
		return address.Link
	case mailbox.KindExit:
		return address.Exit
	}
	return address.Send
}

// permitKind sees to it that what answers comes through a reply address, and nothing else does.
func permitKind(g *address.Grant, l *Letter) error {
	switch l.Kind {
	case mailbox.KindReply, mailbox.KindFailure:
		return g.PermitReply(l.Ref)
	case mailbox.KindDown, mailbox.KindExited, mailbox.KindState:
		return fmt.Errorf("%w: kind %v is the server's to send", ErrEnvelope, l.Kind)
	}
	if g.IsReply() {
		return address.ErrReply
	}
	return nil
}

// request does what a message asks of the server: to watch its target, or to end it.
func (s *Server) request(ctx context.Context, g *address.Grant, l *Letter) (Posted, error) {
	if g.Kind() == address.Process {
		return s.requestProcess(ctx, string(g.Name()), l)
	}
	id := g.Mailbox()
	if l.Kind == mailbox.KindExit {
		return Posted{}, s.exit(id, l.Body)
	}
	w, err := s.watchOf(&l.Meta, l.Body, false)
	if err != nil {
		return Posted{}, err
	}
	remove := l.Kind == mailbox.KindDemonitor || l.Kind == mailbox.KindUnlink
	err = s.watch(id, &w, remove)
	switch {
	case remove && hasEnded(err):
		return Posted{}, nil
	case hasEnded(err):
		return Posted{}, s.notices.offer(notice{server: s, tellings: []telling{tellingOf(&w, downOf(err, nil))}})
	case err == nil && w.Link:
		if err = s.linkBack(id, &w, remove); err != nil && !remove {
			err = errors.Join(err, s.watch(id, &w, true)) // a link is there as a whole, or not at all
		}
	}
	return Posted{}, err
}

// requestProcess asks a process, on whatever node, to be watched, or ends it. What links is on this node, or a mailbox.
func (s *Server) requestProcess(ctx context.Context, name string, l *Letter) (Posted, error) {
	ask := func(kind mailbox.Kind) error {
		meta := l.Meta
		meta.Kind = kind
		var once mailbox.NameHash
		if kind == mailbox.KindExit {
			once = mailbox.HashName(l.Name)
		}
		posted, err := s.toProcess(ctx, name, mailbox.Message{Body: l.Body, Meta: &meta}, once)
		if err == nil {
			_, err = posted.Wait()
		}
		return err
	}
	if l.Kind == mailbox.KindExit {
		return Posted{}, ask(l.Kind)
	}
	w, err := s.watchOf(&l.Meta, l.Body, false)
	if err != nil {
		return Posted{}, err
	}
	home, err := s.keys.Process(name)
	if err != nil {
		return Posted{}, err
	}
	remove := l.Kind == mailbox.KindDemonitor || l.Kind == mailbox.KindUnlink
	posted, err := s.following(name, &w, remove, func() error { return ask(l.Kind) })
	if err != nil || !w.Link {
		return posted, err
	}
	err = s.linkBackTo(home.Attenuate, &w, remove)
	if err != nil && !remove {
		_, failed := s.following(name, &w, true, func() error { return ask(mailbox.KindUnlink) })
		err = errors.Join(err, failed)
	}
	return posted, err
}

// watchOf checks what asks to watch, and its reply address. What was checked where it came in may be half a link, which the
// server made, and takes back.
func (s *Server) watchOf(m *mailbox.Meta, body []byte, checked bool) (mailbox.Watch, error) {
	w := mailbox.Watch{Link: m.Kind == mailbox.KindLink || m.Kind == mailbox.KindUnlink, Ref: m.Ref, Reply: m.Reply}
	var g address.Grant
	err := s.keys.Verify(&g, m.Reply)
	if err == nil {
		err = g.Permit(address.Send, time.Now())
	}
	if err == nil && w.Link && !checked { // what the reply address is of is linked as well
		err = g.Permit(address.Link, time.Now())
	}
	if err == nil {
		err = g.PermitReply(m.Ref)
	}
	if err == nil {
		err = g.PermitBody([]byte("{}")) // what is told has no type
	}
	if err != nil {
		return w, fmt.Errorf("reply: %w", err)
	}
	if until, ends := g.Expires(); ends {
		w.Until = until.Unix()
	}
	if m.Kind == mailbox.KindMonitor {
		err = readMonitor(&w, body)
	}
	return w, err
}

// watch adds a watch to a mailbox, on whatever node, or removes it.
func (s *Server) watch(id uuid.UUID, w *mailbox.Watch, remove bool) error {
	return s.at(id, func(b *box) error {
		stored, err := b.watch(w, remove)
		if err != nil {
			return err
		}
		return stored.wait()
	}, func(n *node) error { return n.watch(id, w, remove) })
}

// watch adds a watch, or removes it. Where there is no room, watches whose watcher is gone make some.
func (b *box) watch(w *mailbox.Watch, remove bool) (*commit, error) {
	stored, err := b.tryWatch(w, remove)
	if errors.Is(err, mailbox.ErrWatched) && b.unwatchGone() {
		return b.tryWatch(w, remove)
	}
	return stored, err
}

// unwatchGone removes the watches of mailboxes that this node knows to have ended, and reports whether there were any.
func (b *box) unwatchGone() (some bool) {
	b.mu.Lock()
	all := b.mail.Watches()
	b.mu.Unlock()
	for i := range all {
		if !b.server.isPast(&all[i]) {
			continue
		}
		if _, err := b.tryWatch(&all[i], true); err == nil {
			some = true
		}
	}
	return some
}

func (b *box) tryWatch(w *mailbox.Watch, remove bool) (*commit, error) {
	if err := b.log.ready(); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.over(); err != nil {
		return nil, err
	}
	if remove {
		if b.mail.HasWatch(w) { // the end of a monitor does not undo half a link
			b.mail.Unwatch(w)
			b.unwatchPresence(w)
			return b.note(&mailbox.Record{Type: mailbox.Unwatched, Watch: *w}), nil
		}
		if b.log == nil {
			return nil, nil
		}
		return b.log.newest(), nil // it may be being taken back
	}
	known, err := b.mail.CanWatch(w)
	switch {
	case err != nil:
		return nil, err
	case known && b.log != nil:
		return b.log.newest(), nil
	case known:
		return nil, nil
	}
	b.mail.Watch(*w)
	b.watchPresence(w)
	return b.note(&mailbox.Record{Type: mailbox.Watched, Watch: *w}), nil
}

// linkBack lets the mailbox id know when the one ends that is linked to it, which is the target of the link's reply
// address.
func (s *Server) linkBack(id uuid.UUID, w *mailbox.Watch, remove bool) error {
	key := s.keys.MailboxKey(id)
	return s.linkBackTo(key.Address, w, remove)
}

// linkBackTo does so with what narrows the capability of the other end.
func (s *Server) linkBackTo(narrow func(...address.Caveat) (address.Address, error), w *mailbox.Watch, remove bool) error {
	reply, err := narrow(linkCaveats(w)...)
	if err != nil {
		return fmt.Errorf("server: link: %w", err)
	}
	back := mailbox.Watch{Link: true, Until: w.Until, Ref: w.Ref, Reply: reply.String()}
	var g address.Grant
	if err := s.keys.Verify(&g, w.Reply); err != nil {
		return err
	}
	if g.Kind() == address.Process {
		if err = s.watchFor(string(g.Name()), &back, remove); err != nil && !remove {
			err = errors.Join(err, s.watchFor(string(g.Name()), &back, true))
		}
	} else {
		err = s.watch(g.Mailbox(), &back, remove)
	}
	if hasEnded(err) && !remove {
		return s.notices.offer(notice{server: s, tellings: []telling{tellingOf(&back, downOf(err, nil))}})
	}
	return err
}

// linkCaveats are those of the reply address that half a link has which the server made.
func linkCaveats(w *mailbox.Watch) []address.Caveat {
	caveats := []address.Caveat{address.Only(address.Send), address.Reply(w.Ref)}
	if w.Until != 0 {
		caveats = append(caveats, address.Expires(time.Unix(w.Until, 0)))
	}
	return caveats
}

// takeHalvesBack does so with what the other ends of a process's links have of them, which must not end what has its name next.
func (s *Server) takeHalvesBack(name string, watches []mailbox.Watch) {
	var halves []telling
	home, err := s.keys.Process(name)
	for i := 0; i < len(watches) && err == nil; i++ {
		w := &watches[i]
		if !w.Link {
			continue
		}
		of, badReply := address.Parse(w.Reply)
		back, badCaveat := home.Attenuate(s.otherHalf(w)...)
		if badReply == nil && badCaveat == nil {
			halves = append(halves, telling{of: of, kind: mailbox.KindUnlink, reply: back.String(), ref: w.Ref})
		}
	}
	s.notices.add(notice{server: s, tellings: halves})
}

// otherHalf returns the caveats of the reply address in the other half of a process's link: who asked for the link gave one that
// may be linked, and the server made the one of the half that goes back.
func (s *Server) otherHalf(w *mailbox.Watch) []address.Caveat {
	var g address.Grant
	if s.keys.Verify(&g, w.Reply) == nil && g.Permit(address.Link, time.Time{}) != nil { // whether it has expired or not
		return askingCaveats(true, w.Ref)
	}
	return linkCaveats(w)
}

// watchFor adds a watch of a process of this node, or removes it, and waits until that is known and stored.
func (s *Server) watchFor(name string, w *mailbox.Watch, remove bool) error {
	posted, err := s.following(name, w, remove, func() error {
		known, err := s.watchProcess(name, w, remove)
		if err == nil {
			known.wait()
		}
		return err
	})
	if err == nil {
		_, err = posted.Wait()
	}
	return err
}

// exit ends a mailbox on whatever node, for somebody who has the right.
func (s *Server) exit(id uuid.UUID, detail []byte) error {
	return s.at(id, func(b *box) error { return b.exit(detail) }, func(n *node) error { return n.exit(id, detail) })
}

// maxDetail is how long the reason of an exit may be, in bytes.
const maxDetail = 1 << 10

func checkDetail(detail []byte) error {
	if len(detail) > maxDetail {
		return fmt.Errorf("%w: the reason of an exit has %d bytes; want at most %d", ErrEnvelope, len(detail), maxDetail)
	}
	return nil
}

func (b *box) exit(detail []byte) error {
	if err := checkDetail(detail); err != nil {
		return err
	}
	if err := b.log.ready(); err != nil {
		return err
	}
	stored, err := b.end(ErrExited, slices.Clone(detail), func() bool { return true })
	if err != nil {
		return err
	}
	return stored.wait()
}
