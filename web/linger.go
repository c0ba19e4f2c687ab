package web

import (
	"io"
	"net"
	"net/http"
	"time"
)

// lingerFor is how long a client has to take its last answers.
const lingerFor = 500 * time.Millisecond

// linger says on a connection that nothing more will be written, and reads until the client ends too or has had the time for it.
// To close it with something unread would be a reset, and answers that were written before might not arrive. in is what reads
// from c, into b.
func linger(c net.Conn, in io.Reader, b []byte, now time.Time) {
	if w, ok := c.(interface{ CloseWrite() error }); ok {
		w.CloseWrite()
	}
	end := now.Add(lingerFor)
	c.SetReadDeadline(end)
	for time.Now().Before(end) {
		if _, err := in.Read(b); err != nil {
			return
		}
	}
}

// lastChunk ends an answer of chunks (RFC 9112 §7.1).
const lastChunk = "0\r\n\r\n"

// cutShort ends an upload whose body was not read to its end: the answer, unless the body had a length that did not come, and then the
// connection. It takes that off net/http, which would not linger after a read that was broken off. It reports false if it can't: in
// HTTP/2, which has no need of it, and where somebody around the handler keeps the connection or encodes the answer.
func (u *upload) cutShort(w http.ResponseWriter, r *http.Request) bool {
	if u.short || r.ProtoMajor != 1 || w.Header().Get("Content-Encoding") != "" {
		return false
	}
	if u.endless && u.rc.Flush() != nil { // its head, if there was nothing to answer
		return false
	}
	conn, _, err := u.rc.Hijack()
	if err != nil {
		return false
	}
	defer conn.Close()
	if u.endless {
		conn.SetWriteDeadline(time.Now().Add(u.h.slow))
		if _, err := io.WriteString(conn, lastChunk); err != nil {
			return true
		}
	}
	linger(conn, conn, u.in[:cap(u.in)], time.Now())
	return true
}

// refuseUpload answers at once, though more of the body may come, and lingers.
func (h *Handler) refuseUpload(w http.ResponseWriter, r *http.Request, why error) {
	if r.ProtoMajor != 1 {
		h.refuse(w, why)
		return
	}
	rc := http.NewResponseController(w)
	rc.EnableFullDuplex() // or net/http would wait for more of the body before it answers
	w.Header().Set("Connection", "close")
	h.refuse(w, why)
	rc.Flush()
	if rc.SetReadDeadline(time.Now().Add(lingerFor)) == nil {
		io.Copy(io.Discard, r.Body)
	}
}
