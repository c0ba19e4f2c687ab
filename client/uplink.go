package client

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/genbrowser/genbrowser/web/problem"
)

const (
	// window is how many letters may be written and not answered. It is a quarter of the names that a mailbox
	// remembers, so that each of them is still known if it comes again, unless others write much to that mailbox.
	window = 250
	// answerWithin is how long the server may take to answer anything once a letter is written; then the connection
	// counts as broken, and what is not answered is written again on another. A node of a cluster may take 5 s until it
	// refuses what it can pass on to no other.
	answerWithin = 8 * time.Second
	// mostPatience is what answerWithin grows to: how long is too long, on a slow link with much on its way, is only
	// known once a connection was given up too soon.
	mostPatience = 64 * time.Second
)

// errOverdue means that the server answered nothing in time.
var errOverdue = errors.New("client: the server answers no message")

// errNonsense is an answer that no GenBrowser server gives: something stands between, perhaps for a while.
var errNonsense = errors.New("client: an answer is not understood")

// uplink sends messages over one request that is held open, in the order in which they were posted, and heals it:
// what was not answered when it broke is written again on the next one, under the same idempotency key. It connects
// when there is something to send.
type uplink struct {
	// fixed after construction
	client *Client
	beat   func() time.Duration // a sign of life is sent that often
	broke  func(error)          // told of each connection's end
	lost   func(*letter, error) // told of casts that were not accepted
	prefix string               // of the letters' ids
	wake   chan struct{}        // tells run that something is to be sent

	posted atomic.Uint64

	mu     sync.Mutex
	queue  queue
	upload *uploadBody // of the present connection; nil while there is none
	down   bool        // a connection ended with letters in the queue, and none since brought an answer or emptied it
	// patience is how long the server may answer nothing. It doubles when that was too long, until all is answered.
	patience time.Duration
	cause    error // why the last connection came to nothing; nil once one brought an answer
	err      error // why nothing is taken any more

	settled chan struct{} // closed once nothing is held, or the connection is down; nil while nobody waits for that
}

func newUplink(c *Client, most, mostBytes int, beat func() time.Duration, broke func(error), lost func(*letter, error)) *uplink {
	return &uplink{
		client: c, beat: beat, broke: broke, lost: lost,
		prefix: random(9) + ".", patience: answerWithin,
		wake:  make(chan struct{}, 1),
		queue: queue{most: most, mostBytes: mostBytes},
	}
}

// random returns so many random bytes in base64url.
func random(bytes int) string {
	b := make([]byte, bytes)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

// send posts a message and waits for its answer.
func (u *uplink) send(ctx context.Context, o Outgoing) error {
	l, err := u.post(o)
	if err != nil {
		return err
	}
	return u.answered(ctx, l)
}

// answered waits for a letter's answer.
func (u *uplink) answered(ctx context.Context, l *letter) error {
	select {
	case err := <-l.answer:
		return err
	case <-ctx.Done():
		return u.leave(ctx, l)
	}
}

// cast posts a message and waits for no more than room for it.
func (u *uplink) cast(ctx context.Context, o Outgoing) error {
	l := &letter{to: o.To, body: o.Body}
	o.late = true
	if err := u.add(l, o); err != nil || l.room == nil {
		return err
	}
	select {
	case <-l.room:
		return l.err
	case <-ctx.Done():
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	select {
	case <-l.room:
		return l.err
	default:
		u.queue.leave(l)
		return gaveUp(ctx, l, u.cause)
	}
}

// post adds a message to the queue and returns at once. Who gives up waiting for its answer calls leave.
func (u *uplink) post(o Outgoing) (*letter, error) {
	l := &letter{answer: make(chan error, 1)}
	if err := u.add(l, o); err != nil {
		return nil, err
	}
	return l, nil
}

// lateQueue is how many messages of the kind the queue must have room for if one may be answered late: it stays in there
// for that long.
const lateQueue = 100

func (u *uplink) add(l *letter, o Outgoing) error {
	l.id = u.prefix + strconv.FormatUint(u.posted.Add(1), 36)
	o.ID = l.id
	line, err := o.line()
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	if o.late && u.queue.most >= lateQueue && u.queue.mostBytes >= lateQueue*len(line) {
		line = append(line[:len(line)-len("}\n")], `,"late":true}`+"\n"...)
	}
	l.line = line
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.err != nil {
		return u.err
	}
	idle := u.queue.held() == 0
	u.queue.post(l)
	if idle {
		u.due()
	}
	u.poke()
	return nil
}

// poke tells whoever writes, or would connect, to look. The caller holds mu.
func (u *uplink) poke() {
	wake := u.wake
	if u.upload != nil {
		wake = u.upload.wake
	}
	select {
	case wake <- struct{}{}:
	default:
	}
}

// leave gives up waiting for a letter's answer, and returns it nonetheless if it is there.
func (u *uplink) leave(ctx context.Context, l *letter) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	select {
	case err := <-l.answer:
		return err
	default:
	}
	u.queue.leave(l)
	u.less()
	u.poke() // there may be room for others
	return gaveUp(ctx, l, u.cause)
}

// less follows what there is less of in the queue. The caller holds mu.
func (u *uplink) less() {
	if u.queue.held() == 0 {
		u.due()
		u.down = false // the next connection may do
		u.patience = answerWithin
	}
	if u.settled != nil && (u.queue.held() == 0 || u.down) {
		close(u.settled)
		u.settled = nil
	}
}

// settle refuses everything from now on, and waits until what was taken before is answered, the connection broke or
// ctx ends.
func (u *uplink) settle(ctx context.Context, err error) {
	u.mu.Lock()
	if u.err == nil && !u.down && u.queue.held() > 0 {
		u.err, u.settled = err, make(chan struct{})
	}
	settled := u.settled // or of somebody else who waits for it
	u.mu.Unlock()
	if settled == nil {
		return
	}
	select {
	case <-settled:
	case <-ctx.Done():
	}
}

// end refuses everything from now on, and what has no answer yet.
func (u *uplink) end(err error) {
	u.mu.Lock()
	u.err = cmp.Or(u.err, err)
	casts := u.queue.end(u.err)
	u.less()
	err = u.err
	u.mu.Unlock()
	for _, l := range casts {
		u.lost(l, err)
	}
}

// run connects whenever there is something to send, until ctx ends or going on makes no sense; it says why.
func (u *uplink) run(ctx context.Context) error {
	for failures := 0; ; {
		if err := u.wanted(ctx); err != nil {
			return err
		}
		answered, err := u.connection(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		u.broke(err)
		if final(err) {
			return err
		}
		wait := least(err)
		if failures++; answered > 0 {
			failures = 0
		} else {
			wait += u.client.jitter(failures)
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
}

// wanted returns once something is to be sent.
func (u *uplink) wanted(ctx context.Context) error {
	for {
		u.mu.Lock()
		some := len(u.queue.waiting) > 0
		u.mu.Unlock()
		if some {
			return nil
		}
		select {
		case <-u.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// connection makes one request, and returns how many letters it brought an answer to and why it ended.
func (u *uplink) connection(ctx context.Context) (answered int, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	b := u.begin(func() { cancel(errOverdue) })
	defer u.finish(b)
	defer context.AfterFunc(ctx, func() { b.Close() })() // HTTP/2 does not end a read that waits
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.client.base+"/send", b)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/x-ndjson")
	resp, err := u.client.http.Do(req)
	if err == nil {
		err = passing(refusal(resp))
	}
	if err == nil {
		defer resp.Body.Close()
		answered, err = u.answers(resp.Body)
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	err = withoutURL(err)
	u.broken(answered, err)
	return answered, err
}

// answers reads what the server says of each letter, to the end of the request.
func (u *uplink) answers(from io.Reader) (n int, err error) {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, maxRefusal)
	for lines.Scan() {
		if err := u.answer(lines.Bytes()); err != nil {
			return n, err
		}
		n++
	}
	if err := lines.Err(); err != nil {
		return n, err
	}
	return n, io.ErrUnexpectedEOF // we never end it
}

// answer hands one answer to the letter that it belongs to.
func (u *uplink) answer(line []byte) error {
	l, refused, err := u.take(line)
	switch {
	case err != nil:
		return err
	case l.answer != nil:
		l.answer <- refused
	case refused != nil:
		u.lost(l, refused)
	}
	return nil
}

// take takes out the letter that is answered, and reads whether it was refused.
func (u *uplink) take(line []byte) (l *letter, refused, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.queue.written) == 0 {
		return nil, nil, fmt.Errorf("%w: %.80q, and no message waits for an answer", errNonsense, line)
	}
	refused = u.queue.written[0].read(line)
	if breaks(refused) {
		return nil, nil, refused
	}
	l = u.queue.answered()
	u.down, u.cause = false, nil
	if u.upload != nil {
		u.upload.heard = true
	}
	u.due()
	u.less()
	u.poke()
	return l, refused, nil
}

// due has the server's next answer come in time, if there are letters that wait for one. The caller holds mu.
func (u *uplink) due() {
	switch {
	case u.upload == nil:
	case u.queue.held() == 0:
		u.upload.overdue.Stop()
	default:
		u.upload.overdue.Reset(u.patience)
	}
}

// broken notes why a connection ended. One that nothing was answered on in time gives the next one longer.
func (u *uplink) broken(answered int, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if answered == 0 {
		u.cause = err
	}
	if errors.Is(err, errOverdue) {
		u.patience = min(2*u.patience, mostPatience)
	}
}

// why returns why the last connection came to nothing, if it did.
func (u *uplink) why() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.cause
}

// read returns what an answer's line says of the letter.
func (l *letter) read(line []byte) error {
	const before, after = `{"id":"`, `","status":202}`
	if n := len(before) + len(l.id); len(line) == n+len(after) && string(line[len(before):n]) == l.id && string(line[n:]) == after {
		return nil
	}
	var m problem.Members
	err := json.Unmarshal(line, &m)
	unread := m.ID == "" && m.Status/100 == 4 // the server could not read the id, but answers come in order
	if err != nil || m.ID != l.id && !unread {
		return fmt.Errorf("%w: %.80q, want the answer to message %s", errNonsense, line, l.id)
	}
	if m.Status/100 == 2 {
		return nil
	}
	return m.Problem()
}

// breaks reports whether an answer says nothing of its letter: it is of another, or the server can take none at the
// moment. Then it is written again, and those behind it as well, so that their order holds.
func breaks(err error) bool {
	return errors.Is(err, errNonsense) || errors.Is(err, problem.ShuttingDown) || errors.Is(err, problem.Unavailable)
}
