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
	refused   map[*problem.Kind]*atomic.Int64 // messages, by why; has every kind
	unopened  map[*problem.Kind]*atomic.Int64 // mailboxes, in the same way
}

func (t *tally) init() {
	t.refused, t.unopened = make(map[*problem.Kind]*atomic.Int64), make(map[*problem.Kind]*atomic.Int64)
	for _, k := range problem.Kinds() {
		t.refused[k], t.unopened[k] = new(atomic.Int64), new(atomic.Int64)
	}
}

// refuse counts a message that was refused.
func (t *tally) refuse(k *problem.Kind) {
	if n := t.refused[k]; n != nil {
		n.Add(1)
	}
}

// refuseOpen counts a mailbox that was not opened.
func (t *tally) refuseOpen(k *problem.Kind) {
	if n := t.unopened[k]; n != nil {
		n.Add(1)
	}
}
