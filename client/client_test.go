package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/client"
	"github.com/genbrowser/genbrowser/internal/testport"
	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/server"
	"github.com/genbrowser/genbrowser/web"
	"github.com/genbrowser/genbrowser/web/problem"
)

func TestNewRefuses(t *testing.T) {
	for _, endpoint := range []string{"", "example.com", "localhost:8080", "ftp://example.com", "http://", "unix://x.sock", "unix:", "unix:///x?y", ":"} {
		if _, err := client.New(endpoint, client.Options{}); err == nil {
			t.Errorf("New(%q) gives a client", endpoint)
		}
	}
	for _, o := range []client.Options{{HTTP: &http.Client{Timeout: time.Second}}, {MaxEvent: -1}, {MaxPause: -1}, {OpenWithin: -1}} {
		if _, err := client.New("http://localhost", o); err == nil {
			t.Errorf("New(%+v) gives a client", o)
		}
	}
}

func TestOpenSendRead(t *testing.T) {
	for name, o := range map[string]siteOptions{"HTTP/1.1": {}, "HTTP/2": {http2: true}} {
		t.Run(name, func(t *testing.T) {
			s := start(t, o)
			if err := s.office.SetConfig(map[string]int{"a": 1}); err != nil {
				t.Fatal(err)
			}
			c := connect(t, s.URL, client.Options{HTTP: s.Client()})
			box := open(t, c)
			if got := string(box.Config()); got != `{"a":1}` {
				t.Errorf("Config = %s", got)
			}
			send(t, c, box.Address(), "before") // while nobody reads
			inbox := read(t, limit(t), box)
			inbox.want(`"before"`)
			send(t, c, box.Address(), map[string]any{"type": "ping", "from": box.Address()}, 2)
			inbox.want(`{"from":"`+box.Address().String()+`","type":"ping"}`, "2")
		})
	}
}

func TestPrefixAndSlash(t *testing.T) {
	s := start(t, siteOptions{web: web.Options{Prefix: "/post"}})
	c := connect(t, s.URL+"/", client.Options{Prefix: "/post/"})
	box := open(t, c)
	send(t, c, box.Address(), 1)
	read(t, limit(t), box).want("1")
}

func TestFalsyBodies(t *testing.T) {
	s := start(t, siteOptions{})
	c := connect(t, s.URL, client.Options{})
	box := open(t, c)
	bodies := []any{nil, false, 0, "", []any{}, map[string]any{}, json.RawMessage(" null ")}
	send(t, c, box.Address(), bodies...)
	labelled, err := box.Address().Attenuate(address.Label("x")) // comes as an envelope
	if err != nil {
		t.Fatal(err)
	}
	send(t, c, labelled, bodies...)
	inbox := read(t, limit(t), box)
	for range 2 {
		inbox.want("null", "false", "0", `""`, "[]", "{}", "null")
	}
}

func TestSendRefused(t *testing.T) {
	s := start(t, siteOptions{server: server.Options{Limits: mailbox.Limits{Body: 100, Backlog: 1}}})
	c := connect(t, s.URL, client.Options{})
	refuser, err := s.office.Handle("refuser", server.Typed(func(context.Context, struct{ N int }, server.Message) error { return nil }))
	if err != nil {
		t.Fatal(err)
	}
	closed := open(t, c)
	if err := closed.Close(limit(t)); err != nil {
		t.Fatal(err)
	}
	full := open(t, c)
	send(t, c, full.Address(), 1)
	narrow := func(caveat address.Caveat) address.Address {
		a, err := open(t, c).Address().Attenuate(caveat)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	foreign, err := address.NewRing([]byte(strings.Repeat("x", 32)))
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := foreign.Process("stranger")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		to   address.Address
		body any
		want *problem.Kind
	}{
		{address.Address{}, 1, problem.MalformedAddress},
		{stranger, 1, problem.InvalidCapability},
		{closed.Address(), 1, problem.Closed},
		{full.Address(), 2, problem.Full},
		{open(t, c).Address(), strings.Repeat("x", 99), problem.TooLarge},
		{narrow(address.MaxBytes(1)), 10, problem.TooLarge},
		{narrow(address.Only(address.Call)), 1, problem.MissingRight},
		{narrow(address.Expires(time.Now().Add(-time.Second))), 1, problem.CapabilityExpired},
		{narrow(address.Types("a")), map[string]string{"type": "b"}, problem.TypeNotAllowed},
		{refuser, "no object", problem.Refused},
	} {
		err := c.Send(limit(t), test.to, test.body)
		var p *problem.Problem
		if !errors.As(err, &p) || p.Kind != test.want || p.Detail == "" {
			t.Errorf("Send(%v) = %v, want %v and a detail", test.body, err, test.want)
		}
	}
	if err := c.Send(limit(t), full.Address(), func() {}); err == nil {
		t.Error("a function was sent")
	}
}

// Who reads errors in a log should not be able to send.
func TestErrorsTellNoAddress(t *testing.T) {
	s := start(t, siteOptions{})
	box := open(t, connect(t, s.URL, client.Options{}))
	nowhere := connect(t, "http://"+testport.Address(t), client.Options{})
	text := box.Address().String()
	errs := map[string]error{"Send": nowhere.Send(limit(t), box.Address(), 1)}
	for _, err := range nowhere.SendMany(limit(t), slices.Values([]client.Outgoing{{To: box.Address()}})) {
		errs["SendMany"] = err
	}
	for name, err := range errs {
		if err == nil || strings.Contains(err.Error(), text[len(text)-20:]) || !strings.Contains(err.Error(), "refused") {
			t.Errorf("%s to a server that is not there = %v", name, err)
		}
	}
}

// cancelling fails some requests as net/http does when a connection was another request's, whose context ended.
type cancelling struct{ left atomic.Int32 }

func (c *cancelling) RoundTrip(r *http.Request) (*http.Response, error) {
	if c.left.Add(-1) >= 0 {
		return nil, context.Canceled
	}
	return http.DefaultTransport.RoundTrip(r)
}

// TestContextsOfOthers: no request ends for a context that is not its own.
func TestContextsOfOthers(t *testing.T) {
	s := start(t, siteOptions{})
	defer http.DefaultClient.CloseIdleConnections()
	var transport cancelling
	c := connect(t, s.URL, client.Options{HTTP: &http.Client{Transport: &transport}})
	box := open(t, c)
	transport.left.Store(1)
	if err := c.Send(limit(t), box.Address(), 1); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("Send, which can't be repeated: %v, want a broken connection", err)
	}
	transport.left.Store(3)
	wantError(t, box.Close(limit(t)), nil)
	transport.left.Store(1 << 20)
	if err := box.Close(limit(t)); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("Close, again and again: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	wantError(t, box.Close(ended), context.Canceled)
}

// TestNoRedirect holds that what is sent, and the key that is sent with it, stays where it was sent.
func TestNoRedirect(t *testing.T) {
	s := start(t, siteOptions{})
	to := open(t, connect(t, s.URL, client.Options{})).Address()
	elsewhere := httptest.NewServer(http.RedirectHandler(s.URL+"/_gb/send/"+to.String(), http.StatusTemporaryRedirect))
	defer elsewhere.Close()
	defer client.CloseShared()
	c, err := client.New(elsewhere.URL, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err = c.Send(limit(t), to, 1); err == nil || !strings.Contains(err.Error(), "307") {
		t.Errorf("a message that is sent elsewhere: %v, want 307", err)
	}
}

func TestSendEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := awkward(t, hang)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		to, err := ring(t).Process("x")
		if err != nil {
			t.Fatal(err)
		}
		wantError(t, c.Send(ctx, to, 1), context.DeadlineExceeded)
	})
}

// A call has an end although the server says nothing, or stops in the middle of the reply.
func TestCallOfASilentServer(t *testing.T) {
	half := func(r *http.Request) (*http.Response, error) {
		body, w := io.Pipe()
		context.AfterFunc(r.Context(), func() { w.CloseWithError(r.Context().Err()) })
		return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: body}, nil
	}
	for name, answer := range map[string]func(*http.Request) (*http.Response, error){"silent": hang, "half": half} {
		synctest.Test(t, func(t *testing.T) {
			c, _ := awkward(t, answer)
			to, err := ring(t).Process("x")
			if err != nil {
				t.Fatal(err)
			}
			began, took := time.Now(), [2]time.Duration{}
			wantError(t, c.Call(context.Background(), to, 1, nil), problem.CallTimeout)
			took[0] = time.Since(began)
			ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
			defer cancel()
			wantError(t, c.Call(ctx, to, 1, nil), problem.CallTimeout)
			took[1] = time.Since(began) - took[0]
			if took != [2]time.Duration{12 * time.Second, 62 * time.Second} {
				t.Errorf("%s: it took %v", name, took)
			}
		})
	}
}

func TestOpenRefused(t *testing.T) {
	s := start(t, siteOptions{web: web.Options{Open: func(*http.Request) (any, error) { return nil, errors.New("not you") }}})
	_, err := connect(t, s.URL, client.Options{}).Open(limit(t))
	wantError(t, err, problem.OpenRefused)
	if !strings.Contains(err.Error(), "not you") {
		t.Errorf("Open = %v, want the reason", err)
	}
}

// awkward is a client whose requests are answered by answers, one after the other; the last one stays.
func awkward(t *testing.T, answers ...func(*http.Request) (*http.Response, error)) (*client.Client, *int) {
	asked := new(int)
	c := connect(t, "http://server.test", client.Options{MaxPause: time.Second, HTTP: &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		*asked++
		return answers[min(*asked, len(answers))-1](r)
	})}})
	return c, asked
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answer(status int, header, body string) func(*http.Request) (*http.Response, error) {
	return func(*http.Request) (*http.Response, error) {
		h := http.Header{}
		if name, value, ok := strings.Cut(header, ": "); ok {
			h.Set(name, value)
		}
		return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body))}, nil
	}
}

func hang(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func unreachable(*http.Request) (*http.Response, error) { return nil, errors.New("unreachable") }

func TestOpenSurvivesWhatDoesNotLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := ring(t).MailboxKey([16]byte{1})
		good := answer(201, "", `{"key":"`+key.Reveal()+`","cursor":"0000000e.0"}`)
		c, asked := awkward(t, unreachable, answer(502, "", "<html>"), answer(200, "", "<html>log in"), answer(200, "", "{}"),
			answer(429, "Retry-After: 2", ""), good)
		began := time.Now()
		box, err := c.Open(t.Context())
		if err != nil || box.Key() != key || box.Cursor() != "0000000e.0" {
			t.Fatalf("Open = %v, %v", box, err)
		}
		if *asked != 6 {
			t.Errorf("asked %d times, want 6", *asked)
		}
		if took := time.Since(began); took < 2*time.Second {
			t.Errorf("it took %v, want what Retry-After says", took)
		}
	})
}

func TestOpenWaitsAsLongAsTheServerSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, asked := awkward(t, answer(503, "Retry-After: 9", ""), hang)
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
		defer cancel()
		if _, err := c.Open(ctx); err == nil || *asked != 1 || time.Since(began) != 8*time.Second {
			t.Errorf("Open = %v after %d tries", err, *asked)
		}
	})
}

func TestOpenGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, asked := awkward(t, unreachable)
		began := time.Now()
		_, err := c.Open(t.Context())
		if took := time.Since(began); took != 15*time.Second {
			t.Errorf("it took %v, want 15s", took)
		}
		if err == nil || !strings.Contains(err.Error(), "unreachable") {
			t.Errorf("Open = %v, want what went wrong", err)
		}
		if *asked < 3 || *asked > 100 {
			t.Errorf("asked %d times", *asked)
		}
	})
	synctest.Test(t, func(t *testing.T) { // a server that does not answer
		c, _ := awkward(t, answer(503, "", ""), hang)
		_, err := c.Open(t.Context())
		if p := (*problem.Problem)(nil); !errors.As(err, &p) || p.Kind.Status != 503 {
			t.Errorf("Open = %v, want the last answer", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		c, _ := awkward(t, unreachable)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		_, err := c.Open(ctx)
		wantError(t, err, context.DeadlineExceeded)
		if took := time.Since(began); took != 3*time.Second || !strings.Contains(err.Error(), "unreachable") {
			t.Errorf("Open = %v after %v", err, took)
		}
	})
}

func TestOpenAsksOnceWhereThatIsEnough(t *testing.T) {
	c, asked := awkward(t, answer(403, "", `{"type":"urn:gen-browser:origin-not-allowed"}`))
	_, err := c.Open(limit(t))
	wantError(t, err, problem.OriginNotAllowed)
	if *asked != 1 {
		t.Errorf("asked %d times", *asked)
	}
}
