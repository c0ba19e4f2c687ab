package client_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/client"
	"github.com/genbrowser/genbrowser/server"
	"github.com/genbrowser/genbrowser/web"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// site is a real server on a port of its own.
type site struct {
	*httptest.Server
	office *server.Server
	gb     *web.Handler
}

type siteOptions struct {
	server server.Options
	web    web.Options
	http2  bool
}

// start runs a server until the test ends.
func start(t testing.TB, o siteOptions) *site {
	t.Helper()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	o.server.Keys, o.server.Logger = ring(t), quiet
	office, err := server.New(o.server)
	if err != nil {
		t.Fatal(err)
	}
	o.web.Server, o.web.Logger = office, quiet
	gb, err := web.New(o.web)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{httptest.NewUnstartedServer(gb), office, gb}
	if s.EnableHTTP2 = o.http2; o.http2 {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(func() {
		s.shutDown(t)
		s.Close()
	})
	return s
}

func (s *site) shutDown(t testing.TB) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.gb.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown = %v", err)
	}
}

func ring(t testing.TB) *address.Ring {
	t.Helper()
	secret := sha256.Sum256([]byte(t.Name()))
	r, err := address.NewRing(secret[:])
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// connect returns a client with connections of its own.
func connect(t testing.TB, endpoint string, o client.Options) *client.Client {
	t.Helper()
	if o.HTTP == nil {
		transport := &http.Transport{}
		t.Cleanup(transport.CloseIdleConnections)
		o.HTTP = &http.Client{Transport: transport}
	}
	c, err := client.New(endpoint, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// limit is a context that ends a test that hangs.
func limit(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func open(t testing.TB, c *client.Client) *client.Mailbox {
	t.Helper()
	box, err := c.Open(limit(t))
	if err != nil {
		t.Fatalf("Open = %v", err)
	}
	return box
}

func send(t testing.TB, c *client.Client, to address.Address, bodies ...any) {
	t.Helper()
	for _, body := range bodies {
		if err := c.Send(limit(t), to, body); err != nil {
			t.Fatalf("Send(%v) = %v", body, err)
		}
	}
}

// inbox reads a mailbox message by message, in one loop that ends with the test.
type inbox struct {
	t    testing.TB
	next func() (client.Message, error, bool)
}

func read(t testing.TB, ctx context.Context, box *client.Mailbox) *inbox {
	next, stop := iter.Pull2(box.Messages(ctx))
	t.Cleanup(stop)
	return &inbox{t, next}
}

// want expects messages with these bodies, as JSON.
func (i *inbox) want(bodies ...string) {
	i.t.Helper()
	for _, want := range bodies {
		m, err, ok := i.next()
		if err != nil || !ok {
			i.t.Fatalf("got %v, %v, want %s", err, ok, want)
		}
		if got := string(m.Body); got != want {
			i.t.Fatalf("got %s, want %s", got, want)
		}
	}
}

func (i *inbox) wantGap(missing uint64) {
	i.t.Helper()
	m, err, ok := i.next()
	var gap *client.GapError
	if !ok || !errors.As(err, &gap) || gap.Missing != missing {
		i.t.Fatalf("got %s, %v, %v, want a gap of %d", m.Body, err, ok, missing)
	}
}

// wantEnd expects that error, or none if it is nil, and then no more.
func (i *inbox) wantEnd(want error) {
	i.t.Helper()
	m, err, ok := i.next()
	if ok != (want != nil) || !errors.Is(err, want) {
		i.t.Fatalf("got %s, %v, %v, want the end with %v", m.Body, err, ok, want)
	}
	if m, err, ok := i.next(); ok {
		i.t.Fatalf("after the end came %s, %v", m.Body, err)
	}
}

func wantError(t testing.TB, got, want error) {
	t.Helper()
	if !errors.Is(got, want) || (want == nil) != (got == nil) {
		t.Errorf("got error %v, want %v", got, want)
	}
}

func marshal(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
