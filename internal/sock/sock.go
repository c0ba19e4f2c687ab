// Package sock reads from and writes to sockets by system calls that Go's scheduler is not told of, on Linux. They never
// block, so that it has nothing to know; and whenever it is told of one after all was asleep, it wakes a thread that
// watches for those that do, which costs as much as a small message does.
package sock

import (
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
)

// socket is what the connections of package net have that are sockets of the system.
type socket interface {
	net.Conn
	syscall.Conn
	CloseRead() error
	CloseWrite() error
	SetReadBuffer(bytes int) error
	SetWriteBuffer(bytes int) error
}

// socketOf returns nil for any connection that is not one of package net's itself: a type around one has its methods, and
// may read and write otherwise, such as what it encrypts.
func socketOf(c net.Conn) socket {
	switch c := c.(type) {
	case *net.TCPConn:
		return c
	case *net.UnixConn:
		return c
	}
	return nil
}

// Raw returns what [TryRead] and [TryWrite] are for, of a connection that they can be used on; else nil.
func Raw(c net.Conn) syscall.RawConn {
	s := socketOf(c)
	if s == nil || !CanTry {
		return nil
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// Conn returns a connection that is c, and reads and writes for less; c itself where it is no socket, or the system is
// another one.
func Conn(c net.Conn) net.Conn {
	raw := Raw(c)
	if raw == nil || runtime.GOOS != "linux" {
		return c
	}
	q := &conn{socket: socketOf(c), raw: raw}
	q.in.try, q.out.try = q.tryRead, q.tryWrite
	return q
}

// Listener returns a listener whose connections are those of l, by [Conn].
func Listener(l net.Listener) net.Listener { return listener{l} }

type listener struct{ net.Listener }

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return Conn(c), nil
}

type conn struct {
	socket
	raw     syscall.RawConn
	in, out transfer
}

// transfer is a Read or a Write under way.
type transfer struct {
	mu  sync.Mutex
	try func(fd uintptr) bool // a method value, which would be an allocation each time
	b   []byte
	n   int
	err error
}

// Read implements [net.Conn].
func (c *conn) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return c.socket.Read(b)
	}
	n, err := c.in.run(c.raw.Read, b)
	if err != nil {
		return n, c.failed("read", err)
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// Write implements [net.Conn].
func (c *conn) Write(b []byte) (int, error) {
	n, err := c.out.run(c.raw.Write, b)
	if err != nil {
		return n, c.failed("write", err)
	}
	return n, nil
}

// run has the runtime try until the transfer is over, and wait between.
func (t *transfer) run(do func(func(fd uintptr) bool) error, b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b, t.n, t.err = b, 0, nil
	err := do(t.try)
	t.b = nil
	if err == nil {
		err = t.err
	}
	return t.n, err
}

func (c *conn) tryRead(fd uintptr) bool {
	t := &c.in
	var again bool
	t.n, again, t.err = TryRead(fd, t.b)
	return !again
}

func (c *conn) tryWrite(fd uintptr) bool {
	t := &c.out
	for t.n < len(t.b) && t.err == nil {
		var n int
		if n, t.err = TryWrite(fd, t.b[t.n:]); n == 0 && t.err == nil {
			return false
		}
		t.n += n
	}
	return true
}

// failed is the error that the connection itself would give: net/http looks at what was done.
func (c *conn) failed(op string, err error) error {
	if of, ok := err.(*net.OpError); ok {
		err = of.Err
	}
	if errno, ok := err.(syscall.Errno); ok {
		err = os.NewSyscallError(op, errno)
	}
	local := c.LocalAddr()
	return &net.OpError{Op: op, Net: local.Network(), Source: local, Addr: c.RemoteAddr(), Err: err}
}
