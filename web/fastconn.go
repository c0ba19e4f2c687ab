package web

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/genbrowser/genbrowser/server"
	"github.com/genbrowser/genbrowser/web/problem"
)

// fastConn is a connection in the fast lane, served by one goroutine.
type fastConn struct {
	lane   *fastLane
	conn   net.Conn
	quick  net.Conn // the same, to be read and written
	sender *server.Sender

	in      []byte // read, and not yet served
	need    int    // bytes of in for the request at its head, if that is known
	served  bool   // a request was
	last    bool   // its client was told that nothing more is served
	over    bool   // the connection ends
	foreign bool   // what is in in is net/http's

	began                 time.Time // when the request at the head of in began to come; zero if none has
	readUntil, writeUntil time.Time // deadlines; zero for none

	busy atomic.Bool // requests were taken that are not answered
}

// fastWork is what serving takes. Connections that wait have none.
type fastWork struct {
	out    []byte // answers
	posted []fastPost
	next   fastRequest
	letter server.Letter
}

// fastPost is a send that has its place, or was refused.
type fastPost struct {
	posted server.Posted
	err    error
}

// fastBuffer is what a connection that waits keeps to read into.
const fastBuffer = 2 << 10

// fastGrowth is the most that a connection takes at once for what has not come.
const fastGrowth = 16 << 10

var fastWorks = sync.Pool{New: func() any { return &fastWork{} }}

func (w *fastWork) release() {
	if cap(w.out) > keptBody {
		return
	}
	clear(w.posted[:cap(w.posted)])
	*w = fastWork{out: w.out[:0], posted: w.posted[:0]}
	fastWorks.Put(w)
}

// serve serves until the connection ends or is net/http's.
func (c *fastConn) serve() {
	defer func() {
		if r := recover(); r != nil {
			c.lane.forget(c)
			c.conn.Close()
			c.lane.h.log.Error("a send panicked", "panic", r, "stack", string(debug.Stack()))
		}
	}()
	c.sender = c.lane.senderOn(c.conn)
	c.in = make([]byte, 0, fastBuffer)
	c.began = time.Now() // a new connection is one whose request arrives
	c.mayRead(c.lane.headTimeout(), c.began)
	for !c.over && !c.foreign {
		c.read()
	}
	c.lane.forget(c)
	if c.foreign && !c.over && !c.beginsHTTP2() {
		c.conn.SetDeadline(time.Time{})
		c.lane.hand(newPlain(c.conn, c.rest()), nil)
		return
	}
	c.conn.Close()
}

// read waits for more, and serves what is complete.
func (c *fastConn) read() {
	// the room for a long body grows as it comes: that it will is only said
	if want := max(min(c.need, fastGrowth), len(c.in)+1); want > cap(c.in) {
		c.in = append(make([]byte, 0, max(want, 2*cap(c.in))), c.in...)
	}
	n, err := c.quick.Read(c.in[len(c.in):cap(c.in)])
	c.in = c.in[:len(c.in)+n]
	if n > 0 && len(c.in) >= c.need {
		c.serveAll()
	}
	if err != nil && !c.foreign {
		// what to do about a request that was cut short is net/http's to know
		c.foreign = err == io.EOF && len(c.in) > 0 && (!c.served || len(c.in) >= peeked)
		c.over = !c.foreign
	}
	if len(c.in) == 0 && cap(c.in) > fastBuffer {
		c.in = make([]byte, 0, fastBuffer)
	}
}

// peeked is how many bytes net/http waits for behind a request. It skips line ends among them, which have no business there.
const peeked = 4

func (c *fastConn) parse(r *fastRequest, b []byte) (v verdict, need int) {
	if c.served && len(b) < peeked {
		return partial, peeked
	}
	if v, need = c.lane.parser.parse(r, b); v == isForeign && c.served && strings.HasPrefix(http2Preface, string(afterEnds(b))) {
		v = partial
	}
	return v, need
}

// http2Preface is what HTTP/2 without TLS begins with (RFC 9113 §3.4).
const http2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// beginsHTTP2 reports whether net/http would begin HTTP/2 with what comes behind a request, as it does only where the
// connection begins.
func (c *fastConn) beginsHTTP2() bool {
	return c.served && bytes.HasPrefix(c.rest(), []byte(http2Preface))
}

// afterEnds returns what net/http reads of what comes behind a request.
func afterEnds(b []byte) []byte {
	head := b[:min(len(b), peeked)]
	return b[len(head)-len(bytes.TrimLeft(head, "\r\n")):]
}

// rest is what is net/http's: it does not know that something was served before.
func (c *fastConn) rest() []byte {
	if !c.served {
		return c.in
	}
	return afterEnds(c.in)
}

// serveAll serves the requests that are complete. Those that came together are stored together.
func (c *fastConn) serveAll() {
	w := fastWorks.Get().(*fastWork)
	defer w.release()
	c.busy.Store(true)
	defer c.busy.Store(false)
	at := 0
	for at < len(c.in) && !c.foreign {
		v, need := c.parse(&w.next, c.in[at:])
		if c.need = need; v == partial {
			break
		}
		if c.foreign = v == isForeign; !c.foreign {
			w.post(c.lane.h, c.sender)
			at += w.next.size
			c.served = true
		}
	}
	c.in = c.in[:copy(c.in, c.in[at:])]
	w.settle(c)
	now, answers := time.Now(), len(w.out) > 0
	if answers {
		c.write(w.out, c.lane.h.turns.take(now, 1))
		now = time.Now() // the client may have taken its time
	}
	if c.last {
		if !c.over {
			linger(c.conn, c.quick, c.in[:cap(c.in)], now)
		}
		c.over = true
		return
	}
	c.await(now, answers)
}

// await gives what comes next its time, as net/http does: a request, the rest of its head, or that of its body. answered
// says that requests before it were, just now.
func (c *fastConn) await(now time.Time, answered bool) {
	if answered {
		c.began = time.Time{}
	}
	if c.served && len(c.in) < peeked {
		if answered {
			c.mayRead(c.lane.idleTimeout(), now)
		}
		return
	}
	begins := c.began.IsZero()
	if begins {
		c.began = now
	}
	switch {
	case c.need > 0: // its head has come
		c.mayRead(c.lane.readTimeout(), c.began)
	case begins:
		c.mayRead(c.lane.headTimeout(), c.began)
	}
}

func (c *fastConn) write(b []byte, now time.Time) {
	if d := atLeast(c.lane.h.slow); soon(c.writeUntil, d, now) {
		c.writeUntil = now.Add(d)
		c.conn.SetWriteDeadline(c.writeUntil)
	}
	if _, err := c.quick.Write(b); err != nil {
		c.over = true
	}
}

// mayRead gives the client d to send, from a time on; 0 for any time.
func (c *fastConn) mayRead(d time.Duration, from time.Time) {
	d = atLeast(d)
	switch {
	case d == 0 && !c.readUntil.IsZero():
		c.readUntil = time.Time{}
	case d > 0 && soon(c.readUntil, d, from):
		c.readUntil = from.Add(d)
	default:
		return
	}
	c.lane.extend(c)
}

// soon reports whether a deadline is no good for what may take d. It is left where it is while it is not much too early,
// since setting it costs as much as reading.
func soon(deadline time.Time, d time.Duration, now time.Time) bool {
	left := deadline.Sub(now)
	return left < d-d/5 || left > d
}

// atLeast returns what to set for d, so that soon leaves d of it.
func atLeast(d time.Duration) time.Duration { return d + min(d/4, math.MaxInt64-d) }

// post sends the letter of the next request.
func (w *fastWork) post(h *Handler, from *server.Sender) {
	r := &w.next
	w.letter = server.Letter{Body: r.body, Name: string(r.name), Sender: from}
	w.letter.Trace = string(r.trace)
	var p fastPost
	switch {
	case !jsonType(view(r.contentType)):
		p.err = notJSON(string(r.contentType))
	case r.ttl != nil:
		w.letter.TTL, p.err = parseTTL(string(r.ttl))
	}
	if p.err == nil {
		p.posted, p.err = h.postTo(view(r.to), &w.letter)
	}
	w.posted = append(w.posted, p)
}

// settle answers the requests in their order, each once its message is stored.
func (w *fastWork) settle(c *fastConn) {
	c.lane.h.tally.fast.Add(int64(len(w.posted)))
	now := time.Now()
	for i := range w.posted {
		p := &w.posted[i]
		if p.err == nil {
			var reader server.Reader
			if reader, p.err = p.posted.Wait(); reader != nil {
				reader.Wake()
			}
		}
		if p.err == nil {
			w.out = append(w.out, accepted.at(now)...)
		} else {
			w.out = c.lane.h.appendRefusal(w.out, p.err, now)
			c.last = c.last || toProblem(p.err).Kind == problem.ShuttingDown
		}
	}
	w.posted = w.posted[:0]
}

// accepted is the answer to a send that was, made anew each second.
var accepted datedAnswer

type datedAnswer struct{ newest atomic.Pointer[dated] }

type dated struct {
	second int64
	text   string
}

func (a *datedAnswer) at(now time.Time) string {
	d := a.newest.Load()
	if d == nil || d.second != now.Unix() {
		d = &dated{now.Unix(), "HTTP/1.1 202 Accepted\r\nDate: " + now.UTC().Format(http.TimeFormat) + "\r\nContent-Length: 0\r\n\r\n"}
		a.newest.Store(d)
	}
	return d.text
}

// appendRefusal appends the answer that refuse gives.
func (h *Handler) appendRefusal(b []byte, err error, now time.Time) []byte {
	h.tally.refused.add(toProblem(err).Kind)
	answer := refusal{header: http.Header{"Date": {now.UTC().Format(http.TimeFormat)}}}
	h.refuse(&answer, err)
	out := bytes.NewBuffer(b)
	fmt.Fprintf(out, "HTTP/1.1 %d %s\r\n", answer.status, http.StatusText(answer.status))
	answer.header.Write(out)
	out.WriteString("\r\n")
	out.Write(answer.body)
	return out.Bytes()
}

// refusal is an answer that is not written yet.
type refusal struct {
	header http.Header
	status int
	body   []byte
}

func (r *refusal) Header() http.Header { return r.header }

func (r *refusal) WriteHeader(status int) { r.status = status }

func (r *refusal) Write(b []byte) (int, error) {
	r.body = append(r.body, b...)
	return len(b), nil
}
