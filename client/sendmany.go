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
	Kind  string          // "message", which is the default, "call" or "reply"
	Ref   string          // ties a reply to its call
	Reply address.Address // where the reply to a call goes
	TTL   time.Duration   // in whole seconds; 0: as long as the mailbox lives
	Trace string          // W3C traceparent
}

func (o Outgoing) line() ([]byte, error) {
	return json.Marshal(struct {
		To    address.Address `json:"to"`
		Body  any             `json:"body"`
		ID    string          `json:"id,omitempty"`
		Kind  string          `json:"kind,omitempty"`
		Ref   string          `json:"ref,omitempty"`
		Reply address.Address `json:"reply,omitzero"`
		TTL   int64           `json:"ttl,omitempty"`
		Trace string          `json:"trace,omitempty"`
	}{o.To, o.Body, o.ID, o.Kind, o.Ref, o.Reply, int64(o.TTL / time.Second), o.Trace})
}

// ErrUnanswered means that the request broke before the server answered a message: it may have been accepted
// or not. A message with an ID can be sent again without harm.
var ErrUnanswered = errors.New("no answer")

// SendMany sends messages over one request, and yields for each, in order and as the answers come, its number
// from 0 and nil or the server's problem. It takes the messages from another goroutine, as fast as the server
// takes them, and may go on for as long as they come.
//
// When the request breaks, the last thing it yields is the number of the first message without an answer and
// an error that wraps [ErrUnanswered]. When the loop over the answers ends early, no more messages are sent.
func (c *Client) SendMany(ctx context.Context, messages iter.Seq[Outgoing]) iter.Seq2[int, error] {
	return func(yield func(int, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		pr, pw := io.Pipe()
		up := &upload{client: c, body: pw}
		done := make(chan struct{})
		go func() {
			defer close(done)
			up.write(ctx, messages)
		}()
		defer func() { // the writer may wait for the pipe, or within messages
			cancel()
			pr.CloseWithError(context.Canceled)
			<-done
		}()
		if err := up.read(ctx, pr, yield); err != nil {
			yield(up.answered, fmt.Errorf("client: message %d: %w: %w", up.answered, ErrUnanswered, err))
		}
	}
}

// upload is one request with many messages.
type upload struct {
	client   *Client
	body     *io.PipeWriter
	sent     atomic.Int64
	complete atomic.Bool // no more will be sent
	answered int
}

// write buffers nothing: a line that waits for company would wait for ever if none came.
func (u *upload) write(ctx context.Context, messages iter.Seq[Outgoing]) {
	for m := range messages {
		line, err := m.line()
		if err == nil {
			_, err = u.body.Write(append(line, '\n'))
		}
		if err == nil {
			u.sent.Add(1)
			err = ctx.Err()
		}
		if err != nil {
			u.body.CloseWithError(err)
			return
		}
	}
	u.complete.Store(true)
	u.body.Close()
}

// read yields the answers, and returns why there are fewer than messages, if there are.
func (u *upload) read(ctx context.Context, body io.Reader, yield func(int, error) bool) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.client.base+"/send", body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-ndjson")
	resp, err := u.client.http.Do(req)
	if err == nil {
		err = refusal(resp)
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		var m problem.Members
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			return err
		}
		var refused error
		if m.Status/100 != 2 {
			refused = m.Problem()
		}
		if !yield(u.answered, refused) {
			return nil
		}
		u.answered++
	}
	if err := lines.Err(); err != nil {
		return err
	}
	if !u.complete.Load() || u.sent.Load() > int64(u.answered) {
		return io.ErrUnexpectedEOF // the server shut down, or a proxy cut the request
	}
	return nil
}
