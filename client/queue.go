package client

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/genbrowser/genbrowser/address"
)

// letter is one message on its way out, until the server answered it or its sender gave up.
type letter struct {
	id     string     // idempotency key, the same each time it is written
	line   []byte     // what is written, with its line end
	answer chan error // gets one: nil, or why it was not accepted; nil for a cast
	tried  bool       // was written, on this connection or an earlier one
	again  bool       // an earlier connection broke before it was answered: the server may have done what it asks
	left   bool       // its sender gave up: its answer is for nobody, and it is not written again

	// of a cast
	to   address.Address
	body any
	room chan struct{} // closed once there is room for it or, with err, there never will be; nil if there was at once
	err  error
}

// queue is the letters of an uplink, in the order in which they were posted. It is guarded by the uplink's mutex.
//
//	blocked → waiting → written → answered
//	             ↑         |
//	             +-- break-+
type queue struct {
	most      int // of letters that are waiting or written
	mostBytes int // of their lines

	blocked []*letter // for want of room
	waiting []*letter // to be written
	written []*letter // on the present connection; the first is answered next
	bytes   int       // of waiting and written
}

// post adds a letter at the end.
func (q *queue) post(l *letter) {
	q.blocked = append(q.blocked, l)
	q.admit()
	if len(q.blocked) > 0 && l.answer == nil {
		l.room = make(chan struct{})
	}
}

// admit moves on what there is room for, in order. A letter that is too long for the queue has it for itself.
func (q *queue) admit() {
	for len(q.blocked) > 0 {
		l := q.blocked[0]
		if held := q.held(); held > 0 && (held >= q.most || q.bytes+len(l.line) > q.mostBytes) {
			return
		}
		q.blocked = shift(q.blocked)
		q.waiting = append(q.waiting, l)
		q.bytes += len(l.line)
		if l.room != nil {
			close(l.room)
		}
	}
}

// held is how many letters are waiting or written.
func (q *queue) held() int { return len(q.waiting) + len(q.written) }

// write returns the letter to write next.
func (q *queue) write() *letter {
	l := q.waiting[0]
	q.waiting = shift(q.waiting)
	q.written = append(q.written, l)
	l.tried = true
	return l
}

// answered takes out the letter that is answered next.
func (q *queue) answered() *letter {
	l := q.written[0]
	q.written = shift(q.written)
	q.bytes -= len(l.line)
	q.admit()
	return l
}

// again has everything that is not answered written anew, on the next connection, in the order it was.
func (q *queue) again() {
	again := q.written
	q.written = nil
	again = slices.DeleteFunc(again, func(l *letter) bool {
		if l.left {
			q.bytes -= len(l.line)
		}
		return l.left
	})
	for _, l := range again {
		l.again = true
	}
	q.waiting = append(again, q.waiting...)
	q.admit()
}

// leave takes out a letter whose sender gave up, unless it is written: the server will answer it.
func (q *queue) leave(l *letter) {
	l.left = true
	if i := slices.Index(q.blocked, l); i >= 0 {
		q.blocked = slices.Delete(q.blocked, i, i+1)
	}
	if i := slices.Index(q.waiting, l); i >= 0 {
		q.waiting = slices.Delete(q.waiting, i, i+1)
		q.bytes -= len(l.line)
	}
	q.admit()
}

// end answers everything, and returns the casts that nobody waits for.
func (q *queue) end(err error) (casts []*letter) {
	for _, l := range slices.Concat(q.written, q.waiting) {
		if l.answer == nil {
			casts = append(casts, l)
		} else {
			l.answer <- err
		}
	}
	for _, l := range q.blocked {
		if l.answer == nil {
			l.err = err
			close(l.room)
		} else {
			l.answer <- err
		}
	}
	*q = queue{most: q.most, mostBytes: q.mostBytes}
	return casts
}

// shift takes off the first of a queue, and lets go of it.
func shift(letters []*letter) []*letter {
	letters[0] = nil
	return letters[1:]
}

// gaveUp is the error of a sender whose context ended before the answer came; cause is why the last connection came to
// nothing, if it did. Its kind is not the message's, which may do on the next one.
func gaveUp(ctx context.Context, l *letter, cause error) error {
	err := errNotSent
	if l.tried {
		err = ErrUnanswered
	}
	return fmt.Errorf("client: %w: %w%s", err, ctx.Err(), lastly(cause))
}

// lastly says why the last connection came to nothing.
func lastly(cause error) string {
	if cause == nil {
		return ""
	}
	return "; the last connection: " + cause.Error()
}

var errNotSent = errors.New("not sent, for there was no connection or no room")
