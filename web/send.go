package web

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/genbrowser/genbrowser/server"
	"github.com/genbrowser/genbrowser/web/problem"
)

// send takes one message.
func (h *Handler) send(w http.ResponseWriter, r *http.Request) {
	to := r.URL.Path[len(h.sendPrefix):]
	b := bodies.Get().(*body)
	defer b.release()
	skipLook(r)
	posted, err := h.post(to, r, b)
	var reader server.Reader
	if err == nil {
		reader, err = posted.Wait()
	}
	if err != nil {
		discard(r)
		h.tally.refused.add(toProblem(err).Kind)
		h.refuse(w, err)
		return
	}
	if reader != nil {
		reader.Wake()
	}
	w.WriteHeader(http.StatusAccepted)
}

func (h *Handler) post(to string, r *http.Request, b *body) (posted server.Posted, err error) {
	letter, err := h.letter(r, b)
	if err != nil {
		return posted, err
	}
	return h.postTo(to, &letter)
}

// postTo posts what is for an address that stood in a URL.
func (h *Handler) postTo(to string, l *server.Letter) (posted server.Posted, err error) {
	if err := notKey(to); err != nil {
		return posted, err
	}
	posted, err = h.office.Post(to, l)
	return posted, ofHeaders(err)
}

// keyInURL is what is wrong with a key where a URL has an address: URLs are written into logs.
const keyInURL = "a key must not stand in a URL; send to its address"

func notKey(to string) error {
	if strings.HasPrefix(to, "gbk_") {
		return &problem.Problem{Kind: problem.MalformedAddress, Detail: keyInURL}
	}
	return nil
}

// ofHeaders says what is wrong with the headers of a letter: of an envelope's members, they give no other.
func ofHeaders(err error) error {
	if errors.Is(err, server.ErrEnvelope) {
		return malformed("Traceparent: want one as W3C Trace Context has it")
	}
	return err
}

// letter is what a request carries, read into b. It counts as a message of its client's, whatever is wrong with it.
func (h *Handler) letter(r *http.Request, b *body) (letter server.Letter, err error) {
	letter, err = h.readLetter(r, b)
	if h.messages != nil || h.bytes != nil {
		if tooMany := h.maySend(h.address(r), len(b.b)); tooMany != nil {
			err = tooMany
		}
	}
	return letter, err
}

func (h *Handler) readLetter(r *http.Request, b *body) (letter server.Letter, err error) {
	if typ := r.Header.Get("Content-Type"); !jsonType(typ) {
		return letter, notJSON(typ)
	}
	letter.Name = r.Header.Get("Idempotency-Key")
	letter.Trace = r.Header.Get("Traceparent")
	letter.Sender = senderOf(r)
	if ttl := r.Header.Get("Ttl"); ttl != "" {
		if letter.TTL, err = parseTTL(ttl); err != nil {
			return letter, err
		}
	}
	if err := b.read(r, h.office.Limits().Body); err != nil {
		return letter, err
	}
	letter.Body = b.b
	return letter, nil
}

// jsonType reports whether a body of that content type is taken for JSON.
func jsonType(typ string) bool {
	switch typ {
	case "application/json", "text/plain;charset=UTF-8", "": // what clients send
		return true
	}
	typ, _, err := mime.ParseMediaType(typ)
	return err == nil && (typ == "application/json" || typ == "text/plain")
}

func notJSON(typ string) error {
	return &problem.Problem{Kind: problem.UnsupportedMedia, Detail: strconv.Quote(typ) + "; want application/json, text/plain, or none"}
}

// parseTTL reads seconds, as RFC 8030 §5.2 has them.
func parseTTL(text string) (time.Duration, error) {
	seconds, err := strconv.ParseUint(text, 10, 31)
	if err != nil || seconds == 0 || strings.HasPrefix(text, "+") {
		return 0, malformed("TTL: want a whole number of seconds above 0")
	}
	return time.Duration(seconds) * time.Second, nil
}

// body is the buffer that a request's body is read into.
type body struct{ b []byte }

// keptBody is the most that an unused buffer may take.
const keptBody = 128 << 10

var bodies = sync.Pool{New: func() any { return &body{make([]byte, 0, 1024)} }}

func (b *body) release() {
	if cap(b.b) <= keptBody {
		b.b = b.b[:0]
		bodies.Put(b)
	}
}

// discard reads what is left of a refused body where the connection ends with the answer, as it does behind many a
// proxy: if it were left unread, the system would reset the connection and the answer could be lost. On a
// connection that is kept, net/http does the same.
func discard(r *http.Request) {
	if r.Close && r.Header.Get("Expect") == "" {
		io.CopyN(io.Discard, r.Body, 256<<10)
	}
}

// read reads the whole body, if it is no longer than limit.
func (b *body) read(r *http.Request, limit int) error {
	tooLarge := &problem.Problem{Kind: problem.TooLarge, Detail: "at most " + strconv.Itoa(limit) + " bytes"}
	if r.ContentLength > int64(limit) {
		return tooLarge
	}
	for {
		if len(b.b) > limit {
			return tooLarge
		}
		if len(b.b) == cap(b.b) {
			b.b = append(b.b, 0)[:len(b.b)]
		}
		n, err := r.Body.Read(b.b[len(b.b):cap(b.b)])
		b.b = b.b[:len(b.b)+n]
		switch {
		case err == io.EOF && len(b.b) <= limit:
			return nil
		case err != nil && !errors.Is(err, io.EOF):
			return malformed("the body did not arrive whole")
		}
	}
}
