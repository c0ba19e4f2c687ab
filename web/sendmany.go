package web

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/genbrowser/genbrowser/internal/jsonscan"
	"github.com/genbrowser/genbrowser/server"
	"github.com/genbrowser/genbrowser/web/problem"
)

const (
	// lineOverhead is how much longer than its body a line may be.
	lineOverhead = 4 << 10
	// bodyGrace is how long a body of known length, which is likely to be under way, may take to come when the server
	// shuts down.
	bodyGrace = 500 * time.Millisecond
)

// sendMany takes a message a line and answers each with a line, in order and as they come, for as long as the
// sender keeps the request open.
func (h *Handler) sendMany(w http.ResponseWriter, r *http.Request) {
	rc := http.NewResponseController(w)
	limits := h.office.Limits()
	maxLine := limits.Body + lineOverhead
	short := r.ContentLength >= 0 && r.ContentLength <= int64(maxLine)
	leave, err := h.mayUpload(r, short)
	if err != nil {
		h.refuseUpload(w, r, err)
		return
	}
	defer leave()
	rc.EnableFullDuplex()            // HTTP/2 needs no asking
	rc.SetWriteDeadline(time.Time{}) // HTTP/2 would end what is idle; each write has its own
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no")
	endless, grace := r.ContentLength < 0, bodyGrace
	if endless {
		rc.SetReadDeadline(time.Time{})
		grace = 0
		if r.ProtoMajor == 1 {
			w.Header().Set("Connection", "close") // or what a shutdown leaves unread would be taken for a request
		}
	}

	u := uploads.Get().(*upload)
	defer u.release()
	u.h, u.body, u.sender, u.rc = h, r.Body, senderOf(r), rc
	u.answers.begin(h, w, rc, !endless && r.URL.RawQuery != "" && r.URL.Query().Has("brief"))
	if u.counted = h.messages != nil || h.bytes != nil || h.monitors != nil; u.counted {
		u.client = h.address(r)
	}
	u.short, u.endless, u.maxLine, u.depth = short, endless, maxLine, limits.Depth
	err = u.runUntilShutdown(grace)
	rc.SetWriteDeadline(time.Now().Add(h.slow)) // for the end of the answer, which net/http writes
	if err == nil || err != errTakesNothing && u.cutShort(w, r) {
		return
	}
	rc.SetReadDeadline(time.Now()) // or net/http would wait for the rest of the body
	if !endless {
		panic(http.ErrAbortHandler) // for the same reason: net/http would go on with this connection
	}
}

// runUntilShutdown has the reading end a while after a shutdown begins, which a sender that holds its request open must not hold up.
func (u *upload) runUntilShutdown(grace time.Duration) error {
	ended := make(chan struct{})
	stop := context.AfterFunc(u.h.ctx, func() {
		u.rc.SetReadDeadline(time.Now().Add(grace))
		close(ended)
	})
	defer func() {
		if !stop() {
			<-ended
		}
	}()
	return u.run()
}

// mayUpload returns what to call when the upload is over, or why there is none. A short one counts as a send does, and is not
// held open.
func (h *Handler) mayUpload(r *http.Request, short bool) (leave func(), err error) {
	if typ := r.Header.Get("Content-Type"); !ndjsonType(typ) {
		return nil, &problem.Problem{Kind: problem.UnsupportedMedia, Detail: strconv.Quote(typ) + "; want application/x-ndjson"}
	}
	if h.office.ShuttingDown() {
		return nil, server.ErrShuttingDown
	}
	if short {
		return func() {}, nil
	}
	free, err := h.held.enter(r)
	if err != nil || r.ProtoMajor != 1 {
		return free, err
	}
	if !h.uploads.enter() {
		free()
		return nil, server.ErrShuttingDown
	}
	return func() { free(); h.uploads.leave() }, nil
}

func ndjsonType(typ string) bool {
	typ, _, err := mime.ParseMediaType(typ)
	switch typ {
	case "application/x-ndjson", "application/ndjson", "application/jsonl", "text/plain":
		return err == nil
	}
	return false
}

// upload is one request with many messages.
type upload struct {
	h       *Handler
	body    io.Reader
	short   bool // it is no longer than one line may be
	endless bool // the sender said no length: it may wait for an answer before it sends more
	maxLine int
	depth   int    // of nesting, at most
	counted bool   // there are quotas
	client  string // then, its address
	sender  *server.Sender

	rc        *http.ResponseController
	readUntil time.Time // the deadline of a body of known length

	in      []byte          // read, and not yet taken for a line
	next    line            // the one at hand; here, so that it is not allocated for each
	taken   []taken         // lines that are not answered yet
	awake   []server.Reader // to be woken
	settled int             // lines, since the last turn
	tooLong bool            // within a line whose head was refused
	behind  behind
	placed  uint64   // the office's Placement, when the newest line was taken
	answers *answers // to be written
}

var errTakesNothing = errors.New("web: the sender takes no answers")

// taken is a line that has its place, or was refused.
type taken struct {
	id     string
	late   bool
	to     uint64 // the hash of its address
	posted server.Posted
	err    error
}

// maxTaken is how many lines are taken together at most; what is kept for more would stay with the request.
const maxTaken = 512

// maxAwake is how many readers are woken together at most; more would keep the first ones waiting.
const maxAwake = 64

var uploads = sync.Pool{New: func() any { return &upload{in: make([]byte, 0, 16<<10), answers: new(answers)} }}

func (u *upload) release() {
	u.answers.end()
	if cap(u.in) > keptBody {
		return
	}
	clear(u.awake[:cap(u.awake)])
	clear(u.taken[:cap(u.taken)])
	*u = upload{in: u.in[:0], taken: u.taken[:0], awake: u.awake[:0], answers: u.answers}
	uploads.Put(u)
}

// run reads until the body ends, and settles what is done before each read that may have to wait. It returns why the
// body was not read to its end.
func (u *upload) run() error {
	for {
		err := u.read()
		u.lines()
		if err == io.EOF {
			u.lastLine()
		}
		u.settle()
		switch err {
		case nil:
		case io.EOF:
			u.turn()
			u.answers.finish()
			return nil
		default:
			u.answers.writeAll()
			return err
		}
		if !u.answers.settled(u.endless) {
			return errTakesNothing
		}
	}
}

// read adds more of the body to in, which holds at most the beginning of a line.
func (u *upload) read() error {
	if len(u.in) == cap(u.in) {
		u.in = slices.Grow(u.in, len(u.in))
	}
	u.patience()
	n, err := u.body.Read(u.in[len(u.in):cap(u.in)])
	u.in = u.in[:len(u.in)+n]
	return err
}

// patience has a body of known length go on, and a short one come to its end: one that pauses would keep its connection for
// ever. One that is endless may pause as long as it likes.
func (u *upload) patience() {
	now, d := time.Now(), atLeast(u.h.slow)
	if u.short && !u.readUntil.IsZero() || u.endless || u.h.ctx.Err() != nil || !soon(u.readUntil, d, now) {
		return
	}
	u.readUntil = now.Add(d)
	u.rc.SetReadDeadline(u.readUntil)
	if u.h.ctx.Err() != nil { // what a shutdown had set just now is no more
		u.rc.SetReadDeadline(now.Add(bodyGrace))
	}
}

// lines takes the complete lines of in, and leaves the beginning of the next one.
func (u *upload) lines() {
	at := 0
	for {
		end := bytes.IndexByte(u.in[at:], '\n')
		if end < 0 {
			break
		}
		if line := u.in[at : at+end]; u.tooLong {
			u.tooLong = false
		} else {
			u.line(line)
		}
		at += end + 1
		if len(u.taken) >= maxTaken {
			u.settle()
		}
	}
	u.in = append(u.in[:0], u.in[at:]...)
	if len(u.in) > u.maxLine { // its end is not worth keeping
		if !u.tooLong {
			u.refuseLong(u.in)
		}
		u.in, u.tooLong = u.in[:0], true
	}
}

// lastLine takes what the body ended with, if no line end followed.
func (u *upload) lastLine() {
	if !u.tooLong {
		u.line(u.in)
	}
	u.in = u.in[:0]
}

// line takes one line and notes its answer.
func (u *upload) line(line []byte) {
	if len(line) > u.maxLine {
		u.refuseLong(line)
		return
	}
	if jsonscan.Space(line, 0) == len(line) {
		return // a sign of life
	}
	l := &u.next
	err := u.count(parseLine(l, line, u.depth))
	to := hashAddress(l.to)
	if err == nil {
		u.heedMoves()
		err = u.behind.pass(to)
	}
	var posted server.Posted
	if err == nil {
		l.letter.Sender = u.sender
		posted, err = u.post(l)
		u.behind.noting(to, err)
	}
	if errors.Is(err, server.ErrName) || errors.Is(err, server.ErrTTL) { // members of the line, as others are
		err = malformedLine(err.Error())
	}
	u.taken = append(u.taken, taken{l.letter.Name, l.late, to, posted, err})
}

// heedMoves waits for the lines before the one at hand if mailboxes moved since they were taken: the node that had one may have
// refused it, and the one that has it now would take this line.
func (u *upload) heedMoves() {
	now := u.h.office.Placement()
	if now != u.placed && len(u.taken) > 0 {
		u.settle()
	}
	u.placed = now
}

// count counts the line at hand as a message, whatever is wrong with it, which is err. It returns what the line is refused for.
func (u *upload) count(err error) error {
	if !u.counted {
		return err
	}
	if tooMany := u.h.maySend(u.client, len(u.next.letter.Body)); tooMany != nil {
		return tooMany
	}
	return err
}

// refuseLong notes the answer to a line that is too long, with its id if that stands where the line, or what is there
// of it, can be read.
func (u *upload) refuseLong(line []byte) {
	parseLine(&u.next, line, u.depth)
	err := u.count(&problem.Problem{Kind: problem.TooLarge, Detail: "a line has at most " + strconv.Itoa(u.maxLine) + " bytes"})
	u.taken = append(u.taken, taken{id: u.next.letter.Name, err: err})
}

// settle delivers the lines that were taken and has their answers ready, in their order, each once its message is stored.
// Those that came together were stored together, so that it waits for the first one only.
func (u *upload) settle() {
	if len(u.taken) == 0 {
		return
	}
	u.settled = len(u.taken)
	for i := range u.taken {
		t := &u.taken[i]
		if t.err != nil {
			u.answers.add(t.id, t.late, t.err)
			continue
		}
		reader, err := t.posted.Wait()
		u.behind.noting(t.to, err)
		u.answers.add(t.id, t.late, err)
		if reader == nil || slices.Contains(u.awake, reader) {
			continue
		}
		if u.awake = append(u.awake, reader); len(u.awake) == maxAwake {
			u.wake()
		}
	}
	u.taken = u.taken[:0]
	u.wake()
}

// wake lets the readers know; messages for one reader that came together, also in other requests, are written together.
func (u *upload) wake() {
	if len(u.awake) > 1 {
		u.turn()
	}
	for _, r := range u.awake {
		r.Wake()
	}
	u.awake = u.awake[:0]
}

// turn takes a turn after what was settled since the last one.
func (u *upload) turn() {
	u.h.turns.take(time.Now(), max(u.settled, 1))
	u.settled = 0
}
