package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
)

// telling is one message that says that something ended; or it takes a watch back whose watcher ended.
type telling struct {
	reply, ref string
	kind       mailbox.Kind
	body       []byte
	of         address.Address // what was watched, if a watch is taken back

	// of the newest attempt
	toMailbox bool
	posted    Posted
	failed    error
}

func tellingOf(w *mailbox.Watch, d Down) telling {
	kind := mailbox.KindDown
	if w.Link {
		kind = mailbox.KindExited
	}
	return telling{reply: w.Reply, ref: w.Ref, kind: kind, body: mustMarshal(d)}
}

// tellings are those of the end of a mailbox: to who watches it, and to who called it and may wait for an answer.
func tellings(why error, detail []byte, watches []mailbox.Watch, calls []*mailbox.Meta) []telling {
	var all []telling
	for i := range watches {
		all = append(all, tellingOf(&watches[i], downOf(why, detail)))
	}
	for _, c := range calls {
		all = append(all, telling{reply: c.Reply, ref: c.Ref, kind: mailbox.KindFailure, body: mustMarshal(FailureOf(why))})
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

// notice is what is to be told of one end.
type notice struct {
	server   *Server
	tellings []telling
	still    func() bool     // nil, or whether it is still to be told
	done     func(told bool) // nil, or called when there is nothing left to try: whether all were told
	lasting  bool            // while a mailbox can't be reached it is tried on, each retryLate

	deadline time.Time // of the attempts; zero before the first one. Once one is late, when the next is due
	missed   bool      // somebody was not told in time
	late     bool      // this attempt is the last, but for what lasts
	rests    bool      // there is no attempt now
	over     bool      // it is not to be told any more
}

// notices tells who is to be told, in a goroutine that lives while there is somebody. Who can't be told now is tried
// again, and nobody waits for that.
type notices struct {
	mu      sync.Mutex
	queue   []notice
	left    int // how many could not be told yet
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

// offer adds what somebody asked for who may ask again. The error is [ErrOverloaded] if too much waits.
func (q *notices) offer(n notice) error {
	q.mu.Lock()
	full := len(q.queue)+q.left >= maxNotices
	q.mu.Unlock()
	if full {
		return ErrOverloaded
	}
	q.add(n)
	return nil
}

// end tells nobody any more, once it was tried to tell who waits.
func (q *notices) end() {
	q.mu.Lock()
	q.ended = true
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
	retryLate    = 2 * time.Second
	// maxNotices is how many may wait until nobody is told at once any more that what it would watch is gone.
	maxNotices = 10_000
)

// run tells what comes at once, and tries the rest again after a while: what can't be told must not be tried anew for
// each that comes.
func (q *notices) run(done <-chan struct{}) {
	defer q.idle.Done()
	var left []notice
	again := time.Now() // when what is left is tried again
	for {
		fresh, ok := q.take(len(left))
		if !ok {
			return
		}
		fresh = tryAll(fresh)
		if !time.Now().Before(again) {
			left, again = tryAll(left), time.Now().Add(retryTell)
		}
		if left = append(left, fresh...); len(left) == 0 {
			continue
		}
		timer := time.NewTimer(time.Until(again))
		select {
		case <-timer.C:
		case <-q.more:
		case <-done:
			again = time.Now()
		}
		timer.Stop()
	}
}

// take returns what came; ok is false if there is nothing, and nothing left of what came before or the end came.
func (q *notices) take(left int) (fresh []notice, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	fresh, q.queue, q.left = q.queue, nil, left
	q.running = len(fresh) > 0 || left > 0 && !q.ended
	return fresh, q.running
}

// tellAtOnce is how many messages are placed before it is waited until they are stored, which they are together.
const tellAtOnce = 100

// tryAll returns the notices that are to be tried again. Who is told of several is told in their order.
func tryAll(all []notice) (left []notice) {
	var placed []*telling
	wait := func() {
		for _, t := range placed {
			t.wait()
		}
		placed = placed[:0]
	}
	for i := range all {
		n := &all[i]
		for j := range n.begin() {
			if len(placed) == tellAtOnce {
				wait()
			}
			t := &n.tellings[j]
			t.posted, t.failed = n.server.tell(t)
			placed = append(placed, t)
		}
	}
	wait()
	for i := range all {
		if n := &all[i]; !n.settle() {
			left = append(left, *n)
		}
	}
	return left
}

// begin returns what is to be told in this attempt.
func (n *notice) begin() []telling {
	now := time.Now()
	if n.deadline.IsZero() {
		n.deadline = now.Add(tellPatience)
	}
	if n.rests = n.late && now.Before(n.deadline); n.rests {
		return nil
	}
	n.late = now.After(n.deadline)
	if n.over = n.still != nil && !n.still(); n.over {
		return nil
	}
	return n.tellings
}

// passing are why somebody can't be told now.
var passing = []error{ErrUnavailable, ErrOverloaded, ErrShuttingDown, ErrFull, mailbox.ErrFull}

// settle reports whether there is nothing left to try.
func (n *notice) settle() bool {
	if n.over || n.rests {
		return n.over
	}
	n.tellings = slices.DeleteFunc(n.tellings, func(t telling) bool {
		if !slices.ContainsFunc(passing, func(err error) bool { return errors.Is(t.failed, err) }) {
			return true // told, or it never can be
		}
		if !n.late || n.lasting && t.toMailbox && errors.Is(t.failed, ErrUnavailable) {
			return false
		}
		n.missed = true
		n.server.log.Warn("somebody who watches could not be told", "kind", t.kind, "error", t.failed)
		return true
	})
	if len(n.tellings) > 0 {
		if n.late {
			n.deadline = time.Now().Add(retryLate)
		}
		return false
	}
	if n.done != nil {
		n.done(!n.missed)
	}
	return true
}

// wait returns when the telling is stored, or could not be.
func (t *telling) wait() {
	if t.failed != nil {
		return
	}
	var wake Reader
	if wake, t.failed = t.posted.Wait(); wake != nil {
		wake.Wake()
	}
	t.posted = Posted{}
}

// tell sends through a reply address, which takes one answer and no second. Who calls it must wait for what is returned.
func (s *Server) tell(t *telling) (posted Posted, err error) {
	if t.of != (address.Address{}) {
		return s.takeBack(t)
	}
	var g address.Grant
	if err := s.keys.Verify(&g, t.reply); err != nil {
		return posted, err
	}
	t.toMailbox = g.Kind() == address.Mailbox
	if err := g.Permit(address.Send, time.Now()); err != nil {
		return posted, err
	}
	if err := g.PermitReply(t.ref); err != nil {
		return posted, err
	}
	if err := g.PermitBody(t.body); err != nil {
		return posted, err
	}
	if !s.knowsWay(&g) {
		return posted, ErrUnavailable // others must not wait for that
	}
	msg := mailbox.Message{Body: t.body, Meta: &mailbox.Meta{Kind: t.kind, Ref: t.ref, Via: g.Labels()}}
	once := mailbox.HashAnswer(t.ref)
	if t.kind == mailbox.KindState { // the only one that others may follow
		once = mailbox.NameHash{}
	}
	posted, err = s.place(fromOutside, &g, msg, once)
	if errors.Is(err, ErrGone) && g.Kind() == address.Process && s.cluster != nil {
		err = fmt.Errorf("%w: %w", ErrUnavailable, err) // it may be so new on another node that this one has not heard of it
	}
	return posted, err
}

// knowsWay reports whether some node is known to have what a capability leads to, if only one can have it.
func (s *Server) knowsWay(g *address.Grant) bool {
	if s.cluster == nil {
		return true
	}
	shard := shardOf(g.Mailbox())
	if g.Kind() == address.Process {
		if !s.processes.isOne(string(g.Name())) {
			return true
		}
		shard = shardOfName(string(g.Name()))
		if s.processes.vacating[shard].Load() != 0 || s.cluster.routes.Load().going[shard] {
			return false // whoever sends there waits
		}
	}
	return s.shards[shard].isOwned() || s.cluster.routes.Load().shards[shard] != nil
}
