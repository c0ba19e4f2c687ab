package genbrowsertest

import (
	"context"
	"net"
	"sync"
)

// pipes is a listener whose connections are pipes in memory.
type pipes struct {
	incoming chan net.Conn
	closed   chan struct{}
	once     sync.Once

	mu   sync.Mutex
	open map[*pipe]bool
}

func newPipes() *pipes {
	return &pipes{incoming: make(chan net.Conn), closed: make(chan struct{}), open: make(map[*pipe]bool)}
}

// pipe is a server's end of a connection, which is forgotten when it closes.
type pipe struct {
	net.Conn
	of *pipes
}

// Close implements net.Conn.
func (p *pipe) Close() error {
	p.of.mu.Lock()
	delete(p.of.open, p)
	p.of.mu.Unlock()
	return p.Conn.Close()
}

// dial returns the client's end of a new connection.
func (p *pipes) dial(ctx context.Context) (net.Conn, error) {
	near, far := net.Pipe()
	end := &pipe{far, p}
	p.mu.Lock()
	p.open[end] = true
	p.mu.Unlock()
	select {
	case p.incoming <- end:
		return near, nil
	case <-ctx.Done():
		end.Close()
		return nil, ctx.Err()
	case <-p.closed:
		end.Close()
		return nil, net.ErrClosed
	}
}

// CutAll closes every connection.
func (p *pipes) CutAll() {
	p.mu.Lock()
	all := make([]*pipe, 0, len(p.open))
	for end := range p.open {
		all = append(all, end)
	}
	p.mu.Unlock()
	for _, end := range all {
		end.Close()
	}
}

// Accept implements net.Listener.
func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.incoming:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// Addr implements net.Listener.
func (p *pipes) Addr() net.Addr { return inMemory{} }

type inMemory struct{}

func (inMemory) Network() string { return "pipe" }
func (inMemory) String() string  { return "memory" }
