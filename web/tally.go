package web

import (
	"sync/atomic"

	"github.com/genbrowser/genbrowser/web/problem"
)

// tally counts what only the face to the clients sees.
type tally struct {
	_         [64]byte // each message may add to delivered: nothing that others read may be on its cache line
	delivered atomic.Int64
	fast      atomic.Int64 // sends served by the fast lane
	_         [48]byte
	requests  byKind // that were refused
	refused   byKind // messages
	unopened  byKind // mailboxes
}

func (t *tally) init() {
	for _, b := range []*byKind{&t.requests, &t.refused, &t.unopened} {
		*b = make(byKind)
		for _, k := range problem.Kinds() {
			(*b)[k] = new(atomic.Int64)
		}
	}
}

// byKind counts what was refused, by why. It has every kind.
type byKind map[*problem.Kind]*atomic.Int64

func (b byKind) add(k *problem.Kind) {
	if n := b[k]; n != nil {
		n.Add(1)
	}
}
