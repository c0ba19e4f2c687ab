package mailbox

import (
	"crypto/sha256"
	"time"
)

// names remembers the idempotency keys of a window. It keeps hashes, so that long names cost no more.
type names struct {
	seen  map[nameHash]struct{}
	order []name // oldest first, from next on
	next  int
}

type nameHash [16]byte

type name struct {
	hash nameHash
	at   int64 // seconds since 1970
}

func hashName(s string) nameHash {
	sum := sha256.Sum256([]byte(s))
	return nameHash(sum[:])
}

func (n *names) has(h nameHash, now time.Time, l *Limits) bool {
	if n == nil {
		return false
	}
	n.forget(now.Add(-l.NameWindow).Unix(), l.Names)
	_, ok := n.seen[h]
	return ok
}

func (n *names) add(h nameHash, now time.Time, l *Limits) {
	n.forget(now.Add(-l.NameWindow).Unix(), l.Names-1)
	if n.seen == nil {
		n.seen = make(map[nameHash]struct{})
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
