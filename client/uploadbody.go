package client

import (
	"io"
	"sync"
	"time"
)

// uploadBody is the body of one request of an uplink. The transport reads it, in a goroutine of its own.
type uploadBody struct {
	link   *uplink
	wake   chan struct{} // there may be something to write
	closed chan struct{}
	close  sync.Once

	// guarded by link.mu
	overdue *time.Timer
	rest    []byte // of a line that did not fit
	heard   bool   // the server answered something
}

// unheard is how often a blank line is written before the server answered anything: until then net/http does not tell
// that the connection broke while it has nothing to write.
const unheard = 250 * time.Millisecond

// begin makes the body of the next request. overdue is called when the server lets a letter wait too long.
func (u *uplink) begin(overdue func()) *uploadBody {
	b := &uploadBody{link: u, wake: make(chan struct{}, 1), closed: make(chan struct{})}
	u.mu.Lock()
	defer u.mu.Unlock()
	b.overdue = time.AfterFunc(u.patience, overdue)
	u.upload = b
	u.due()
	return b
}

// finish ends a request: everything without an answer is to be written again.
func (u *uplink) finish(b *uploadBody) {
	b.Close()
	u.mu.Lock()
	defer u.mu.Unlock()
	b.overdue.Stop()
	u.upload, u.down = nil, true
	u.queue.again()
	u.less()
}

// Close implements [io.Closer], for the transport. Answers may still come.
func (b *uploadBody) Close() error {
	b.close.Do(func() { close(b.closed) })
	return nil
}

// Read implements [io.Reader]: it waits for letters, and gives a blank line now and then while there are none.
func (b *uploadBody) Read(p []byte) (int, error) {
	idle := time.NewTimer(b.beat())
	defer idle.Stop()
	for {
		n, err := b.take(p)
		if n > 0 || err != nil {
			return n, err
		}
		select {
		case <-b.wake: // also by an answer, after which the beat may be another
			idle.Reset(b.beat())
		case <-b.closed:
			return 0, io.ErrClosedPipe
		case <-idle.C:
			return copy(p, "\n"), nil
		}
	}
}

// beat is when a sign of life is due.
func (b *uploadBody) beat() time.Duration {
	beat := b.link.beat()
	b.link.mu.Lock()
	defer b.link.mu.Unlock()
	if !b.heard {
		return min(beat, unheard)
	}
	return beat
}

// take copies as many lines as fit, and as may be written without an answer.
func (b *uploadBody) take(p []byte) (n int, err error) {
	u := b.link
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.upload != b {
		return 0, io.ErrClosedPipe
	}
	q := &u.queue
	// an answer is due for a letter that was written, not for one that is being: those behind it do not give it time
	first := len(q.written) == 0 || len(q.written) == 1 && len(b.rest) > 0
	n = copy(p, b.rest)
	b.rest = b.rest[n:]
	for n < len(p) && len(q.waiting) > 0 && len(q.written) < window {
		l := q.write()
		copied := copy(p[n:], l.line)
		n, b.rest = n+copied, l.line[copied:]
	}
	if n > 0 && first {
		u.due()
	}
	return n, nil
}
