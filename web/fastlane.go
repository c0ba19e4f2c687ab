package web

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/genbrowser/genbrowser/internal/sock"
	"github.com/genbrowser/genbrowser/server"
)

// FastLane returns a listener for srv, around l, that serves sends itself, for less of the processor: requests such as
//
//	POST /_gb/send/gba_… HTTP/1.1
//	Host: localhost:8080
//	Content-Type: application/json
//	Content-Length: 4
//
// It knows this shape, a dozen harmless headers, and no other. Anything else (another method, path or version, any
// other header, one that comes twice, any transfer coding, other spacing) makes the connection net/http's from that
// request on, whose bytes it then reads from the first. What it serves passes by srv's handler, and whatever stands
// around that one.
//
// It is for TCP and unix sockets without TLS. It keeps srv's ReadHeaderTimeout, ReadTimeout and IdleTimeout, and
// Options.SlowReader for a client that takes no answers; each may take a quarter more. With Options.SendRate or SendBytes,
// which must know the client of each request, it leaves everything to net/http.
func (h *Handler) FastLane(l net.Listener, srv *http.Server) net.Listener {
	if h.messages != nil || h.bytes != nil {
		return NewListener(l)
	}
	lane := &fastLane{
		Listener: l, h: h, srv: srv, parser: fastParser{begin: "POST " + h.sendPrefix, maxBody: h.office.Limits().Body},
		handed: make(chan handed), done: make(chan struct{}), conns: make(map[*fastConn]struct{}),
	}
	lane.start = sync.OnceFunc(func() {
		h.lanes.add(lane)
		go lane.accept()
	})
	return lane
}

// lanes are the fast lanes of a handler that began and have not ended.
type lanes struct {
	mu sync.Mutex
	of map[*fastLane]struct{}
}

func (l *lanes) add(lane *fastLane) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of == nil {
		l.of = make(map[*fastLane]struct{})
	}
	l.of[lane] = struct{}{}
}

func (l *lanes) remove(lane *fastLane) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.of, lane)
}

// busy returns the connections on which requests were taken that are not answered.
func (l *lanes) busy() (all []*fastConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for lane := range l.of {
		all = lane.appendBusy(all)
	}
	return all
}

// settlePoll is how often it is looked whether requests are answered.
const settlePoll = 5 * time.Millisecond

// settle waits until all requests are answered that had been taken before.
func (l *lanes) settle(ctx context.Context) error {
	left := l.busy()
	poll := time.NewTicker(settlePoll)
	defer poll.Stop()
	for {
		left = slices.DeleteFunc(left, func(c *fastConn) bool { return !c.busy.Load() })
		if len(left) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-poll.C:
		}
	}
}

// fastLane serves connections until there is something on them for net/http, which then gets them from Accept.
type fastLane struct {
	net.Listener
	h      *Handler
	srv    *http.Server
	parser fastParser
	start  func()
	handed chan handed
	done   chan struct{} // closed by Close

	mu     sync.Mutex
	conns  map[*fastConn]struct{}
	ending bool // no more connections come
	closed bool
	serves sync.WaitGroup
}

// handed is what Accept returns.
type handed struct {
	conn net.Conn
	err  error
}

// Accept returns connections that are net/http's from now on. Its last error, that of the listener, comes when all
// requests are answered that have arrived within [lastCall]; after Close, which does not wait, it is [net.ErrClosed].
func (l *fastLane) Accept() (net.Conn, error) {
	l.start()
	select {
	case c := <-l.handed:
		return c.conn, c.err
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close ends the listener, and its connections soon.
func (l *fastLane) Close() error {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.done)
	}
	l.mu.Unlock()
	err := l.Listener.Close()
	l.end()
	return err
}

func (l *fastLane) accept() {
	for {
		c, err := l.Listener.Accept()
		var passing interface{ Temporary() bool }
		switch {
		case err == nil:
			l.take(c)
			continue
		case errors.As(err, &passing) && passing.Temporary(): // net/http waits a little
			l.hand(nil, err)
			continue
		}
		l.end()
		l.serves.Wait()
		l.h.lanes.remove(l)
		l.hand(nil, err)
		return
	}
}

func (l *fastLane) take(c net.Conn) {
	f := &fastConn{lane: l, conn: c, quick: sock.Conn(c)}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ending {
		c.Close()
		return
	}
	l.conns[f] = struct{}{}
	l.serves.Go(f.serve)
}

// hand gives Accept what it returns.
func (l *fastLane) hand(c net.Conn, err error) {
	select {
	case l.handed <- handed{c, err}:
	case <-l.done:
		if c != nil {
			c.Close()
		}
	}
}

// lastCall is how long connections have for requests that are on their way when their listener ends.
const lastCall = 200 * time.Millisecond

// end has the connections end soon.
func (l *fastLane) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ending = true
	for c := range l.conns {
		c.conn.SetReadDeadline(time.Now().Add(lastCall))
	}
}

// extend gives a connection the time that it says, unless it is to end.
func (l *fastLane) extend(c *fastConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ending {
		c.conn.SetReadDeadline(c.readUntil)
	}
}

func (l *fastLane) forget(c *fastConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
}

// senderOn returns who processes are told that what comes on a connection is from. The lane knows no header by which a
// proxy or a page would speak through it for others.
func (l *fastLane) senderOn(c net.Conn) *server.Sender {
	if l.srv.ConnContext == nil {
		return somebody
	}
	known, ok := l.srv.ConnContext(context.Background(), c).Value(peerKey{}).(*connection)
	if !ok {
		return somebody
	}
	return known.provedBy()
}

// readTimeout is how long a request may take to arrive; 0 for any time.
func (l *fastLane) readTimeout() time.Duration { return max(l.srv.ReadTimeout, 0) }

// headTimeout is how long its head may take; 0 for any time.
func (l *fastLane) headTimeout() time.Duration {
	if l.srv.ReadHeaderTimeout != 0 {
		return max(l.srv.ReadHeaderTimeout, 0)
	}
	return l.readTimeout()
}

// idleTimeout is how long a connection may wait for a request; 0 for any time.
func (l *fastLane) idleTimeout() time.Duration {
	if l.srv.IdleTimeout != 0 {
		return max(l.srv.IdleTimeout, 0)
	}
	return l.readTimeout()
}

func (l *fastLane) appendBusy(to []*fastConn) []*fastConn {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		if c.busy.Load() {
			to = append(to, c)
		}
	}
	return to
}

// inLane returns how many connections there are that are not net/http's.
func (l *fastLane) inLane() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.conns)
}
