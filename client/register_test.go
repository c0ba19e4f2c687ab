package client_test

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/client"
	"github.com/genbrowser/genbrowser/web"
	"github.com/genbrowser/genbrowser/web/problem"
)

// underShop lets clients have the names that begin with shop/.
var underShop = web.Options{Register: func(_ *http.Request, name string) bool { return strings.HasPrefix(name, "shop/") }}

func wantName(t testing.TB, p *client.Peer, name string, want address.Address) {
	t.Helper()
	got, err := p.Whereis(limit(t), name)
	if want.IsZero() {
		wantProblem(t, err, problem.NotExported, name)
	} else if err != nil || got != want {
		t.Errorf("Whereis(%q) = %q, %v, want %q", name, got, err, want)
	}
}

func TestRegister(t *testing.T) {
	s := start(t, siteOptions{web: underShop})
	a, b := dial(t, s.URL, client.DialOptions{}), dial(t, s.URL, client.DialOptions{})
	serve(t, a, service{})
	wantError(t, a.Register(limit(t), "shop/a:1@x"), nil)
	wantName(t, b, "shop/a:1@x", a.Address())
	to, err := b.Whereis(limit(t), "shop/a:1@x")
	if err != nil {
		t.Fatal(err)
	}
	wantCall(t, b, to, 1, "1")
	wantProblem(t, b.Register(limit(t), "shop/a:1@x"), problem.NameTaken, "shop/a:1@x")
	wantProblem(t, a.Register(limit(t), "till"), problem.NameNotAllowed, "till")
	wantProblem(t, a.Register(limit(t), "shop/b", b.Address()), problem.MissingRight, "key")
	for _, name := range []string{"", "shop/a b", "shop/a?b"} {
		var p *problem.Problem
		if err := a.Register(limit(t), name); err == nil || errors.As(err, &p) {
			t.Errorf("Register(%q) = %v", name, err)
		}
	}

	callOnly, err := a.Address().Attenuate(address.Only(address.Call))
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, a.Register(limit(t), "shop/a:1@x", callOnly), nil)
	wantName(t, b, "shop/a:1@x", callOnly)
	wantProblem(t, b.Send(limit(t), callOnly, 1), problem.MissingRight, "send")

	wantError(t, b.Unregister(limit(t), "shop/a:1@x"), nil) // is not b's
	wantName(t, b, "shop/a:1@x", callOnly)
	wantError(t, a.Unregister(limit(t), "shop/a:1@x"), nil)
	wantName(t, b, "shop/a:1@x", address.Address{})

	wantError(t, a.Register(limit(t), "shop/a"), nil)
	wantError(t, a.Close(limit(t)), nil)
	wantName(t, b, "shop/a", address.Address{})
	wantError(t, a.Register(limit(t), "shop/a"), problem.Closed)
	wantError(t, a.Unregister(limit(t), "shop/a"), problem.Closed)
}

// By default no client has a name.
func TestRegisterIsClosed(t *testing.T) {
	s := start(t, siteOptions{})
	a := dial(t, s.URL, client.DialOptions{})
	wantProblem(t, a.Register(limit(t), "shop/a"), problem.NameNotAllowed, "shop/a")
	wantName(t, a, "shop/a", address.Address{})
}

// A server that forgot the names is told again; a name that somebody else has by then is lost.
func TestNamesHeal(t *testing.T) {
	dir := t.TempDir()
	s := durable(t, dir, underShop)
	p := newProxy(t, s.Listener.Addr().String())
	var log lines
	o := client.DialOptions{Options: client.Options{MaxPause: 100 * time.Millisecond}, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	a := dial(t, p.url(), o)
	wantError(t, a.Register(limit(t), "shop/kept"), nil)
	wantError(t, a.Register(limit(t), "shop/lost"), nil)
	wantError(t, a.Register(limit(t), "shop/back"), nil)
	wantError(t, a.Unregister(limit(t), "shop/back"), nil)
	s.stop(t)
	s = durable(t, dir, underShop)
	other, err := s.office.Open(nil)
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, s.office.Register("shop/lost", other.Address), nil)
	p.to(s.Listener.Addr().String())
	until(t, func() bool {
		to, ok := s.office.Whereis("shop/kept")
		return ok && to == a.Address()
	})
	until(t, func() bool { return log.have("shop/lost") })
	if to, _ := s.office.Whereis("shop/lost"); to != other.Address {
		t.Errorf("the name that somebody else has is %q's", to)
	}
	if to, ok := s.office.Whereis("shop/back"); ok {
		t.Errorf("the name that was taken back is %q's", to)
	}
	a.Close(limit(t))
	s.stop(t)
}

// What somebody says in the server's place takes no name away.
func TestNamesOutliveStrangers(t *testing.T) {
	s := start(t, siteOptions{web: underShop})
	var puts atomic.Int32
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && puts.Add(1) == 2 {
			http.NotFound(w, r)
			return
		}
		s.gb.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	changes, onStatus := statuses()
	a := dial(t, front.URL, client.DialOptions{OnStatus: onStatus, Options: client.Options{MaxPause: 10 * time.Millisecond}})
	await(t, changes, client.Open)
	wantError(t, a.Register(limit(t), "shop/a"), nil)
	key, err := address.Inspect(a.Key().Reveal())
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, s.office.Disconnect(key.Mailbox, time.Millisecond), nil)
	until(t, func() bool { return puts.Load() == 3 })
	wantName(t, a, "shop/a", a.Address())
}

// lines is a log's text.
type lines struct{ text atomic.Pointer[string] }

func (l *lines) Write(b []byte) (int, error) {
	text := string(b)
	if before := l.text.Load(); before != nil {
		text = *before + text
	}
	l.text.Store(&text)
	return len(b), nil
}

func (l *lines) have(part string) bool {
	text := l.text.Load()
	return text != nil && strings.Contains(*text, part)
}

// A name leads to no other route, although a proxy on the way resolves paths.
func TestNamesThatAreWays(t *testing.T) {
	s := start(t, siteOptions{web: underShop})
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.URL.Path = path.Clean(r.URL.Path)
		s.gb.ServeHTTP(w, r)
	}))
	t.Cleanup(proxy.Close)
	p := dial(t, proxy.URL, client.DialOptions{})
	for _, name := range []string{"../mailbox", "shop/../../mailbox", "shop/..", "..", ".", "./shop", "shop/./a"} {
		_, err := p.Whereis(limit(t), name)
		for doing, err := range map[string]error{"Whereis": err, "Register": p.Register(limit(t), name), "Unregister": p.Unregister(limit(t), name)} {
			if err == nil || !strings.Contains(err.Error(), "between slashes") {
				t.Errorf("%s(%q) = %v", doing, name, err)
			}
		}
	}
	for _, name := range []string{"shop/...", "shop/..a", "shop/.a/b.."} {
		wantError(t, p.Register(limit(t), name), nil)
		wantName(t, p, name, p.Address())
		wantError(t, p.Unregister(limit(t), name), nil)
	}
	wantError(t, p.Send(limit(t), p.Address(), 1), nil)
}
