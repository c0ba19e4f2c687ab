package web

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/internal/wheel"
	"github.com/genbrowser/genbrowser/server"
)

// stream carries the events of one mailbox to one client. Whoever puts a message into the mailbox calls Wake,
// which moves what is after the reader's position from the mailbox to the wire, as far as the wire takes it
// without blocking. If it does not take all, a goroutine waits until it does, and goes on from there:
//
//	idle ──Wake──▶ pump ──all written──▶ idle
//	                │ the wire is full
//	                ▼
//	              drain ──taken within Options.SlowReader──▶ pump again
//	                │ not taken
//	                ▼
//	              cut; the mailbox keeps the messages, and the reader resumes
type stream struct {
	wheel.Entry // its next heartbeat

	h        *Handler
	idPrefix string // "KEY." where event ids are self-contained
	expires  int64  // when the key that opened it ends, seconds since 1970; 0 for never
	mailbox  uuid.UUID
	client   string // its address
	since    int64  // nanoseconds since 1970

	mu        sync.Mutex
	wire      wire // nil until the stream has begun
	sub       *server.Subscription
	rest      []byte // of what was begun to be written; goes out before anything else
	end       error  // why the stream is to end, once what can be read is written
	bye       bool   // the last event is in rest, or written
	draining  bool   // a goroutine waits for the wire
	closed    bool
	stillborn bool          // cut before it began
	watched   bool          // hangups tells when its client goes
	users     int           // goroutines that use the wire, and hangups
	wrote     time.Duration // when it did last, since Handler.start
}

// stream answers a GET with a stream.
func (h *Handler) stream(w http.ResponseWriter, r *http.Request) {
	rd, err := parseReading(r)
	if err != nil {
		h.refuse(w, err)
		return
	}
	s := &stream{h: h, client: h.address(r), since: time.Now().UnixNano()}
	var g address.Grant
	if rd.key != "" {
		if err := h.office.Verify(&g, rd.key); err != nil {
			h.refuse(w, err)
			return
		}
		s.mailbox = g.Mailbox()
	}
	if err := h.streams.reserve(s); err != nil {
		h.refuse(w, err)
		return
	}
	added := false
	defer func() {
		if !added { // also when the Open hook panicked
			h.streams.release(s)
		}
	}()
	sub, o, err := h.join(r, &rd, &g, s)
	if err != nil {
		h.refuse(w, err)
		return
	}
	s.expires = endOf(&g)
	if rd.selfIDs {
		s.idPrefix = rd.key + "."
	}
	s.sub = sub
	start := sub.Cursor()
	start.Seq += sub.Gap // init tells of the gap, and a reader that resumes after init is not told again
	sub.Delivered(start.Seq)
	o.Cursor = start.String()
	first := initEvent(s.idPrefix, spread(time.Second, 4*time.Second), o, rd.how.After != nil, sub.Gap)

	header := w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no")
	if err := h.streams.add(s, g.Mailbox()); err != nil {
		sub.Close()
		h.refuse(w, err)
		return
	}
	added = true
	if r.ProtoMajor == 1 {
		if conn := hijack(w); conn != nil {
			sock := newSocket(conn, h.sendBuffer)
			s.begin(sock, append(responseHead(header), first...))
			s.attend(sock)
			return
		}
	}
	s.carry(w, r, first)
}

// hijack takes the connection off net/http; nil if it can't be taken.
func hijack(w http.ResponseWriter) net.Conn {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil
	}
	if p, ok := conn.(*plain); ok { // nothing is read any more
		return p.Conn
	}
	return conn
}

// responseHead is what net/http would have sent. The stream ends with its connection.
func responseHead(header http.Header) []byte {
	var b bytes.Buffer
	b.WriteString("HTTP/1.1 200 OK\r\nConnection: close\r\nDate: " + time.Now().UTC().Format(http.TimeFormat) + "\r\n")
	header.Write(&b)
	b.WriteString("\r\n")
	return b.Bytes()
}

// begin starts the stream with its first bytes, on behalf of a goroutine that will leave it.
func (s *stream) begin(w wire, first []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wire, s.rest, s.users = w, first, 1
	if s.stillborn {
		s.close()
		return
	}
	s.pump()
	s.schedule(time.Now())
}

// attend sees to it that the stream ends when its client goes.
func (s *stream) attend(sock *socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watched = !s.closed && s.h.streams.hangups.watch(s, sock); !s.watched {
		go s.park(sock)
	}
}

// park waits until the client goes. What it sends is not looked at: a reader of events has nothing to say.
func (s *stream) park(sock *socket) {
	var b [64]byte
	for {
		if _, err := sock.conn.Read(b[:]); err != nil {
			s.cut()
			s.leave()
			return
		}
	}
}

// carry keeps the request of a stream that net/http carries until the stream ends.
func (s *stream) carry(w http.ResponseWriter, r *http.Request, first []byte) {
	resp := newResponse(w)
	resp.rc.SetReadDeadline(time.Time{})
	w.WriteHeader(http.StatusOK)
	s.begin(resp, first)
	select {
	case <-r.Context().Done():
		s.cut()
	case <-resp.done:
	}
	resp.end()
	resp.rc.SetWriteDeadline(time.Now().Add(s.h.slow)) // for the end of the answer, which net/http writes
	s.leave()
}

// Wake implements [server.Reader].
func (s *stream) Wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pump()
}

// End implements [server.Reader].
func (s *stream) End(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.end == nil {
		s.end = why
		s.pump()
	}
}

// close ends the connection. The mailbox falls asleep, unless another reader has it.
func (s *stream) close() {
	if s.closed {
		return
	}
	s.closed = true
	s.rest = nil
	s.h.wheel.Stop(s)
	s.sub.Close() // first, so that nobody wakes a stream that is being closed
	if s.watched {
		s.h.streams.hangups.forget(s, s.wire.(*socket))
	}
	s.wire.close()
	if s.watched {
		s.left()
	}
}

// cut closes the stream, whatever is left to write.
func (s *stream) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wire == nil {
		s.stillborn = true
		return
	}
	s.close()
}

// leave notes that a goroutine does not use the stream any more; the last one forgets it.
func (s *stream) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left()
}

// left is leave with mu held.
func (s *stream) left() {
	if s.users--; s.users == 0 {
		s.h.streams.remove(s)
	}
}

// goodbye is the bye for a reason, which says when to come back if that makes sense.
func goodbye(why error) []byte {
	var away *server.DisconnectedError
	switch {
	case errors.As(why, &away):
		return byeEvent("disconnected", comeBack(away))
	case errors.Is(why, server.ErrShuttingDown):
		return byeEvent("shutdown", spread(500*time.Millisecond, 4*time.Second))
	case errors.Is(why, server.ErrMoved):
		return byeEvent("moved", spread(50*time.Millisecond, time.Second))
	case errors.Is(why, server.ErrTakenOver):
		return byeEvent("taken-over", 0)
	case errors.Is(why, server.ErrClosed), errors.Is(why, server.ErrExited):
		return byeEvent("closed", 0)
	}
	return byeEvent("expired", 0)
}

// endOf returns when a capability ends, in seconds since 1970; 0 for never.
func endOf(g *address.Grant) int64 {
	if expires, ends := g.Expires(); ends {
		return expires.Unix()
	}
	return 0
}

// spread returns a random time, so that clients that were cut off together do not come back together.
func spread(least, most time.Duration) time.Duration {
	return least + rand.N(most-least)
}
