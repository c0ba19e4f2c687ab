package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/web/problem"
)

// Outgoing is one of many messages.
type Outgoing struct {
	To    address.Address
	Body  any             // marshalled to JSON
	ID    string          // idempotency key; empty for none
	Kind  string          // "message", which is the default, or one of PROTOCOL.md's, such as "call" or "reply"
	Ref   string          // ties a reply to its call
	Reply address.Address // where the reply to a call goes
	TTL   time.Duration   // rounded up to whole seconds; 0: as long as the mailbox lives
	Trace string          // W3C traceparent

	late bool // nobody waits for the server's answer
}

// line returns the message as a line, with its end.
func (o *Outgoing) line() ([]byte, error) {
	body, err := json.Marshal(o.Body)
	if err != nil {
		return nil, err
	}
	b := make([]byte, 0, len(body)+256)
	b = append(b, '{')
	if o.ID != "" { // first, for the server to know whose answer it is, whatever comes after it
		b = append(appendText(append(b, `"id":`...), o.ID), ',')
	}
	b = appendText(append(b, `"to":`...), o.To.String())
	b = append(append(b, `,"body":`...), body...)
	for _, m := range [...]struct{ name, value string }{
		{`,"kind":`, o.Kind}, {`,"ref":`, o.Ref}, {`,"reply":`, o.Reply.String()}, {`,"trace":`, o.Trace},
	} {
		if m.value != "" {
			b = appendText(append(b, m.name...), m.value)
		}
	}
	seconds := (o.TTL + time.Second - 1) / time.Second
	if o.TTL < 0 {
		seconds = -1 // for the server to refuse, not to be left out
	}
	if seconds != 0 {
		b = strconv.AppendInt(append(b, `,"ttl":`...), int64(seconds), 10)
	}
	return append(b, "}\n"...), nil
}

// appendText appends a text as JSON. What addresses, ids and refs are made of stands as it is.
func appendText(b []byte, text string) []byte {
	for _, c := range []byte(text) {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, _ := json.Marshal(text) // a text always marshals
			return append(b, quoted...)
		}
	}
	return append(append(append(b, '"'), text...), '"')
}

// ErrUnanswered means that the request broke before the server answered a message: it may have been accepted
// or not. A message with an ID can be sent again without harm.
var ErrUnanswered = errors.New("no answer")

// SendMany sends messages over one request, and yields for each, in order and as the answers come, its number
// from 0 and nil or the server's [*problem.Problem]. It may go on for as long as messages come.
//
// When the request breaks, the last thing it yields is the number of the first message without an answer and
// an error that wraps [ErrUnanswered]. A message that can't be marshalled ends it as well: it is the last thing
// that is yielded, and was not sent.
//
// The messages are taken in a goroutine of their own, as fast as the server takes them, and the loop over the
// answers ends only after that did. So if messages waits for more to come, whoever leaves the loop, or is told
// that the request broke, sees to it that the waiting ends.
func (c *Client) SendMany(ctx context.Context, messages iter.Seq[Outgoing]) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		pr, pw := io.Pipe()
		up := &upload{client: c, body: pw, yield: yield}
		done := make(chan struct{})
		defer context.AfterFunc(ctx, func() { pw.CloseWithError(ctx.Err()) })() // HTTP/2 does not end a read that waits
		go func() {
			defer close(done)
			up.write(messages)
		}()
		defer func() {
			cancel()
			pr.CloseWithError(context.Canceled)
			<-done
		}()
		if err := up.read(ctx, pr); err != nil {
			yield(up.answered, err)
		}
	}
}

// upload is one request with many messages.
type upload struct {
	client *Client

	// of the goroutine that takes the messages, until complete is set
	body       *io.PipeWriter
	sent       int
	unsendable error // why the message after those could not be sent

	complete atomic.Bool // no more will be sent

	// of the goroutine that reads the answers
	yield    func(int, error) bool
	answered int
}

// write buffers nothing: a line that waits for company would wait for ever if none came.
func (u *upload) write(messages iter.Seq[Outgoing]) {
	for m := range messages {
		line, err := m.line()
		if err != nil {
			u.unsendable = err
			break
		}
		if _, err := u.body.Write(line); err != nil {
			return // the request ended
		}
		u.sent++
	}
	u.complete.Store(true)
	u.body.Close()
}

// read yields the answers, and returns what to yield last, if anything.
func (u *upload) read(ctx context.Context, body io.Reader) error {
	err := u.answers(ctx, body)
	switch {
	case err == errLeft:
		return nil
	case ctx.Err() != nil && err != nil:
		err = ctx.Err() // says more than what it did to the connection
	case err == nil && (!u.complete.Load() || u.sent > u.answered):
		err = io.ErrUnexpectedEOF // the server shut down, or a proxy cut the request
	case err == nil && u.unsendable != nil:
		return fmt.Errorf("client: message %d: %w", u.answered, u.unsendable)
	}
	if err != nil {
		return fmt.Errorf("client: message %d: %w: %w", u.answered, ErrUnanswered, err)
	}
	return nil
}

func (u *upload) answers(ctx context.Context, body io.Reader) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.client.base+"/send", body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-ndjson")
	resp, err := u.client.http.Do(req)
	if err != nil {
		return withoutURL(err)
	}
	if err := refusal(resp); err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxRefusal)
	for lines.Scan() {
		var m problem.Members
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			return err
		}
		var refused error
		if m.Status/100 != 2 {
			refused = m.Problem()
		}
		if !u.yield(u.answered, refused) {
			return errLeft
		}
		u.answered++
	}
	return lines.Err()
}
