package client_test

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// proxy is a TCP proxy that misbehaves on command.
type proxy struct {
	net.Listener
	wait sync.WaitGroup

	mu      sync.Mutex
	target  string
	most    int  // cut each connection after a random number of bytes below it, of the server's; 0: never
	mute    bool // from now on hand on nothing of what the server says, on the connections that there are
	cuts    int
	ended   bool // what comes is cut
	conns   map[net.Conn]bool
	swallow chan struct{} // told of each piece that was not handed on
}

func newProxy(t testing.TB, target string) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: l, target: target, conns: make(map[net.Conn]bool), swallow: make(chan struct{}, 1)}
	p.wait.Go(p.accept)
	t.Cleanup(p.end)
	return p
}

// end takes no more connections, and cuts those that there are.
func (p *proxy) end() {
	p.Close()
	p.set(func() { p.ended = true })
	p.cutAll()
	p.wait.Wait()
}

func (p *proxy) url() string { return "http://" + p.Addr().String() }

func (p *proxy) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

func (p *proxy) to(target string) { p.set(func() { p.target = target }) }

func (p *proxy) chop(most int) { p.set(func() { p.most = most }) }

// cut returns how many connections were cut.
func (p *proxy) cut() (n int) {
	p.set(func() { n = p.cuts })
	return n
}

func (p *proxy) accept() {
	for {
		c, err := p.Accept()
		if err != nil {
			return
		}
		p.wait.Go(func() { p.carry(c) })
	}
}

func (p *proxy) cutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

func (p *proxy) carry(c net.Conn) {
	defer c.Close()
	p.mu.Lock()
	target, left := p.target, -1
	if p.most > 0 {
		left = rand.N(p.most)
	}
	p.mu.Unlock()
	up, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer up.Close()
	ended := false
	p.set(func() { p.conns[c], p.conns[up], ended = true, true, p.ended })
	defer p.set(func() { delete(p.conns, c); delete(p.conns, up) })
	if ended {
		return
	}
	p.wait.Go(func() {
		io.Copy(up, c)
		up.Close()
	})
	p.answer(c, up, left)
}

// answer hands on what the server says, in pieces, until there are no bytes left.
func (p *proxy) answer(c, up net.Conn, left int) {
	var piece [200]byte
	muted := false
	for {
		n, err := up.Read(piece[:1+rand.N(len(piece))])
		if err != nil {
			return
		}
		p.set(func() { muted = muted || p.mute })
		if muted {
			select {
			case p.swallow <- struct{}{}:
			default:
			}
			continue
		}
		if left >= 0 {
			n = min(n, left)
			left -= n
		}
		c.Write(piece[:n])
		if left == 0 {
			p.set(func() { p.cuts++ })
			return
		}
	}
}
