package web

import (
	"crypto/tls"
	"net/http"
	"strings"
	"testing"
)

func TestOperatorsAt(t *testing.T) {
	for _, tt := range []struct {
		places, proxies string // separated by spaces
		remote          string
		headers         string // name=value, separated by semicolons
		want            bool
	}{
		// by default: this machine
		{"", "", "127.0.0.1:5", "", true},
		{"", "", "127.8.8.8:5", "", true},
		{"", "", "[::1]:5", "", true},
		{"", "", "[::ffff:127.0.0.1]:5", "", true},
		{"", "", "@", "", true},
		{"", "", "", "", true}, // a unix socket has no name
		{"", "", "10.0.0.1:5", "", false},
		{"", "", "[::2]:5", "", false},
		{"", "", "[fe80::1%eth0]:5", "", false},

		// what a proxy says that is not trusted opens nothing, for itself neither
		{"", "", "127.0.0.1:5", "X-Forwarded-For=203.0.113.1", false},
		{"", "", "127.0.0.1:5", "X-Forwarded-For=127.0.0.1", false},
		{"", "", "127.0.0.1:5", "X-Forwarded-For=", false},
		{"", "", "127.0.0.1:5", "Forwarded=for=203.0.113.1", false},
		{"", "", "127.0.0.1:5", "X-Real-IP=127.0.0.1", false},
		{"", "", "127.0.0.1:5", "Via=1.1 proxy", false},
		{"", "", "127.0.0.1:5", "X-Forwarded-Proto=https", false},
		{"", "", "127.0.0.1:5", "X-Forwarded-Host=example.com", false},
		{"", "", "@", "X-Forwarded-For=127.0.0.1", false},
		{"", "", "@", "Via=1.1 proxy", false},
		{"", "10.0.0.0/8", "127.0.0.1:5", "X-Forwarded-For=127.0.0.1", false},
		{"", "10.0.0.0/8", "192.0.2.1:5", "X-Forwarded-For=127.0.0.1", false},

		// behind a proxy that is, the client's address counts
		{"", "127.0.0.0/8", "127.0.0.1:5", "X-Forwarded-For=203.0.113.1", false},
		{"", "127.0.0.0/8", "127.0.0.1:5", "X-Forwarded-For=127.0.0.1, 203.0.113.1", false}, // the first is the client's own word
		{"", "127.0.0.0/8", "127.0.0.1:5", "X-Forwarded-For=203.0.113.1,", false},
		{"", "127.0.0.0/8", "127.0.0.1:5", "X-Forwarded-For=", false},
		{"", "127.0.0.0/8", "127.0.0.1:5", "X-Forwarded-For=@", false},
		{"", "127.0.0.0/8", "127.0.0.1:5", "X-Forwarded-For=unix", false},
		{"", "127.0.0.0/8", "@", "X-Forwarded-For=@", false},
		{"", "unix", "@", "X-Forwarded-For=;X-Forwarded-For=203.0.113.1", false}, // the first line is the client's own
		{"", "unix", "@", "X-Forwarded-For=", false},
		{"", "127.0.0.0/8", "127.0.0.1:5", "X-Forwarded-For=;X-Forwarded-For=203.0.113.1", false},
		{"198.51.100.0/24", "unix", "@", "X-Forwarded-For=;X-Forwarded-For=198.51.100.7", true},
		{"", "127.0.0.0/8", "127.0.0.1:5", "X-Real-IP=203.0.113.1", false},
		{"", "127.0.0.0/8", "127.0.0.1:5", "", true},
		{"198.51.100.0/24", "127.0.0.0/8", "127.0.0.1:5", "X-Forwarded-For=198.51.100.7", true},
		{"198.51.100.0/24", "127.0.0.0/8", "127.0.0.1:5", "X-Forwarded-For=198.51.100.7;X-Forwarded-Proto=https", true},
		{"198.51.100.0/24", "127.0.0.0/8", "127.0.0.1:5", "X-Forwarded-For=198.51.101.7", false},
		{"198.51.100.0/24", "127.0.0.0/8 10.0.0.0/8", "127.0.0.1:5", "X-Forwarded-For=198.51.100.7, 10.1.1.1", true},
		{"198.51.100.0/24", "127.0.0.0/8", "@", "X-Forwarded-For=198.51.100.7", false},
		{"198.51.100.0/24", "unix", "@", "X-Forwarded-For=198.51.100.7", true},
		{"198.51.100.0/24", "unix", "@", "", false},

		// other places, in place of the default
		{"10.1.0.0/16", "", "10.1.2.3:5", "", true},
		{"10.1.0.0/16", "", "10.2.2.3:5", "", false},
		{"10.1.0.0/16", "", "127.0.0.1:5", "", false},
		{"10.1.0.0/16", "", "@", "", false},
		{"10.1.0.0/16 unix", "", "@", "", true},
		{"2001:db8::7/128", "", "[2001:db8::7]:5", "", true},
		{"2001:db8::7/128", "", "[2001:db8::8]:5", "", false}, // not their whole network

		// a name of the public DNS may be a page's that leads here
		{"", "", "127.0.0.1:5", "Host=evil.example", false},
		{"", "", "127.0.0.1:5", "Host=evil.example:8080", false},
		{"", "", "127.0.0.1:5", "Host=evil.example.", false},
		{"", "", "[::1]:5", "Host=evil.example", false},
		{"", "", "[::ffff:127.0.0.1]:5", "Host=127.0.0.1.evil.example", false},
		{"127.0.0.0/8", "", "127.0.0.1:5", "Host=evil.example", false},
		{"", "", "127.0.0.1:5", "Host=localhost:8080", true},
		{"", "", "127.0.0.1:5", "Host=gb.localhost:8080", true},
		{"", "", "127.0.0.1:5", "Host=127.0.0.1:8080", true},
		{"", "", "[::1]:5", "Host=[::1]:8080", true},
		{"", "", "[::1]:5", "Host=[::1]", true},
		{"", "", "127.0.0.1:5", "Host=machine", true},
		{"10.1.0.0/16", "", "10.1.2.3:5", "Host=evil.example", false},
		{"10.1.0.0/16", "", "10.1.2.3:5", "Host=10.1.0.1:8080", true},
		{"10.1.0.0/16", "", "10.1.2.3:5", "Host=gb1", true},
		{"", "127.0.0.0/8", "127.0.0.1:5", "Host=evil.example;X-Forwarded-For=127.0.0.1", false}, // a page can write that
		{"10.1.0.0/16", "127.0.0.0/8", "127.0.0.1:5", "Host=evil.example;X-Forwarded-For=10.1.2.3", false},
		{"", "", "@", "Host=evil.example", true}, // no page gets there

		// unless the operator vouches for it
		{"10.1.0.0/16", "", "10.1.2.3:5", "Host=gb.example", true},
		{"10.1.0.0/16", "", "10.1.2.3:5", "Host=GB.example.:8080", true},
		{"10.1.0.0/16", "", "10.2.2.3:5", "Host=gb.example", false},
		{"", "127.0.0.0/8", "127.0.0.1:5", "Host=gb.example;X-Forwarded-For=127.0.0.1", true},
	} {
		operator, err := OperatorsAt(strings.Fields(tt.places), strings.Fields(tt.proxies), "Gb.example:443")
		if err != nil {
			t.Fatal(err)
		}
		r := &http.Request{RemoteAddr: tt.remote, Header: http.Header{}}
		for h := range strings.SplitSeq(tt.headers, ";") {
			if name, value, ok := strings.Cut(h, "="); name == "Host" {
				r.Host = value
			} else if ok {
				r.Header.Add(name, value)
			}
		}
		if got := operator(r); got != tt.want {
			t.Errorf("at %q, proxies %q: %s with %q: %v, want %v", tt.places, tt.proxies, tt.remote, tt.headers, got, tt.want)
		}
	}
	operator, err := OperatorsAt(nil, nil)
	if err != nil || !operator(&http.Request{RemoteAddr: "127.0.0.1:5", Host: "gb.example", TLS: &tls.ConnectionState{}}) {
		t.Errorf("over TLS, by a name: no operator, %v", err)
	}
	if _, err := OperatorsAt([]string{"unix", "10.0.0.1"}, nil); err == nil {
		t.Error("an address for a network: nil error")
	}
	if _, err := OperatorsAt(nil, []string{"socket"}); err == nil {
		t.Error("proxies at socket: nil error")
	}
}

// operatorPages are what only operators may read.
var operatorPages = []string{"/metrics", "/_gb/cluster"}

func TestOperatorsOnly(t *testing.T) {
	here := serve(t, setup{})
	elsewhere := serve(t, setup{web: Options{Operator: func(r *http.Request) bool { return r.Header.Get("X-Admin") == "yes" }}})
	for _, path := range operatorPages {
		for _, method := range []string{"GET", "HEAD"} {
			if a := here.do(method, path, ""); a.status != 200 || a.header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s %s from this machine: %d %v", method, path, a.status, a.header)
			}
		}
		if a := here.do("GET", path, "", "Origin", here.srv.URL); a.status != 200 {
			t.Errorf("%s for the server's own page: %d", path, a.status)
		}
		expectProblem(t, path+" for another page", here.do("GET", path, "", "Origin", "https://evil.example"), 403, "operators-only")
		expectProblem(t, path+" through a proxy", here.do("GET", path, "", "X-Forwarded-For", "127.0.0.1"), 403, "operators-only")
		expectProblem(t, path, elsewhere.do("GET", path, ""), 403, "operators-only")
		if a := elsewhere.do("GET", path, "", "X-Admin", "yes"); a.status != 200 {
			t.Errorf("%s for who may: %d", path, a.status)
		}
		expectProblem(t, "POST "+path, here.do("POST", path, ""), 405, "method-not-allowed")
	}
	expectProblem(t, "below the prefix", here.do("GET", "/_gb/metrics", ""), 404, "not-found")
}

// TestSameOrigin: somebody on the way can show a page in plain HTTP of any host, also of one that has TLS.
func TestSameOrigin(t *testing.T) {
	for _, tt := range []struct {
		tls    bool
		origin string
		want   bool
	}{
		{true, "https://gb.example", true},
		{true, "http://gb.example", false},
		{true, "https://evil.example", false},
		{true, "null", false},
		{true, "gb.example", false},
		{false, "http://gb.example", true},
		{false, "https://gb.example", true}, // a proxy has the TLS
		{false, "ftp://gb.example", false},
	} {
		r := &http.Request{Host: "gb.example", Header: http.Header{"Origin": {tt.origin}}}
		if tt.tls {
			r.TLS = &tls.ConnectionState{}
		}
		if got := sameOrigin(r, tt.origin); got != tt.want || ofOtherPage(r) == tt.want {
			t.Errorf("%s, TLS %v: %v, want %v", tt.origin, tt.tls, got, tt.want)
		}
		h := &Handler{origins: []string{"https://app.example"}}
		if got, want := h.allowed(r, tt.origin), tt.want && !strings.HasPrefix(tt.origin, "http:"); got != want {
			t.Errorf("%s, TLS %v: allowed %v, want %v", tt.origin, tt.tls, got, want)
		}
	}
}
