package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/client"
	"github.com/genbrowser/genbrowser/web"
	"github.com/genbrowser/genbrowser/web/problem"
)

// dial returns a peer that is closed when the test ends.
func dial(t testing.TB, endpoint string, o client.DialOptions) *client.Peer {
	t.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	p, err := client.Dial(limit(t), endpoint, o)
	if err != nil {
		t.Fatalf("Dial = %v", err)
	}
	t.Cleanup(func() { p.Close(limit(t)) })
	return p
}

// service is a [client.Service] of two functions; one that is nil answers, or takes, anything.
type service struct {
	call func(ctx context.Context, m client.Message) (any, error)
	cast func(ctx context.Context, m client.Message) error
}

func (s service) Call(ctx context.Context, m client.Message) (any, error) {
	if s.call == nil {
		return m.Body, nil
	}
	return s.call(ctx, m)
}

func (s service) Cast(ctx context.Context, m client.Message) error {
	if s.cast == nil {
		return nil
	}
	return s.cast(ctx, m)
}

// serve has a peer serve until the test ends, and returns what Serve returned then or before.
func serve(t testing.TB, p *client.Peer, s client.Service) <-chan error {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	var wait sync.WaitGroup
	wait.Go(func() { ended <- p.Serve(ctx, s) })
	t.Cleanup(func() { cancel(); wait.Wait() })
	return ended
}

// statuses tells of each status that a peer gets.
func statuses() (chan client.Status, func(client.Status)) {
	c := make(chan client.Status, 1000)
	return c, func(s client.Status) { c <- s }
}

func await[T comparable](t testing.TB, c <-chan T, want T) {
	t.Helper()
	for ctx := limit(t); ; {
		select {
		case got := <-c:
			if got == want {
				return
			}
		case <-ctx.Done():
			t.Fatalf("no %v came", want)
		}
	}
}

func call(t testing.TB, p *client.Peer, to address.Address, body any) (string, error) {
	t.Helper()
	var result json.RawMessage
	err := p.Call(limit(t), to, body, &result)
	return string(result), err
}

func wantCall(t testing.TB, p *client.Peer, to address.Address, body any, want string) {
	t.Helper()
	if got, err := call(t, p, to, body); got != want || err != nil {
		t.Errorf("Call(%v) = %s, %v, want %s", body, got, err, want)
	}
}

// wantProblem expects a problem of that kind, and that its text has detail in it.
func wantProblem(t testing.TB, err error, kind *problem.Kind, detail string) {
	t.Helper()
	var p *problem.Problem
	if !errors.As(err, &p) || p.Kind != kind || !strings.Contains(err.Error(), detail) {
		t.Errorf("got %v, want %s with %q", err, kind.Code, detail)
	}
}

func receive(t testing.TB, p *client.Peer) client.Message {
	t.Helper()
	m, err := p.Receive(limit(t))
	if err != nil {
		t.Fatalf("Receive = %v", err)
	}
	return m
}

func TestCastsKeepTheirOrder(t *testing.T) {
	s := start(t, siteOptions{})
	a, b := dial(t, s.URL, client.DialOptions{}), dial(t, s.URL, client.DialOptions{})
	got := make(chan string, 100)
	serve(t, b, service{
		cast: func(_ context.Context, m client.Message) error {
			got <- string(m.Body)
			if string(m.Body) == "1" {
				panic("one cast's fault")
			}
			return errors.New("is logged")
		},
		call: func(context.Context, client.Message) (any, error) { return len(got), nil },
	})
	proxy := a.Proxy(b.Address())
	for n := range 100 {
		if err := proxy.Cast(limit(t), n); err != nil {
			t.Fatal(err)
		}
	}
	var handled int
	if err := proxy.Call(limit(t), nil, &handled); err != nil || handled != 100 {
		t.Errorf("the call after 100 casts finds %d handled, %v", handled, err)
	}
	for n := range 100 {
		if m := <-got; m != fmt.Sprint(n) {
			t.Fatalf("cast %d is %s", n, m)
		}
	}
	if proxy.Address() != b.Address() {
		t.Error("a proxy has another address")
	}
}

func TestDialRefuses(t *testing.T) {
	s := start(t, siteOptions{})
	for _, o := range []client.DialOptions{{CallTimeout: -1}, {Queue: -1}, {QueueBytes: -1}, {Calls: -1}, {Options: client.Options{MaxPause: -1}}} {
		if _, err := client.Dial(limit(t), s.URL, o); err == nil {
			t.Errorf("Dial with %+v", o)
		}
	}
	if _, err := client.Dial(limit(t), s.URL, client.DialOptions{Options: client.Options{Prefix: "/elsewhere"}}); !errors.Is(err, problem.NotFound) {
		t.Errorf("Dial elsewhere = %v", err)
	}
}

func TestCloseEndsEverything(t *testing.T) {
	s := start(t, siteOptions{})
	changes, onStatus := statuses()
	a, b := dial(t, s.URL, client.DialOptions{OnStatus: onStatus}), dial(t, s.URL, client.DialOptions{})
	await(t, changes, client.Open)
	m, err := a.Monitor(limit(t), b.Address())
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 2)
	go func() { ended <- a.Call(limit(t), b.Address(), 1, nil) }()
	receive(t, b)
	go func() {
		_, err := m.Wait(limit(t))
		ended <- err
	}()
	served := serve(t, a, service{})
	if err := a.Close(limit(t)); err != nil {
		t.Fatalf("Close = %v", err)
	}
	for range 2 {
		wantProblem(t, <-ended, problem.Closed, "by its own program")
	}
	wantError(t, <-served, nil)
	await(t, changes, client.Closed)
	if _, ok := <-m.C(); ok {
		t.Error("a Down came of what lives")
	}
	for what, do := range map[string]func() error{
		"send":    func() error { return a.Send(limit(t), b.Address(), 1) },
		"call":    func() error { return a.Call(limit(t), b.Address(), 1, nil) },
		"link":    func() error { return a.Link(limit(t), b.Address()) },
		"exit":    func() error { return a.Exit(limit(t), b.Address(), "") },
		"monitor": func() error { _, err := a.Monitor(limit(t), b.Address()); return err },
		"receive": func() error { _, err := a.Receive(limit(t)); return err },
	} {
		t.Run(what, func(t *testing.T) { wantProblem(t, do(), problem.Closed, "by its own program") })
	}
	for range a.Messages(limit(t)) {
		t.Error("a closed peer yields something")
	}
	wantError(t, a.Close(limit(t)), nil)
	wantError(t, b.Send(limit(t), a.Address(), 1), problem.Closed)
	if a.Status() != client.Closed || a.Status().String() != "closed" {
		t.Errorf("status is %v", a.Status())
	}
}

// The peer's own mailbox ends.
func TestPeerWhoseMailboxEnds(t *testing.T) {
	s := start(t, siteOptions{})
	a, b := dial(t, s.URL, client.DialOptions{}), dial(t, s.URL, client.DialOptions{})
	waits := make(chan error, 1)
	go func() { waits <- a.Call(limit(t), b.Address(), 1, nil) }()
	receive(t, b)
	served := serve(t, a, service{})
	req, err := http.NewRequest(http.MethodDelete, s.URL+"/_gb/mailbox", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+a.Key().Reveal())
	resp, err := s.Client().Do(req)
	if err != nil || resp.StatusCode != http.StatusNoContent {
		t.Fatal(resp, err)
	}
	<-a.Done()
	wantError(t, a.Err(), problem.Closed)
	wantError(t, <-waits, problem.Closed)
	wantError(t, <-served, problem.Closed)
	wantError(t, a.Send(limit(t), b.Address(), 1), problem.Closed)
	wantError(t, a.Close(limit(t)), nil)
}

// A peer's connections are its own, and gone when it is closed.
func TestPeerByOtherWays(t *testing.T) {
	s := start(t, siteOptions{})
	path := filepath.Join(t.TempDir(), "gb.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	unix := &http.Server{Handler: s.gb}
	var wait sync.WaitGroup
	wait.Go(func() { unix.Serve(l) })
	t.Cleanup(func() { unix.Close(); wait.Wait() })
	b := dial(t, s.URL, client.DialOptions{})
	serve(t, b, service{})
	wantCall(t, b, b.Address(), 1, "1") // now all of its own runs
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	for name, do := range map[string]func() (*client.Peer, error){
		"unix": func() (*client.Peer, error) {
			return client.Dial(limit(t), "unix://"+path, client.DialOptions{})
		},
		"discovered": func() (*client.Peer, error) {
			return client.Dial(limit(t), s.URL, client.DialOptions{Options: client.Options{AllowPlain: loopback}})
		},
		"a client's": func() (*client.Peer, error) {
			return connect(t, s.URL, client.Options{}).Peer(limit(t), client.DialOptions{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			a, err := do()
			if err != nil {
				t.Fatal(err)
			}
			wantCall(t, a, b.Address(), 1, "1")
			wantError(t, a.Close(limit(t)), nil)
			if name != "a client's" {
				goleak.VerifyNone(t, before)
			}
		})
	}
}

// TestName holds that a peer connects to the server that has the name it wants, and to no other.
func TestName(t *testing.T) {
	s := start(t, siteOptions{web: web.Options{Name: "shop"}})
	for name, want := range map[string]error{"": nil, "shop": nil, "Shop": client.ErrOtherServer, "bank": client.ErrOtherServer} {
		p, err := client.Dial(limit(t), s.URL, client.DialOptions{Options: client.Options{Name: name}})
		if !errors.Is(err, want) {
			t.Errorf("Dial to shop, wanting %q: %v, want %v", name, err, want)
		}
		if err == nil {
			wantError(t, p.Close(limit(t)), nil)
		} else if !strings.Contains(err.Error(), `"shop"`) || !strings.Contains(err.Error(), name) {
			t.Errorf("the refusal is %v", err)
		}
		if _, err := client.Discover(limit(t), s.URL, client.Options{Name: name, AllowPlain: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}); !errors.Is(err, want) {
			t.Errorf("Discover of shop, wanting %q: %v, want %v", name, err, want)
		}
	}
}

// TestDisconnected holds that a peer whose stream an operator ends comes back when it is told to, and else ends.
func TestDisconnected(t *testing.T) {
	s := start(t, siteOptions{})
	changes, onStatus := statuses()
	p := dial(t, s.URL, client.DialOptions{OnStatus: onStatus})
	await(t, changes, client.Open)
	key, err := address.Inspect(p.Key().Reveal())
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, s.office.Disconnect(key.Mailbox, time.Millisecond), nil)
	await(t, changes, client.Reconnecting)
	await(t, changes, client.Open)
	wantError(t, s.office.Disconnect(key.Mailbox, 0), nil)
	await(t, changes, client.Closed)
	wantError(t, p.Err(), problem.Disconnected)
}
