package server

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/genbrowser/genbrowser/internal/pack"
	"github.com/genbrowser/genbrowser/mailbox"
)

// routePatience is how long what is for a mailbox waits while its shard goes from one node to another.
const routePatience = 5 * time.Second

// at does something with a mailbox: here if this node owns it, else there. It waits while nobody does.
func (s *Server) at(id uuid.UUID, here func(*box) error, there func(*node) error) error {
	b, err := s.find(id)
	if err == nil {
		err = here(b)
	}
	if !errors.Is(err, errElsewhere) {
		return err
	}
	if s.cluster == nil {
		return ErrUnavailable
	}
	deadline := time.Now().Add(routePatience)
	for {
		if err := s.cluster.reach(); err != nil {
			return err
		}
		n, err := s.cluster.route(shardOf(id), deadline)
		switch {
		case err != nil:
			return err
		case n != nil:
			err = there(n)
		default:
			var b *box
			if b, err = s.find(id); err == nil {
				err = here(b)
			}
		}
		if !errors.Is(err, errElsewhere) {
			return err
		}
		if !s.cluster.awaitChange(deadline) {
			return ErrUnavailable
		}
	}
}

// forward sends a message to the node that owns its mailbox.
func (s *Server) forward(id uuid.UUID, msg mailbox.Message, name mailbox.NameHash) (posted Posted, err error) {
	err = s.at(id, func(b *box) (err error) {
		posted, err = b.append(msg, name, s.clock.now(), true)
		return err
	}, func(n *node) error {
		posted = n.post(id, msg, name, s.clock.now())
		return nil
	})
	return posted, err
}

// openElsewhere makes a mailbox on another node, as one must that owns no shards yet.
func (s *Server) openElsewhere(config json.RawMessage) (id uuid.UUID, start mailbox.Cursor, err error) {
	if s.cluster == nil {
		return id, start, ErrUnavailable
	}
	for deadline := time.Now().Add(routePatience); ; {
		if err := s.cluster.reach(); err != nil {
			return id, start, err
		}
		n, err := s.cluster.route(uint8(rand.IntN(shardCount)), deadline)
		switch {
		case err != nil:
			return id, start, err
		case n != nil:
			id, start, err = n.open(config)
		default:
			id, start, err = s.openHere(config)
		}
		if !errors.Is(err, errElsewhere) {
			return id, start, err
		}
		if !s.cluster.awaitChange(deadline) {
			return id, start, ErrUnavailable
		}
	}
}

func (n *node) open(config json.RawMessage) (id uuid.UUID, start mailbox.Cursor, err error) {
	answer, err := n.ask(isOpen, func(b []byte) []byte { return appendConfig(b, config) }).wait()
	if err != nil {
		return id, start, err
	}
	r := pack.Reader{Rest: answer}
	id, start = readID(&r), readCursor(&r)
	if r.Failed {
		err = ErrUnavailable
	}
	return id, start, err
}

func (n *node) takeOpen(r *pack.Reader) asked {
	a := asked{call: r.Uint()}
	config := slices.Clone(readConfig(r))
	a.wait = func() ([]byte, error) {
		id, start, err := n.cluster.server.openHere(config)
		return appendCursor(id[:], start), err
	}
	return a
}

func (n *node) ack(id uuid.UUID, c mailbox.Cursor) error {
	_, err := n.ask(isAck, func(b []byte) []byte { return appendCursor(append(b, id[:]...), c) }).wait()
	return err
}

func (n *node) close(id uuid.UUID) error {
	_, err := n.ask(isClose, func(b []byte) []byte { return append(b, id[:]...) }).wait()
	return err
}

func (n *node) watch(id uuid.UUID, w *mailbox.Watch, remove bool) error {
	_, err := n.askWatch(id, w, remove).wait()
	return err
}

func (n *node) askWatch(id uuid.UUID, w *mailbox.Watch, remove bool) *call {
	r := mailbox.Record{Type: mailbox.Watched, Mailbox: id, Watch: *w}
	if remove {
		r.Type = mailbox.Unwatched
	}
	return n.ask(isWatch, r.AppendTo)
}

func (n *node) follow(id uuid.UUID, f *mailbox.Follow, remove bool) error {
	r := followRecord(f, remove)
	r.Mailbox = id
	_, err := n.ask(isWatch, r.AppendTo).wait()
	return err
}

func (n *node) exit(id uuid.UUID, detail []byte) error {
	_, err := n.ask(isExit, func(b []byte) []byte { return pack.AppendString(append(b, id[:]...), detail) }).wait()
	return err
}

func (n *node) describe(id uuid.UUID) (config json.RawMessage, start mailbox.Cursor, err error) {
	answer, err := n.ask(isDescribe, func(b []byte) []byte { return append(b, id[:]...) }).wait()
	if err != nil {
		return nil, start, err
	}
	r := pack.Reader{Rest: answer}
	config, start = readConfig(&r), readCursor(&r)
	if r.Failed {
		err = ErrUnavailable
	}
	return config, start, err
}

// frames takes a packet apart and does what it says. What must wait for the log is answered later, all together.
func (n *node) frames(r *pack.Reader) {
	var later []asked
	var came []taken
	for len(r.Rest) > 0 && !r.Failed {
		switch kind := r.Byte(); kind {
		case isAnswer:
			n.answered(r)
		case isPosted:
			n.posted(r)
		case isPost:
			came = n.takePost(came, r)
		case isProcess:
			n.takeForProcess(r)
		case isOpen:
			later = append(later, n.takeOpen(r))
		case isWatch:
			later = append(later, n.takeWatch(r))
		case isAck, isClose, isDescribe, isExit, isDisconnect:
			later = append(later, n.takeAction(kind, r))
		case isSubscribe:
			n.takeSubscribe(r)
		case isDelivered:
			n.edge(r.Uint()).delivered(r.Uint())
		case isUnsubscribe:
			n.takeUnsubscribe(r.Uint())
		case isPush:
			n.takePush(r)
		case isEnd:
			f, err := n.farSubscription(r.Uint()), readEnd(r)
			f.end(err)
		case isProcessWatch:
			n.takeProcessWatch(r)
		case isWatchesAnew:
			n.cluster.server.watchers.forgetNode(n.id)
		case isClaim, isUnregister, isNamed, isUnnamed, isNameless, isNamesAnew:
			n.takeName(kind, r)
		case isReset:
			n.cut(isResumed)
			n.tellWatches() // one may have been in what got lost
			n.tellNames()
			n.cluster.tellAll.Store(true) // it may have given this node up
		case isResumed:
		default:
			r.Fail()
		}
	}
	if r.Failed {
		n.cluster.log.Error("a packet that makes no sense; is the node of another version?", "node", n.id)
		later = later[:max(len(later)-1, 0)] // the last one may be what makes no sense; it is not answered
	}
	if len(came) > 0 {
		n.cluster.background.Go(func() { n.settle(came) })
	}
	if len(later) > 0 {
		n.cluster.background.Go(func() { n.answerAll(later) })
	}
}

// asked is a call of another node that waits for the log.
type asked struct {
	call uint64
	wait func() ([]byte, error)
	err  error
}

func (n *node) answerAll(all []asked) {
	for i := range all {
		a := &all[i]
		var answer []byte
		if a.err == nil {
			answer, a.err = a.wait()
		}
		n.answer(a.call, answer, a.err)
	}
}

// takeAction does what the owner of a mailbox asked another node for.
func (n *node) takeAction(kind byte, r *pack.Reader) asked {
	a := asked{call: r.Uint()}
	id := readID(r)
	var cursor mailbox.Cursor
	var detail []byte
	var retry time.Duration
	switch kind {
	case isAck:
		cursor = readCursor(r)
	case isExit:
		detail = slices.Clone(r.Bytes(r.Uint()))
	case isDisconnect:
		retry = readRetry(r)
	}
	b, err := n.cluster.server.find(id)
	if err != nil {
		a.err = err
		return a
	}
	switch kind {
	case isAck:
		stored, err := b.tryAck(cursor)
		a.err, a.wait = err, func() ([]byte, error) { return nil, stored.wait() }
	case isClose:
		a.wait = func() ([]byte, error) { return nil, b.close() }
	case isExit:
		a.wait = func() ([]byte, error) { return nil, b.exit(detail) }
	case isDisconnect:
		a.wait = func() ([]byte, error) { return nil, b.disconnect(retry) }
	case isDescribe:
		a.wait = b.described
	}
	return a
}

// takeWatch lets the owner of a mailbox watch, or be watched, for another node.
func (n *node) takeWatch(r *pack.Reader) asked {
	a := asked{call: r.Uint()}
	record := readRecord(r)
	if r.Failed {
		return a
	}
	b, err := n.cluster.server.find(record.Mailbox)
	if err != nil {
		a.err = err
		return a
	}
	var stored *commit
	switch record.Type {
	case mailbox.Followed, mailbox.Unfollowed:
		f := mailbox.Follow{Watch: record.Watch, Process: record.Process, Single: record.Single}
		stored, a.err = b.follow(&f, record.Type == mailbox.Unfollowed)
	default:
		stored, a.err = b.watch(&record.Watch, record.Type == mailbox.Unwatched)
	}
	a.wait = func() ([]byte, error) { return nil, stored.wait() }
	return a
}

func (b *box) described() ([]byte, error) {
	if err := b.log.ready(); err != nil { // it may be another node's by now
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return appendCursor(appendConfig(nil, b.config()), b.mail.Start()), b.why()
}
