package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

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

// stream opens the mailbox's stream once. The events end when it does; then ended gives the reason. The
// caller reads both to their ends, after cancelling ctx if it wants no more.
//
// The parsing is sse.Client's, with these of its habits kept off: it retries by itself, whatever the answer
// (its retry is off); it delivers an event whose end never came, and moves its id past it ([wholeEvents]); it
// moves its id before an event is handled (a new client for each connection is told where to begin); it waits
// for ever when its handler panics (the handler only hands on to a channel).
func (m *Mailbox) stream(ctx context.Context) (events <-chan event, ended <-chan error) {
	out, end := make(chan event), make(chan error, 1)
	ctx, cancel := context.WithCancelCause(ctx)
	watch := newWatchdog(m, cancel)
	c := sse.NewClient(m.client.base+"/mailbox?ack=manual", sse.ClientMaxBufferSize(m.client.maxEvent+4096))
	c.Connection = &http.Client{
		Transport: transport{m.client.http.Transport, watch, m.client.maxEvent},
		Jar:       m.client.http.Jar, CheckRedirect: m.client.http.CheckRedirect,
	}
	c.Headers = map[string]string{"Authorization": "Bearer " + m.key.Reveal()}
	if cursor := m.Cursor(); cursor != "" {
		c.Headers["Last-Event-ID"] = cursor
	}
	c.ReconnectStrategy = &backoff.StopBackOff{}
	c.ResponseValidator = validate
	go func() {
		defer cancel(nil)
		defer watch.stop()
		defer close(out)
		err := c.SubscribeRawWithContext(ctx, func(e *sse.Event) {
			select {
			case out <- event{string(e.Event), string(e.ID), e.Data}:
			case <-ctx.Done():
			}
		})
		switch {
		case errors.Is(context.Cause(ctx), errMute):
			err = errMute
		case err == nil:
			err = io.ErrUnexpectedEOF // a stream says bye before it ends
		}
		end <- err
	}()
	return out, end
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
	if typ := resp.Header.Get("Content-Type"); typ != "text/event-stream" {
		resp.Body.Close()
		return fmt.Errorf("client: want a stream, got %q", typ)
	}
	return nil
}

// transport hands on only whole events of a stream, and shows the watchdog each byte.
type transport struct {
	base  http.RoundTripper
	watch *watchdog
	most  int // bytes of an event
}

// RoundTrip implements [http.RoundTripper].
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	base := t.base
	if base == nil {
		base = http.DefaultTransport
	}
	resp, err := base.RoundTrip(r)
	if err == nil && resp.StatusCode == http.StatusOK {
		resp.Body = &wholeEvents{ReadCloser: resp.Body, watch: t.watch, most: t.most}
	}
	return resp, err
}

// wholeEvents withholds an event until the empty line that ends it has come, so that one that was cut off is
// never seen. Our servers end lines with LF alone.
type wholeEvents struct {
	io.ReadCloser
	watch *watchdog
	most  int
	buf   []byte // read; up to whole it may be handed on
	whole int
	err   error
}

// Read implements [io.Reader].
func (w *wholeEvents) Read(p []byte) (int, error) {
	for w.whole == 0 {
		if w.err != nil {
			return 0, w.err
		}
		w.fill()
	}
	n := copy(p, w.buf[:w.whole])
	w.buf = w.buf[n:]
	w.whole -= n
	return n, nil
}

// fill reads once more, and finds out how much is whole.
func (w *wholeEvents) fill() {
	var chunk [4096]byte
	n, err := w.ReadCloser.Read(chunk[:])
	w.err = err
	if n > 0 {
		w.watch.saw()
	}
	from := max(0, len(w.buf)-1) // the first half of the end may be there
	w.buf = append(w.buf, chunk[:n]...)
	if i := bytes.LastIndex(w.buf[from:], []byte("\n\n")); i >= 0 {
		w.whole = from + i + 2
	} else if len(w.buf) > w.most {
		w.err = fmt.Errorf("client: an event is longer than Options.MaxEvent, %d bytes", w.most)
	}
}

// errMute means that a stream showed no sign of life for two and a half heartbeats.
var errMute = errors.New("client: the stream went mute")

// watchdog cancels a connection that says nothing for too long.
type watchdog struct {
	m     *Mailbox
	timer *time.Timer
}

// firstPatience is how long a connection may take before the server's heartbeat is known.
const firstPatience = 40 * time.Second

func newWatchdog(m *Mailbox, cancel context.CancelCauseFunc) *watchdog {
	w := &watchdog{m: m}
	w.timer = time.AfterFunc(w.patience(), func() { cancel(errMute) })
	return w
}

func (w *watchdog) patience() time.Duration {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	if w.m.beat == 0 {
		return firstPatience
	}
	return w.m.beat * 5 / 2
}

func (w *watchdog) saw()  { w.timer.Reset(w.patience()) }
func (w *watchdog) stop() { w.timer.Stop() }
