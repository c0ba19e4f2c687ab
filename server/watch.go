package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
)

// Down says why a mailbox or process ended: the body of messages of kind down and exited.
type Down struct {
	Reason string `json:"reason"` // normal, closed, expired, exit, crashed or gone
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
	case mailbox.KindDown, mailbox.KindExited:
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
		return Posted{}, s.requestProcess(ctx, string(g.Name()), l)
	}
	id := g.Mailbox()
	if l.Kind == mailbox.KindExit {
		return Posted{}, s.exit(id, l.Body)
	}
	w, err := s.watchOf(&l.Meta)
	if err != nil {
		return Posted{}, err
	}
	remove := l.Kind == mailbox.KindDemonitor || l.Kind == mailbox.KindUnlink
	err = s.watch(id, &w, remove)
	switch {
	case remove && hasEnded(err):
		return Posted{}, nil
	case hasEnded(err):
		s.notices.add(notice{server: s, tellings: []telling{tellingOf(&w, downOf(err, nil))}})
		return Posted{}, nil
	case err == nil && w.Link:
		err = s.linkBack(id, &w, remove)
	}
	return Posted{}, err
}

// requestProcess asks a process, on whatever node, to be watched, or ends it. What links is on this node, or a mailbox.
func (s *Server) requestProcess(ctx context.Context, name string, l *Letter) error {
	posted, err := s.toProcess(ctx, name, mailbox.Message{Body: l.Body, Meta: &l.Meta}, mailbox.NameHash{})
	if err == nil {
		_, err = posted.Wait()
	}
	if err != nil || l.Kind != mailbox.KindLink && l.Kind != mailbox.KindUnlink {
		return err
	}
	w, err := s.watchOf(&l.Meta)
	if err != nil {
		return err
	}
	home, err := s.keys.Process(name)
	if err != nil {
		return err
	}
	return s.linkBackTo(home.Attenuate, &w, l.Kind == mailbox.KindUnlink)
}

// watchOf checks the reply address of what asks to watch.
func (s *Server) watchOf(m *mailbox.Meta) (mailbox.Watch, error) {
	w := mailbox.Watch{Link: m.Kind == mailbox.KindLink || m.Kind == mailbox.KindUnlink, Ref: m.Ref, Reply: m.Reply}
	var g address.Grant
	err := s.keys.Verify(&g, m.Reply)
	if err == nil {
		err = g.Permit(address.Send, time.Now())
	}
	if err == nil {
		err = g.PermitReply(m.Ref)
	}
	if err != nil {
		return w, fmt.Errorf("reply: %w", err)
	}
	if until, ends := g.Expires(); ends {
		w.Until = until.Unix()
	}
	return w, nil
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
		var g address.Grant
		if b.server.keys.Verify(&g, all[i].Reply) != nil || g.Kind() != address.Mailbox {
			continue
		}
		if _, err := b.server.box(g.Mailbox()); err == nil || errors.Is(err, errElsewhere) {
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
		if b.mail.Unwatch(w) {
			return b.note(&mailbox.Record{Type: mailbox.Unwatched, Watch: *w}), nil
		}
		return nil, nil
	}
	known, err := b.mail.CanWatch(w, b.server.clock.now())
	switch {
	case err != nil:
		return nil, err
	case known && b.log != nil:
		return b.log.newest(), nil
	case known:
		return nil, nil
	}
	b.mail.Watch(*w)
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
	caveats := []address.Caveat{address.Only(address.Send), address.Reply(w.Ref)}
	if w.Until != 0 {
		caveats = append(caveats, address.Expires(time.Unix(w.Until, 0)))
	}
	reply, err := narrow(caveats...)
	if err != nil {
		return fmt.Errorf("server: link: %w", err)
	}
	back := mailbox.Watch{Link: true, Until: w.Until, Ref: w.Ref, Reply: reply.String()}
	var g address.Grant
	if err := s.keys.Verify(&g, w.Reply); err != nil {
		return err
	}
	if g.Kind() == address.Process {
		err = s.watchers.change(string(g.Name()), &back, remove)
	} else {
		err = s.watch(g.Mailbox(), &back, remove)
	}
	if hasEnded(err) && !remove {
		s.notices.add(notice{server: s, tellings: []telling{tellingOf(&back, downOf(err, nil))}})
		return nil
	}
	return err
}

// exit ends a mailbox on whatever node, for somebody who has the right.
func (s *Server) exit(id uuid.UUID, detail []byte) error {
	return s.at(id, func(b *box) error { return b.exit(detail) }, func(n *node) error { return n.exit(id, detail) })
}

// maxDetail is how long the reason of an exit may be, in bytes.
const maxDetail = 1 << 10

func (b *box) exit(detail []byte) error {
	if len(detail) > maxDetail {
		return fmt.Errorf("%w: the reason of an exit has %d bytes; want at most %d", ErrEnvelope, len(detail), maxDetail)
	}
	if err := b.log.ready(); err != nil {
		return err
	}
	b.mu.Lock()
	if b.why == nil && b.ending == nil {
		b.detail = slices.Clone(detail)
	}
	b.mu.Unlock()
	stored, err := b.end(ErrExited, func() bool { return true })
	if err != nil {
		return err
	}
	return stored.wait()
}

// telling is one message that says that something ended.
type telling struct {
	reply, ref string
	kind       mailbox.Kind
	body       []byte
}

func tellingOf(w *mailbox.Watch, d Down) telling {
	kind := mailbox.KindDown
	if w.Link {
		kind = mailbox.KindExited
	}
	return telling{w.Reply, w.Ref, kind, mustMarshal(d)}
}

// tellings are those of the end of a mailbox: to who watches it, and to who called it and may wait for an answer.
func tellings(why error, detail []byte, watches []mailbox.Watch, calls []*mailbox.Meta) []telling {
	var all []telling
	for i := range watches {
		all = append(all, tellingOf(&watches[i], downOf(why, detail)))
	}
	for _, c := range calls {
		all = append(all, telling{c.Reply, c.Ref, mailbox.KindFailure, mustMarshal(FailureOf(why))})
	}
	return all
}

func mustMarshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		b, _ = json.Marshal(Down{Reason: "crashed", Detail: fmt.Sprint(v)}) // somebody's detail is no JSON
	}
	return b
}

// notice is what is to be told of one end; done is called once all were.
type notice struct {
	server   *Server
	tellings []telling
	done     func()

	deadline time.Time // of the attempts; zero before the first one
	missed   bool      // somebody was not told in time
}

// notices tells who is to be told, in a goroutine that lives while there is somebody. Who can't be told now is tried
// again, and nobody waits for that.
type notices struct {
	mu      sync.Mutex
	queue   []notice
	running bool
	ended   bool
	more    chan struct{} // has room for one
	idle    sync.WaitGroup
}

func (q *notices) add(n notice) {
	if len(n.tellings) == 0 {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended {
		return // who reads the log next tells it
	}
	q.queue = append(q.queue, n)
	if q.running {
		select {
		case q.more <- struct{}{}:
		default:
		}
		return
	}
	q.running, q.more = true, make(chan struct{}, 1)
	q.idle.Add(1)
	go q.run(n.server.done)
}

// end tells nobody any more.
func (q *notices) end() {
	q.mu.Lock()
	q.ended, q.queue = true, nil
	if q.running {
		close(q.more)
	}
	q.mu.Unlock()
	q.idle.Wait()
}

const (
	// tellPatience is how long somebody is tried to be told who can't be reached, or whose mailbox is full.
	tellPatience = 10 * time.Second
	retryTell    = 200 * time.Millisecond
)

func (q *notices) run(done <-chan struct{}) {
	defer q.idle.Done()
	for {
		q.mu.Lock()
		batch := q.queue
		q.queue = nil
		q.running = len(batch) > 0
		q.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		var left []notice
		for i := range batch {
			if n := &batch[i]; !n.tell() {
				left = append(left, *n)
			}
		}
		if len(left) == 0 {
			continue
		}
		if !q.putBack(left) {
			return
		}
		timer := time.NewTimer(retryTell)
		select {
		case <-timer.C:
		case <-q.more:
		case <-done:
		}
		timer.Stop()
	}
}

// putBack reports whether what could not be told may be tried again.
func (q *notices) putBack(left []notice) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended {
		q.running = false
		return false
	}
	q.queue = append(left, q.queue...)
	return true
}

// tell tries to tell all who were not told, and reports whether there is nothing left to try.
func (n *notice) tell() bool {
	if n.deadline.IsZero() {
		n.deadline = time.Now().Add(tellPatience)
	}
	late := time.Now().After(n.deadline)
	n.tellings = slices.DeleteFunc(n.tellings, func(t telling) bool {
		err := n.server.tell(&t)
		if !errors.Is(err, ErrUnavailable) && !errors.Is(err, mailbox.ErrFull) && !errors.Is(err, ErrFull) {
			return true // told, or it never can be
		}
		if late {
			n.missed = true
			n.server.log.Warn("somebody could not be told of an end", "kind", t.kind, "error", err)
		}
		return late
	})
	if len(n.tellings) > 0 {
		return false
	}
	if !n.missed && n.done != nil {
		n.done()
	}
	return true
}

// tell sends through a reply address, which takes one answer and no second.
func (s *Server) tell(t *telling) error {
	var g address.Grant
	if err := s.keys.Verify(&g, t.reply); err != nil {
		return err
	}
	if err := g.Permit(address.Send, time.Now()); err != nil {
		return err
	}
	if err := g.PermitReply(t.ref); err != nil {
		return err
	}
	msg := mailbox.Message{Body: t.body, Meta: &mailbox.Meta{Kind: t.kind, Ref: t.ref}}
	posted, err := s.place(fromOutside, &g, msg, mailbox.HashAnswer(t.ref))
	if errors.Is(err, ErrGone) && g.Kind() == address.Process && s.cluster != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err) // it may be so new on another node that this one has not heard of it
	}
	if err != nil {
		return err
	}
	wake, err := posted.Wait()
	if wake != nil {
		wake.Wake()
	}
	return err
}
