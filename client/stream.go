package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"

	"github.com/r3labs/sse/v2"
	"gopkg.in/cenkalti/backoff.v1"

	"github.com/genbrowser/genbrowser/web/problem"
)

// event is one of a stream, whole.
type event struct {
	name string
	id   string
	data []byte
}

func (e *event) decode(v any) error {
	if err := json.Unmarshal(e.data, v); err != nil {
		return fmt.Errorf("%w: %s event: %w", errProtocol, e.name, err)
	}
	return nil
}

// stream is one connection's events.
type stream struct {
	events chan event
	err    error // why there are no more, once events is closed
	cancel context.CancelCauseFunc
}

// close ends the connection and waits for its goroutine.
func (s *stream) close() {
	s.cancel(nil)
	for range s.events {
	}
}

// stream opens the mailbox's stream, once. The caller closes it.
//
// The parsing is sse.Client's, with these of its habits kept off: it retries by itself, whatever the answer
// (its retry is off); it delivers an event whose end never came ([wholeEvents]), and one without data, which
// the standard does not; it moves its id before an event is handled (a new client for each connection is told
// where to begin); it takes events up to 64 KiB (Options.MaxEvent); it waits for ever on a connection that
// fell silent ([watchdog]), and when its handler panics (the handler only hands on to a channel); unsubscribing
// leaves a goroutine behind (cancelling the context does not).
func (m *Mailbox) stream(ctx context.Context) *stream {
	ctx, cancel := context.WithCancelCause(ctx)
	s := &stream{events: make(chan event), cancel: cancel}
	base := m.client.http
	c := sse.NewClient(m.client.base+"/mailbox?ack=manual", sse.ClientMaxBufferSize(m.client.maxEvent+readSize))
	c.Connection = &http.Client{
		Transport:     &transport{base.Transport, newWatchdog(m, cancel), m.client.maxEvent},
		Jar:           base.Jar,
		CheckRedirect: base.CheckRedirect,
	}
	c.Headers = map[string]string{"Authorization": "Bearer " + m.key.Reveal()}
	if cursor := m.Cursor(); cursor != "" {
		c.Headers["Last-Event-ID"] = cursor
	}
	c.ReconnectStrategy = &backoff.StopBackOff{}
	c.ResponseValidator = validate
	go func() {
		defer close(s.events)
		err := c.SubscribeRawWithContext(ctx, func(e *sse.Event) {
			if len(e.Data) == 0 {
				return
			}
			select {
			case s.events <- event{string(e.Event), string(e.ID), e.Data}:
			case <-ctx.Done():
			}
		})
		switch {
		case errors.Is(context.Cause(ctx), errMute):
			s.err = errMute
		case err == nil:
			s.err = errEnded
		default:
			s.err = err
		}
	}()
	return s
}

// validate takes a stream and nothing else. Another status is final as its kind says, 204 always; a 200 of
// another type is what a captive portal answers for a while.
func validate(_ *sse.Client, resp *http.Response) error {
	if err := refusal(resp); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return problem.Parse(resp.StatusCode, nil)
	}
	if typ, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err != nil || typ != "text/event-stream" {
		resp.Body.Close()
		return fmt.Errorf("client: want a stream, got %q", resp.Header.Get("Content-Type"))
	}
	return nil
}

// transport hands on only whole events of a stream, and has the watchdog watch it.
type transport struct {
	base  http.RoundTripper
	watch *watchdog
	most  int // bytes of an event
}

// RoundTrip implements [http.RoundTripper].
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	base := t.base
	if base == nil {
		base = http.DefaultTransport
	}
	t.watch.begin()
	defer t.watch.end()
	resp, err := base.RoundTrip(r)
	switch {
	case err != nil:
	case resp.StatusCode == http.StatusOK:
		resp.Body = &wholeEvents{ReadCloser: resp.Body, watch: t.watch, most: t.most}
	default: // of this, all is read while the watchdog watches
		body, _ := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
		resp.Body.Close()
		resp.Body = io.NopCloser(bytes.NewReader(body))
	}
	return resp, err
}
