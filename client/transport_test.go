package client_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/client"
	"github.com/genbrowser/genbrowser/internal/machine"
	"github.com/genbrowser/genbrowser/web"
	"github.com/genbrowser/genbrowser/web/problem"
)

// listing starts a server that lists these, and a client's Options for it.
func listing(t *testing.T, listeners ...web.Listener) (*site, client.Options) {
	t.Helper()
	s := start(t, siteOptions{web: web.Options{Listeners: func(*http.Request) []web.Listener { return listeners }}})
	return s, client.Options{OpenWithin: 10 * time.Second}
}

func TestConnect(t *testing.T) {
	secure := start(t, siteOptions{http2: true, web: web.Options{Prefix: "/post"}})
	plain, o := listing(t, web.Listener{Transport: "tls", URL: secure.URL, Machine: machine.ID()}, web.Listener{Transport: "tsl", URL: "tsl://x"})
	if machine.ID() == "" {
		t.Skip("this machine has no ID")
	}
	o.TLS = secure.Client().Transport.(*http.Transport).TLSClientConfig

	offers, err := client.Discover(limit(t), plain.URL, o)
	if want := []client.Offer{{Transport: "tcp", URL: plain.URL}, {Transport: "tls", URL: secure.URL, SameMachine: true}}; err != nil || !slices.Equal(offers, want) {
		t.Errorf("Discover = %v, %v, want %v", offers, err, want)
	}
	for name, tt := range map[string]struct {
		endpoint string
		o        client.Options
		at       *site
	}{
		"TLS is chosen":       {plain.URL, client.Options{TLS: o.TLS, Prefix: "/post"}, secure},
		"TLS itself":          {secure.URL, o, secure}, // whose prefix is not the usual one
		"plain, as it is all": {plain.URL, client.Options{Select: only("tcp")}, plain},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := client.Connect(limit(t), tt.endpoint, tt.o)
			if err != nil {
				t.Fatal(err)
			}
			defer c.CloseIdleConnections()
			box := open(t, c)
			if at := tt.at.office.Stats().Mailboxes; at != 1 {
				t.Errorf("%d mailboxes there", at)
			}
			send(t, c, box.Address(), 1)
			read(t, limit(t), box).want("1")
			if err := box.Close(limit(t)); err != nil {
				t.Error(err)
			}
		})
	}
	secure.Client().CloseIdleConnections()
	client.CloseShared()
}

// only selects the first offer of a transport.
func only(transport string) func([]client.Offer) (client.Offer, error) {
	return func(offers []client.Offer) (client.Offer, error) {
		for _, o := range offers {
			if o.Transport == transport {
				return o, nil
			}
		}
		return client.Offer{}, nil
	}
}

// TestSelectorsThatFail: what a selector says is taken only if it is an offer, as it was made.
func TestSelectorsThatFail(t *testing.T) {
	s, o := listing(t)
	defer client.CloseShared()
	broken := errors.New("broken")
	for name, change := range map[string]func(*client.Offer) error{
		"zero":             func(o *client.Offer) error { *o = client.Offer{}; return nil },
		"misspelt":         func(o *client.Offer) error { o.Transport = "tpc"; return nil },
		"in capitals":      func(o *client.Offer) error { o.Transport = "TCP"; return nil },
		"another":          func(o *client.Offer) error { o.Transport = "tls"; return nil },
		"none":             func(o *client.Offer) error { o.Transport = ""; return nil },
		"another URL":      func(o *client.Offer) error { o.URL += "/"; return nil },
		"another server":   func(o *client.Offer) error { o.URL = "http://127.0.0.1:1"; return nil },
		"no URL":           func(o *client.Offer) error { o.URL = ""; return nil },
		"another machine":  func(o *client.Offer) error { o.SameMachine = !o.SameMachine; return nil },
		"error":            func(o *client.Offer) error { return broken },
		"error and a zero": func(o *client.Offer) error { *o = client.Offer{}; return broken },
	} {
		o.Select = func(offers []client.Offer) (client.Offer, error) {
			err := change(&offers[0]) // which changes what it was given as well
			return offers[0], err
		}
		c, err := client.Connect(limit(t), s.URL, o)
		if c != nil || !errors.Is(err, client.ErrNoTransport) {
			t.Errorf("%s: %v, %v", name, c, err)
		}
		if strings.HasPrefix(name, "error") && !errors.Is(err, broken) {
			t.Errorf("%s: the error is %v", name, err)
		}
	}
	o.Select = only("tcp")
	if _, err := client.Connect(limit(t), s.URL, o); err != nil {
		t.Fatal("the test is void: ", err)
	}
	if n := s.office.Stats().Mailboxes; n != 0 {
		t.Errorf("%d mailboxes were opened", n)
	}
}

func TestDefaultSelect(t *testing.T) {
	unix, far := client.Offer{Transport: "unix", URL: "unix:///s", SameMachine: true}, client.Offer{Transport: "unix", URL: "unix:///s"}
	secure, mutual := client.Offer{Transport: "tls", URL: "https://a"}, client.Offer{Transport: "mtls", URL: "https://b"}
	plain, wrong := client.Offer{Transport: "tcp", URL: "http://a"}, client.Offer{Transport: "TLS", URL: "https://c"}
	for _, tt := range []struct {
		offers []client.Offer
		want   client.Offer
	}{
		{[]client.Offer{plain, mutual, secure, unix}, unix},
		{[]client.Offer{plain, mutual, secure, far}, mutual},
		{[]client.Offer{plain, wrong, secure, mutual}, secure},
		{[]client.Offer{wrong, far, plain}, plain},
		{[]client.Offer{wrong, far}, client.Offer{}},
		{nil, client.Offer{}},
	} {
		got, err := client.DefaultSelect(tt.offers)
		if got != tt.want || (err == nil) != (tt.want != client.Offer{}) {
			t.Errorf("DefaultSelect(%v) = %v, %v, want %v", tt.offers, got, err, tt.want)
		}
	}
}

// TestNoTransport: nothing that may be used.
func TestNoTransport(t *testing.T) {
	s, _ := listing(t, web.Listener{Transport: "tcp", URL: "http://192.0.2.1"})
	dialer := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", s.Listener.Addr().String())
	}}
	defer dialer.CloseIdleConnections()
	o := client.Options{HTTP: &http.Client{Transport: dialer}}
	_, err := client.Connect(limit(t), "http://192.0.2.1", o)
	if !errors.Is(err, client.ErrNoTransport) || !strings.Contains(err.Error(), "AllowPlain") {
		t.Errorf("plain TCP that is not allowed: %v", err)
	}
	o.AllowPlain = []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}
	c, err := client.Connect(limit(t), "http://192.0.2.1", o)
	if err != nil {
		t.Fatal(err)
	}
	open(t, c)
}

func TestDiscoverFails(t *testing.T) {
	var answer atomic.Value
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch text := answer.Load().(string); text {
		case "redirect":
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		case "404":
			http.NotFound(w, r)
		default:
			if r.URL.Path == "/.well-known/gen-browser" || r.URL.Path == "/elsewhere" {
				fmt.Fprint(w, text)
			}
		}
	}))
	defer s.Close()
	defer client.CloseShared()
	const good = `{"protocol":1,"prefix":"/_gb"}`
	for text, word := range map[string]string{
		"": "not what a GenBrowser server says", "[]": "not what", `{}`: "protocol 0", `{"protocol":2,"prefix":"/_gb"}`: "protocol 2",
		`{"protocol":1}`: "prefix", `{"protocol":1,"prefix":"_gb"}`: "prefix", `{"protocol":1,"prefix":"/a?b"}`: "prefix",
		`{"protocol":1,"prefix":"/_gb","listeners":{}}`: "not what", "404": "404", "redirect": "307",
		good + strings.Repeat(" ", 64<<10) + "x": "", good: "",
	} {
		answer.Store(text)
		c, err := client.Connect(limit(t), s.URL, client.Options{})
		if (err == nil) != (word == "") || err != nil && !strings.Contains(err.Error(), word) {
			t.Errorf("the server says %.50q: %v, %v, want %q", text, c, err, word)
		}
	}
	s.Close()
	if _, err := client.Connect(limit(t), s.URL, client.Options{}); err == nil || strings.Contains(err.Error(), "gen-browser\"") {
		t.Errorf("with no server: %v", err)
	}
	for _, endpoint := range []string{"", "gb.example", "tls://gb.example", "unix://s"} {
		if _, err := client.Discover(limit(t), endpoint, client.Options{}); err == nil {
			t.Errorf("Discover(%q) works", endpoint)
		}
	}
	for _, o := range []client.Options{{OpenWithin: -1}, {HTTP: &http.Client{Timeout: 1}}, {HTTP: &http.Client{}, TLS: &tls.Config{}}} {
		if _, err := client.Discover(limit(t), "https://gb.example", o); err == nil {
			t.Errorf("Discover with %+v works", o)
		}
	}
}

// TestDialToAServerThatIsNotThereYet: what is asked before the mailbox is opened is asked until there is an answer.
func TestDialToAServerThatIsNotThereYet(t *testing.T) {
	s := start(t, siteOptions{web: web.Options{Name: "shop"}})
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	quick := client.Options{MaxPause: 10 * time.Millisecond}
	for name, tt := range map[string]struct {
		change func(o *client.Options)
		first  *problem.Kind // of the first two answers; nil: the connection ends
		asked  int32
		want   error
	}{
		"Name":         {func(o *client.Options) { o.Name = "shop" }, nil, 3, nil},
		"Select":       {func(o *client.Options) { o.Select = client.DefaultSelect }, problem.ShuttingDown, 3, nil},
		"AllowPlain":   {func(o *client.Options) { o.AllowPlain = loopback }, problem.Unavailable, 3, nil},
		"another name": {func(o *client.Options) { o.Name = "bank" }, nil, 3, client.ErrOtherServer},
		"for good":     {func(o *client.Options) { o.Name = "shop" }, problem.OpenRefused, 1, problem.OpenRefused},
		"no choice":    {func(o *client.Options) { o.Select = only("unix") }, problem.ShuttingDown, 3, client.ErrNoTransport},
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int32
			front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.URL.Path != "/.well-known/gen-browser" || asked.Add(1) > 2:
					s.gb.ServeHTTP(w, r)
				case tt.first == nil:
					panic(http.ErrAbortHandler)
				default:
					w.WriteHeader(tt.first.Status)
					fmt.Fprintf(w, `{"type":%q}`, tt.first.Type())
				}
			}))
			t.Cleanup(front.Close)
			o := quick
			tt.change(&o)
			p, err := client.Dial(limit(t), front.URL, client.DialOptions{Options: o})
			wantError(t, err, tt.want)
			if err == nil {
				t.Cleanup(func() { p.Close(limit(t)) })
			}
			if n := asked.Load(); n != tt.asked {
				t.Errorf("it asked %d times, want %d", n, tt.asked)
			}
		})
	}
}

// TestRedirectsAreNotFollowed: what would carry a key elsewhere, or from TLS to plain TCP.
func TestRedirectsAreNotFollowed(t *testing.T) {
	var reached atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer other.Close()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/.well-known/gen-browser" {
			fmt.Fprint(w, `{"protocol":1,"prefix":"/_gb"}`)
			return
		}
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
	}))
	defer s.Close()
	trust := s.Client().Transport.(*http.Transport).TLSClientConfig
	for name, o := range map[string]client.Options{"TLS": {TLS: trust}, "HTTP": {HTTP: s.Client()}} {
		c, err := client.Connect(limit(t), s.URL, o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Open(limit(t)); err == nil || reached.Load() != 0 {
			t.Errorf("%s: Open = %v, and %d requests went elsewhere", name, err, reached.Load())
		}
		c.CloseIdleConnections()
	}
}

func TestUnixEndpoint(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Skip(err)
	}
	s := start(t, siteOptions{})
	srv := &http.Server{Handler: s.gb}
	go srv.Serve(l)
	defer srv.Close()
	endpoint := "unix://" + strings.ReplaceAll(path, " ", "%20")
	made, err := client.New(endpoint, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	connected, err := client.Connect(limit(t), endpoint, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*client.Client{made, connected} {
		box := open(t, c)
		send(t, c, box.Address(), 1)
		read(t, limit(t), box).want("1")
		defer c.CloseIdleConnections()
	}
	for _, tt := range []struct {
		endpoint string
		o        client.Options
	}{
		{endpoint, client.Options{HTTP: &http.Client{}}},
		{"https://gb.example", client.Options{HTTP: &http.Client{}, TLS: &tls.Config{}}},
		{"http://gb.example", client.Options{TLS: &tls.Config{}}},
	} {
		if _, err := client.New(tt.endpoint, tt.o); err == nil {
			t.Errorf("New(%q, %+v) gives a client", tt.endpoint, tt.o)
		}
	}
}

// TestDeadConnectionOverTLS: with HTTP/2 all requests share a connection. One that died is given up, though it was not closed.
func TestDeadConnectionOverTLS(t *testing.T) {
	client.Ping(t, 200*time.Millisecond)
	s := start(t, siteOptions{http2: true, web: web.Options{Heartbeat: 40 * time.Millisecond}})
	p := newProxy(t, s.Listener.Addr().String())
	o := client.Options{TLS: s.Client().Transport.(*http.Transport).TLSClientConfig, MaxPause: 20 * time.Millisecond}
	a := dial(t, "https://"+p.Addr().String(), client.DialOptions{Options: o})
	wantError(t, a.Send(limit(t), a.Address(), "before"), nil)
	receive(t, a)
	p.set(func() { p.mute = true })
	<-p.swallow
	p.set(func() { p.mute = false })
	wantError(t, a.Send(limit(t), a.Address(), "after"), nil)
	if got := receive(t, a); string(got.Body) != `"after"` {
		t.Errorf("it reads %s", got.Body)
	}
}
