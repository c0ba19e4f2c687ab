package web

import (
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/genbrowser/genbrowser/internal/sock"
)

// wire is what the bytes of a stream go into. One goroutine at a time uses it.
type wire interface {
	// tryWrite writes what can be written without blocking: fewer bytes than b, and no error, if that is less.
	tryWrite(b []byte) (n int, err error)
	// blocks says that only write can write here, and tryWrite never does.
	blocks() bool
	// write writes all of b, for as long as each piece of it is taken within a time.
	write(b []byte, within time.Duration) error
	// close ends the connection, or the request on it.
	close()
}

// pieceSize is how much of something long must be taken at a time: who takes a little all the time is slow, and not gone.
const pieceSize = 16 << 10

// inPieces writes b piece by piece.
func inPieces(b []byte, write func(piece []byte) error) error {
	for len(b) > 0 {
		n := min(len(b), pieceSize)
		if err := write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// writeBody writes the body of an answer.
func (h *Handler) writeBody(w http.ResponseWriter, body []byte) {
	rc := http.NewResponseController(w)
	inPieces(body, func(piece []byte) error {
		rc.SetWriteDeadline(time.Now().Add(h.slow))
		_, err := w.Write(piece)
		return err
	})
}

// socket is a connection taken off net/http.
type socket struct {
	conn net.Conn
	raw  syscall.RawConn // nil where only blocking writes can be had: TLS, other types around a socket, other systems, tests
	dead atomic.Bool     // a write failed
}

// newSocket bounds what the system takes for a reader that takes nothing; the rest stays in the mailbox.
func newSocket(conn net.Conn, sendBuffer int) *socket {
	s := &socket{conn: conn, raw: sock.Raw(conn)}
	if c, ok := s.link().(interface{ SetWriteBuffer(int) error }); ok {
		c.SetWriteBuffer(sendBuffer)
	}
	return s
}

// link is what carries a TLS connection; of others, the connection itself.
func (s *socket) link() net.Conn {
	if c, ok := s.conn.(interface{ NetConn() net.Conn }); ok {
		return c.NetConn()
	}
	return s.conn
}

func (s *socket) blocks() bool { return s.raw == nil }

func (s *socket) tryWrite(b []byte) (int, error) {
	if s.raw == nil {
		return 0, nil
	}
	a := attempts.Get().(*attempt)
	defer attempts.Put(a)
	a.b, a.n, a.err = b, 0, nil
	err := s.raw.Control(a.try) // Write would make ready to wait, which costs more and is not done here
	a.b = nil
	if err == nil {
		err = a.err
	}
	return a.n, err
}

// attempt is a write under way. It is used again, for a closure for each would be an allocation.
type attempt struct {
	try func(fd uintptr)
	b   []byte
	n   int
	err error
}

var attempts = sync.Pool{New: func() any {
	a := new(attempt)
	a.try = func(fd uintptr) { a.n, a.err = sock.TryWrite(fd, a.b) }
	return a
}}

func (s *socket) write(b []byte, within time.Duration) error {
	err := inPieces(b, func(piece []byte) error {
		s.conn.SetWriteDeadline(time.Now().Add(within))
		_, err := s.conn.Write(piece)
		return err
	})
	s.conn.SetWriteDeadline(time.Time{})
	if err != nil {
		s.dead.Store(true)
	}
	return err
}

// close lets TLS say farewell only to a reader that took everything; for another it would wait five seconds.
func (s *socket) close() {
	if s.dead.Load() {
		s.link().Close()
	}
	s.conn.Close()
}

// response is a stream that net/http carries: HTTP/2, or a server whose connections can't be taken. Its
// handler must call end before it returns.
type response struct {
	w    http.ResponseWriter
	rc   *http.ResponseController
	done chan struct{} // closed by close

	mu    sync.Mutex
	ended bool
}

func newResponse(w http.ResponseWriter) *response {
	return &response{w: w, rc: http.NewResponseController(w), done: make(chan struct{})}
}

func (r *response) blocks() bool { return true }

func (r *response) tryWrite([]byte) (int, error) { return 0, nil }

func (r *response) write(b []byte, within time.Duration) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return net.ErrClosed
	}
	err := inPieces(b, func(piece []byte) error {
		if err := r.rc.SetWriteDeadline(time.Now().Add(within)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
		select {
		case <-r.done: // its deadline was over already when this one was set
			return net.ErrClosed
		default:
		}
		if _, err := r.w.Write(piece); err != nil {
			return err
		}
		return r.rc.Flush()
	})
	if err == nil {
		r.rc.SetWriteDeadline(time.Time{})
	}
	return err
}

// close also ends a write under way, which may wait for a reader that takes nothing.
func (r *response) close() {
	close(r.done)
	if r.mu.TryLock() {
		r.mu.Unlock()
		return
	}
	r.rc.SetWriteDeadline(time.Now())
}

// end waits for a write under way and lets no other begin.
func (r *response) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
}
