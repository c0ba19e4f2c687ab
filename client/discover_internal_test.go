package client

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/internal/machine"
)

// socket is a unix socket that answers until the test ends.
func socket(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { l.Close() })
	return "unix://" + path
}

// looked returns what becomes of what a server lists.
func looked(t *testing.T, text string, o Options, listings ...listing) *discovery {
	t.Helper()
	e, err := parseEndpoint(text)
	if err != nil {
		t.Fatal(err)
	}
	d := &discovery{options: &o, endpoint: e}
	d.trusted = d.isProven(t.Context())
	d.look(t.Context(), text, slices.Clone(listings))
	return d
}

// TestEveryCombination compares, for all that a server may list, a client support and a caller allow, what is offered and
// chosen with what should be.
func TestEveryCombination(t *testing.T) {
	if machine.ID() == "" {
		t.Skip("this machine has no ID")
	}
	const plain, secure = "http://192.0.2.1:80", "https://192.0.2.1"
	all := []listing{
		{"unix", socket(t), machine.ID()},
		{"unix", "unix:///elsewhere", "AAAAAAAAAAAAAAAAAAAAAA"},
		{"tls", "https://192.0.2.1:8443", ""},
		{"tls", "https://192.0.2.2:8443", ""},
		{"mtls", "https://192.0.2.1:8444", ""},
		{"tcp", "http://192.0.2.1:81", ""},
		{"tcp", "http://192.0.2.2:80", ""},
		{"tsl", "https://192.0.2.1:8445", ""},
		{"TLS", "https://192.0.2.1:8446", ""},
	}
	for listed := range 1 << len(all) {
		var some []listing
		for i, l := range all {
			if listed>>i&1 == 1 {
				some = append(some, l)
			}
		}
		for how := range 3 * 8 {
			endpoint := []string{secure, plain, "http://127.0.0.1:80"}[how/8]
			ownHTTP, certificate, allowed := how&1 == 1, how&2 == 2, how&4 == 4
			var o Options
			config := &tls.Config{}
			if certificate {
				config.Certificates = make([]tls.Certificate, 1)
			}
			if o.TLS = config; ownHTTP {
				o.TLS, o.HTTP = nil, &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
			}
			if allowed {
				o.AllowPlain = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
			}
			want, unix := shouldBe(some, endpoint, ownHTTP, certificate, allowed)
			d := looked(t, endpoint, o, some...)
			var got []string
			for _, offer := range d.offers {
				got = append(got, offer.URL)
				if offer.SameMachine != (offer.Transport == "unix") {
					t.Fatalf("%+v", offer)
				}
			}
			if !slices.Equal(got, want) {
				t.Fatalf("%v at %s, own HTTP %v, certificate %v, plain allowed %v: offers %q, want %q", some, endpoint, ownHTTP, certificate, allowed, got, want)
			}
			if len(got) == 0 {
				continue
			}
			chosen, err := choose(d.offers, nil)
			secures := slices.IndexFunc(want, func(u string) bool { return strings.HasPrefix(u, "https:") })
			best := want[max(secures, 0)]
			if unix != "" {
				best = unix
			}
			if err != nil || chosen.URL != best {
				t.Fatalf("of %q it chooses %v, %v, want %s", got, chosen, err, best)
			}
		}
	}
}

// shouldBe says the rules once more, in other words.
func shouldBe(listed []listing, endpoint string, ownHTTP, certificate, allowed bool) (urls []string, unix string) {
	far := strings.HasPrefix(endpoint, "http://192")
	if !far || allowed {
		urls = append(urls, endpoint)
	}
	for _, l := range listed {
		sameHost := strings.Contains(l.URL, "//192.0.2.1:") && !strings.Contains(endpoint, "127.0.0.1")
		believed := !far || allowed || sameHost
		ok := false
		switch {
		case l.Transport == "unix" && l.Machine == machine.ID() && !ownHTTP && (!far || allowed):
			ok, unix = true, l.URL
		case l.Transport == "tls":
			ok = believed
		case l.Transport == "mtls":
			ok = believed && certificate
		case l.Transport == "tcp":
			ok = believed && allowed
		}
		if ok {
			urls = append(urls, l.URL)
		}
	}
	return urls, unix
}

func TestListings(t *testing.T) {
	here := machine.ID()
	loop := Options{AllowPlain: loopback}
	for _, tt := range []struct {
		endpoint string
		o        Options
		l        listing
		want     string // a word of why not; "" if it is offered
	}{
		{"https://gb.example", Options{}, listing{"tls", "https://gb.example:444", ""}, ""},
		{"https://gb.example", Options{}, listing{"tls", "https://gb.example:444/", ""}, ""},
		{"https://gb.example", Options{}, listing{"tls", "https://other.example", ""}, ""},

		// nonsense
		{"https://gb.example", Options{}, listing{"tls", "http://gb.example:444", ""}, "does not fit"},
		{"https://gb.example", Options{}, listing{"mtls", "http://gb.example:444", ""}, "does not fit"},
		{"https://gb.example", Options{}, listing{"tls", "unix:///s", ""}, "does not fit"},
		{"https://gb.example", loop, listing{"tcp", "https://127.0.0.1", here}, "does not fit"},
		{"https://gb.example", Options{}, listing{"unix", "https://gb.example:444", here}, "does not fit"},
		{"https://gb.example", Options{}, listing{"tls", "https://u:p@gb.example:444", ""}, "does not fit"},
		{"https://gb.example", Options{}, listing{"tls", "https://gb.example:444?x", ""}, "does not fit"},
		{"https://gb.example", Options{}, listing{"tls", "https://gb.example:444#x", ""}, "does not fit"},
		{"https://gb.example", Options{}, listing{"tls", "https://gb.example:444/x", ""}, "path"},
		{"https://gb.example", Options{}, listing{"tls", "https://", ""}, "want a URL"},
		{"https://gb.example", Options{}, listing{"tls", ":", ""}, "does not fit"},
		{"https://gb.example", Options{}, listing{"", "https://gb.example:444", ""}, "unknown"},
		{"https://gb.example", Options{}, listing{"https", "https://gb.example:444", ""}, "unknown"},
		{"https://gb.example", Options{}, listing{"tls ", "https://gb.example:444", ""}, "unknown"},
		{"https://gb.example", Options{}, listing{"unix", "unix://s", here}, "want a URL"},

		// another machine's
		{"https://gb.example", Options{}, listing{"tls", "https://127.0.0.1:444", ""}, "may be on another machine"},
		{"https://gb.example", Options{}, listing{"tls", "https://localhost:444", ""}, "may be on another machine"},
		{"https://gb.example", Options{}, listing{"tls", "https://LOCALHOST:444", ""}, "may be on another machine"},
		{"https://gb.example", loop, listing{"tcp", "http://127.0.0.1:80", ""}, "may be on another machine"},
		{"https://gb.example", loop, listing{"tcp", "http://[::1]:80", "other"}, "is on another machine"},
		{"https://gb.example", Options{}, listing{"tls", "https://gb.example:444", "other"}, "is on another machine"},
		{"https://gb.example", Options{}, listing{"unix", "unix:///s", "other"}, "is on another machine"},
		{"https://gb.example", Options{}, listing{"unix", "unix:///s", ""}, "on which machine"},
		{"https://127.0.0.1", Options{}, listing{"tls", "https://127.0.0.1:444", ""}, ""},
		{"https://localhost", Options{}, listing{"tls", "https://localhost:444", ""}, ""},

		// plain TCP
		{"https://gb.example", Options{}, listing{"tcp", "http://192.0.2.1", ""}, "not allowed"},
		{"https://gb.example", loop, listing{"tcp", "http://192.0.2.1", ""}, "not allowed"},
		{"http://127.0.0.1:80", Options{}, listing{"tcp", "http://127.0.0.1:81", ""}, "not allowed"},
		{"http://127.0.0.1:80", Options{}, listing{"tcp", "http://localhost:80", ""}, "may be on another"},
		{"http://127.0.0.1:80", loop, listing{"tcp", "http://127.0.0.1:81", ""}, ""},
		{"http://localhost:80", loop, listing{"tcp", "http://localhost:81", ""}, ""},
		{"http://localhost:80", Options{AllowPlain: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}, listing{"tcp", "http://localhost:81", ""}, "not allowed"},
		{"https://localhost", Options{AllowPlain: loopback, HTTP: &http.Client{}}, listing{"tcp", "http://localhost:81", ""}, "want an address"},
		{"https://[::ffff:127.0.0.1]", loop, listing{"tcp", "http://[::ffff:127.0.0.1]:81", ""}, ""},
		{"https://gb.example", Options{AllowPlain: make([]netip.Prefix, 1)}, listing{"tcp", "http://192.0.2.1", ""}, "not allowed"},

		// asked over plain TCP
		{"http://192.0.2.1", Options{}, listing{"unix", "unix:///s", here}, "could be anybody"},
		{"http://192.0.2.1", Options{}, listing{"tls", "https://evil.example", ""}, "could be anybody"},
		{"http://192.0.2.1", Options{}, listing{"tls", "https://192.0.2.1.evil.example", ""}, "could be anybody"},
		{"http://192.0.2.1", Options{}, listing{"tls", "https://192.0.2.1:444", ""}, ""},
		{"http://GB.example", Options{}, listing{"tls", "https://gb.EXAMPLE:444", ""}, ""},
	} {
		d := looked(t, tt.endpoint, tt.o, tt.l)
		offered := slices.ContainsFunc(d.offers, func(o Offer) bool { return o.URL == tt.l.URL && o.Transport == tt.l.Transport })
		why := d.refused
		if why = slices.DeleteFunc(why, func(w string) bool { return strings.Contains(w, " "+tt.endpoint+": ") }); len(why) == 0 {
			why = []string{""}
		}
		if offered != (tt.want == "") || !strings.Contains(why[0], tt.want) {
			t.Errorf("asked %s, %+v: offered %v (%s), want %q", tt.endpoint, tt.l, offered, why, tt.want)
		}
	}
}

// TestOwnEndpoint: the endpoint that was asked is listed once, as what the server says that it is.
func TestOwnEndpoint(t *testing.T) {
	certificate := Options{TLS: &tls.Config{Certificates: make([]tls.Certificate, 1)}}
	for _, tt := range []struct {
		endpoint string
		o        Options
		listed   []listing
		want     []Offer
	}{
		{"https://gb.example/sub/", Options{}, nil, []Offer{{"tls", "https://gb.example/sub/", false}}},
		{"https://gb.example", Options{}, []listing{{"tls", "https://GB.example:443/", ""}}, []Offer{{"tls", "https://gb.example", false}}},
		{"https://gb.example", certificate, []listing{{"mtls", "https://gb.example", ""}}, []Offer{{"mtls", "https://gb.example", false}}},
		{"https://gb.example", Options{}, []listing{{"mtls", "https://gb.example", ""}}, nil},
		{"http://127.0.0.1", Options{}, []listing{{"tcp", "http://127.0.0.1:80", "other"}}, []Offer{{"tcp", "http://127.0.0.1", false}}}, // through a tunnel
		{"http://192.0.2.1", Options{}, []listing{{"tcp", "http://192.0.2.1", ""}}, nil},
		{"unix:///s", Options{}, []listing{{"unix", "unix:///s", "other"}}, []Offer{{"unix", "unix:///s", true}}},
	} {
		if got := looked(t, tt.endpoint, tt.o, tt.listed...).offers; !slices.Equal(got, tt.want) {
			t.Errorf("%s, listed %+v: %v, want %v", tt.endpoint, tt.listed, got, tt.want)
		}
	}
}

// TestPlainIsHeldWhenConnecting: a name may stand for something else by then.
func TestPlainIsHeldWhenConnecting(t *testing.T) {
	reached := 0
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached++ }))
	defer s.Close()
	for networks, want := range map[string]bool{"127.0.0.0/8": true, "192.0.2.0/24": false, "::/0": false} {
		h := overPlain([]netip.Prefix{netip.MustParsePrefix(networks)})
		resp, err := h.Get(s.URL)
		if err == nil {
			resp.Body.Close()
		}
		if (err == nil) != want || err != nil && !errors.Is(err, ErrNoTransport) {
			t.Errorf("allowed in %s: %v", networks, err)
		}
		h.CloseIdleConnections()
	}
	if reached != 1 {
		t.Errorf("%d requests arrived", reached)
	}
}

// TestListFromAProxy: what a proxy answers in a server's place is believed as little as what anybody on the way says.
func TestListFromAProxy(t *testing.T) {
	says := func(port, listed string) *httptest.Server {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"protocol":1,"prefix":"/_gb","listeners":[{"transport":"tls","url":"https://%s"},{"transport":"tls","url":"https://192.0.2.1:%s"}]}`, listed, port)
		}))
		t.Cleanup(s.Close)
		return s
	}
	proxy, err := url.Parse(says("444", "evil.example").URL)
	if err != nil {
		t.Fatal(err)
	}
	usual, proxied := direct, newTransport()
	proxied.Proxy = http.ProxyURL(proxy)
	direct = func() *http.Client { return &http.Client{Transport: proxied} }
	t.Cleanup(func() {
		direct = usual
		proxied.CloseIdleConnections()
	})
	server := says("443", "gb.example").URL
	const far = "http://192.0.2.1"
	for name, tt := range map[string]struct {
		endpoint string
		allowed  string
		want     []string
	}{
		"loopback":    {server, "192.0.2.0/24", []string{server, "https://gb.example", "https://192.0.2.1:443"}},
		"allowed":     {far, "192.0.2.0/24", nil}, // nobody is there
		"not allowed": {far, "127.0.0.0/8", []string{"https://192.0.2.1:444"}},
	} {
		o := Options{AllowPlain: []netip.Prefix{netip.MustParsePrefix(tt.allowed)}, OpenWithin: time.Second}
		offers, err := Discover(t.Context(), tt.endpoint, o)
		var got []string
		for _, offer := range offers {
			got = append(got, offer.URL)
		}
		if !slices.Equal(got, tt.want) || (err == nil) != (got != nil) {
			t.Errorf("%s: %q, %v, want %q", name, got, err, tt.want)
		}
	}
}
