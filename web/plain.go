package web

import (
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"

	"github.com/genbrowser/genbrowser/internal/sock"
)

// NewListener returns a listener for an [http.Server] with [ConnContext], around one for TCP or unix sockets without
// TLS. It saves processor time: while a send is taken, net/http watches for a client that goes, which changes nothing about
// the send and takes a goroutine that is woken for nothing; on these connections it does not if the send's body came with
// its head. And on Linux they are read and written past Go's scheduler, which would wake a thread of its own for each after
// a pause; but only a [*net.TCPConn] or [*net.UnixConn] itself, for a type around one may read and write in its own way.
func NewListener(l net.Listener) net.Listener { return plainListener{l} }

type plainListener struct{ net.Listener }

func (l plainListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return newPlain(c, nil), nil
}

// plain is a connection without TLS, as net/http has it.
type plain struct {
	net.Conn             // as it was accepted
	quick    net.Conn    // the same, for what net/http reads and writes
	in       []byte      // was read before net/http had the connection
	skip     atomic.Bool // net/http's next look for a client that goes finds nothing
}

func newPlain(c net.Conn, in []byte) *plain { return &plain{Conn: c, quick: sock.Conn(c), in: in} }

// Read reads. Whether a client goes net/http finds out by reading one byte behind the request: once there is nothing, it looks no
// more. Whoever else reads a single byte tries again. A longer read is of what follows, and the look for the client of
// the request before has been; or of the rest of this one's body, after which net/http looks, as it would without us.
func (p *plain) Read(b []byte) (int, error) {
	switch {
	case p.skip.Swap(false) && len(b) == 1:
		return 0, nil
	case len(p.in) == 0:
		return p.quick.Read(b)
	}
	n := copy(b, p.in)
	if p.in = p.in[n:]; len(p.in) == 0 {
		p.in = nil
	}
	return n, nil
}

// Write implements [net.Conn].
func (p *plain) Write(b []byte) (int, error) { return p.quick.Write(b) }

// ReadFrom lets a connection that can do so copy by itself, as the system does from a file: net/http looks for that.
func (p *plain) ReadFrom(r io.Reader) (int64, error) {
	if c, ok := p.Conn.(io.ReaderFrom); ok {
		return c.ReadFrom(r)
	}
	return io.Copy(struct{ io.Writer }{p.quick}, r)
}

// CloseWrite lets net/http end a connection whose client still sends without taking the answer from it.
func (p *plain) CloseWrite() error {
	if c, ok := p.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return errors.ErrUnsupported
}

// skipLook has net/http not look for the client of a request whose body is still to be read: it would begin to once the
// body ends.
func skipLook(r *http.Request) {
	if c, ok := r.Context().Value(peerKey{}).(*connection); ok && c.plain != nil {
		c.plain.skip.Store(true)
	}
}
