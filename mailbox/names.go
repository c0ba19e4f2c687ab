package mailbox

import (
	"crypto/sha256"
	"slices"
	"time"
)

// names remembers the idempotency keys of a window. It keeps hashes, so that long names cost no more.
type names struct {
	seen  map[NameHash]struct{}
	order []name // oldest first, from next on
	next  int
}

// Names remembers idempotency keys for what is no mailbox. The zero value is empty.
type Names struct{ names }

// Known reports whether a name was used within the window.
func (n *Names) Known(h NameHash, now time.Time, l *Limits) bool { return n.has(h, now, l) }

// Remember notes a name, and reports whether it was used within the window.
func (n *Names) Remember(h NameHash, now time.Time, l *Limits) (known bool) {
	if known = n.has(h, now, l); !known {
		n.add(h, now, l)
	}
	return known
}

// NameHash stands for an idempotency key: the first half of its SHA-256.
type NameHash [16]byte

type name struct {
	hash NameHash
	at   int64 // seconds since 1970
}

// HashName returns what is kept of a name; the zero value for an empty one, which is none.
func HashName(s string) NameHash {
	if s == "" {
		return NameHash{}
	}
	sum := sha256.Sum256([]byte(s))
	return NameHash(sum[:])
}

// HashAnswer returns what is kept of the answer to a ref. No idempotency key has the same: they have no spaces.
func HashAnswer(ref string) NameHash { return HashName("answer to " + ref) }

func (n *names) has(h NameHash, now time.Time, l *Limits) bool {
	if n == nil {
		return false
	}
	n.forget(now.Add(-l.NameWindow).Unix(), l.Names)
	_, ok := n.seen[h]
	return ok
}

func (n *names) add(h NameHash, now time.Time, l *Limits) {
	n.forget(now.Add(-l.NameWindow).Unix(), l.Names-1)
	if n.seen == nil {
		n.seen = make(map[NameHash]struct{})
	}
	if _, again := n.seen[h]; again { // records of a time when names were remembered for less long
		i := slices.IndexFunc(n.order[n.next:], func(n name) bool { return n.hash == h })
		n.order = slices.Delete(n.order, n.next+i, n.next+i+1)
	}
	n.seen[h] = struct{}{}
	n.order = append(n.order, name{h, now.Unix()})
}

// forget drops names of before and earlier, and the oldest beyond most.
func (n *names) forget(before int64, most int) {
	for n.next < len(n.order) && (n.order[n.next].at <= before || len(n.seen) > most) {
		delete(n.seen, n.order[n.next].hash)
		n.next++
	}
	if n.next > len(n.order)/2 {
		n.order = append(n.order[:0], n.order[n.next:]...)
		n.next = 0
	}
}

// list returns the names that are remembered, oldest first.
func (n *names) list(now time.Time, l *Limits) []Name {
	if n == nil {
		return nil
	}
	n.forget(now.Add(-l.NameWindow).Unix(), l.Names)
	var all []Name
	for _, name := range n.order[n.next:] {
		all = append(all, Name{name.hash, max(time.Duration(now.Unix()-name.at)*time.Second, 0)})
	}
	return all
}

// shift makes the names younger, after a pause that does not count.
func (n *names) shift(pause time.Duration) {
	if n == nil {
		return
	}
	for i := range n.order {
		n.order[i].at += int64(pause / time.Second)
	}
}
