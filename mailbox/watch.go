package mailbox

import (
	"errors"
	"slices"
	"strings"
	"time"
)

// Watch is somebody who wants to know when the mailbox ends.
type Watch struct {
	Link   bool   // it is told that what it is linked to exited; else that what it monitors is down
	States bool   // it is told, too, when the mailbox gets a reader, and when it has none any more
	Grace  int64  // seconds without a reader that are an end to it, though the mailbox lives on; 0: none are
	Until  int64  // seconds since 1970 from which on it is not told any more; 0: it always is
	Ref    string // by which it knows what it is told
	Reply  string // the reply address for that
}

// Is reports whether the two are one watch: they have the same Ref and Reply.
func (w *Watch) Is(other Watch) bool { return w.Ref == other.Ref && w.Reply == other.Reply }

// maxWatches is how many watches a mailbox has at most, and how many of the newest calls it remembers.
const maxWatches = 1000

// ErrWatched is why a mailbox takes no more watches.
var ErrWatched = errors.New("too many monitors and links: 1000")

// watched is who is told of the mailbox's end, and of whose end it is to be told.
type watched struct {
	watches []Watch // oldest first
	calls   []*Meta // of the newest calls that came; from next on, oldest first
	next    int
	follows []Follow // in the order of their Refs
}

// CanWatch returns [ErrWatched] if there is no room for w. That it is there already is reported by known.
func (m *Mailbox) CanWatch(w *Watch) (known bool, err error) {
	switch {
	case m.watched == nil:
		return false, nil
	case m.watch(w) >= 0:
		return true, nil
	case len(m.watched.watches) >= maxWatches:
		return false, ErrWatched
	}
	return false, nil
}

// Watch adds a watch that there is room for.
func (m *Mailbox) Watch(w Watch) {
	m.watching().watches = append(m.watching().watches, w)
}

// HasWatch reports whether that very monitor or link is there.
func (m *Mailbox) HasWatch(w *Watch) bool {
	if m.watched == nil {
		return false
	}
	i := m.watch(w)
	return i >= 0 && m.watched.watches[i].Link == w.Link
}

// Unwatch removes the watch with the same Ref and Reply, and reports whether there was one.
func (m *Mailbox) Unwatch(w *Watch) bool {
	if m.watched == nil {
		return false
	}
	i := m.watch(w)
	if i >= 0 {
		m.watched.watches = slices.Delete(m.watched.watches, i, i+1)
	}
	return i >= 0
}

// watch returns the place of the watch with the same Ref and Reply; below 0 for none.
func (m *Mailbox) watch(w *Watch) int {
	return slices.IndexFunc(m.watched.watches, w.Is)
}

func (m *Mailbox) watching() *watched {
	if m.watched == nil {
		m.watched = &watched{}
	}
	return m.watched
}

// Watches returns who watches the mailbox, oldest first.
func (m *Mailbox) Watches() []Watch {
	if m.watched == nil {
		return nil
	}
	return slices.Clone(m.watched.watches)
}

// Calls returns what was said about the newest calls that came, whether they were answered or not, oldest first.
func (m *Mailbox) Calls() []*Meta {
	if m.watched == nil {
		return nil
	}
	return slices.Concat(m.watched.calls[m.watched.next:], m.watched.calls[:m.watched.next])
}

// callsBefore returns the calls that wait, oldest first, without those in the queue from begin on.
func (m *Mailbox) callsBefore(begin int, waits func(*Meta) bool) (calls []*Meta) {
	all := m.Calls()
	if len(all) == 0 {
		return nil // as of most mailboxes
	}
	queued := make(map[*Meta]bool)
	for i := begin; i < m.queue.len(); i++ {
		queued[m.queue.at(i).Meta] = true
	}
	for _, c := range all {
		if !queued[c] && waits(c) {
			calls = append(calls, c)
		}
	}
	return calls
}

// called notes a call, in the place of the oldest one if there are too many.
func (m *Mailbox) called(call *Meta) {
	w := m.watching()
	if len(w.calls) < maxWatches {
		w.calls = append(w.calls, call)
		return
	}
	w.calls[w.next] = call
	w.next = (w.next + 1) % maxWatches
}

// Follow is a watch that the mailbox itself has, of a process: where that is, nothing is stored. It is over once the
// mailbox got a message of kind down or exited with its Ref.
type Follow struct {
	Watch          // its Reply is of the mailbox
	Process string // the name
	Single  bool   // it runs on one node at a time, so that another node's of that name is no substitute
}

// maxFollows is how many processes a mailbox follows at most. Who knows its address can let it follow some.
const maxFollows = 10_000

// MayFollow reports whether f is worth noting: it is not there yet, there is room for it, and nothing was answered with
// its Ref, which would be told a second time.
func (m *Mailbox) MayFollow(f *Follow, now time.Time) bool {
	if m.names.has(HashAnswer(f.Ref), now, m.limits) {
		return false
	}
	if m.watched == nil {
		return true
	}
	if i, found := m.followed(f.Ref); found {
		return m.watched.follows[i] != *f
	}
	m.forgetFollows(now)
	return len(m.watched.follows) < maxFollows
}

// forgetFollows forgets those whose time is over, if there would be no room for one more.
func (m *Mailbox) forgetFollows(now time.Time) {
	if w := m.watched; len(w.follows) == cap(w.follows) || len(w.follows) >= maxFollows {
		w.follows = slices.DeleteFunc(w.follows, func(f Follow) bool { return f.past(now) })
	}
}

func (w *Watch) past(now time.Time) bool { return w.Until != 0 && w.Until <= now.Unix() }

// followed returns the place of the watch of a process with that Ref, or where it would be.
func (m *Mailbox) followed(ref string) (place int, found bool) {
	return slices.BinarySearchFunc(m.watched.follows, ref, func(f Follow, ref string) int { return strings.Compare(f.Ref, ref) })
}

// Follow notes a watch of a process, in the place of one with the same Ref.
func (m *Mailbox) Follow(f Follow, now time.Time) {
	w := m.watching()
	m.forgetFollows(now)
	if i, found := m.followed(f.Ref); found {
		w.follows[i] = f
	} else {
		w.follows = slices.Insert(w.follows, i, f)
	}
}

// Follows reports whether that very watch of that process is there.
func (m *Mailbox) Follows(f *Follow) bool {
	if m.watched == nil {
		return false
	}
	i, found := m.followed(f.Ref)
	if !found {
		return false
	}
	have := &m.watched.follows[i]
	return have.Process == f.Process && have.Link == f.Link && have.Reply == f.Reply
}

// Unfollow forgets the watch of a process with that Ref.
func (m *Mailbox) Unfollow(ref string) {
	if m.watched == nil {
		return
	}
	if i, found := m.followed(ref); found {
		m.watched.follows = slices.Delete(m.watched.follows, i, i+1)
	}
	if len(m.watched.follows) == 0 {
		m.watched.follows = nil
	}
}

// Following returns the watches of processes that the mailbox has and whose time is not over, by their Refs.
func (m *Mailbox) Following(now time.Time) (all []Follow) {
	if m.watched == nil {
		return nil
	}
	for _, f := range m.watched.follows {
		if !f.past(now) {
			all = append(all, f)
		}
	}
	return all
}
