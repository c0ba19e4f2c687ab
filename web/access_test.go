package web

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/server"
	"github.com/genbrowser/genbrowser/web/problem"
)

func TestOpenHook(t *testing.T) {
	type config struct {
		User   string
		Friend address.Address
	}
	friend, err := testRing(t, "the secret of the tests").Process("friend")
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, setup{web: Options{Open: func(r *http.Request) (any, error) {
		c, err := r.Cookie("user")
		switch {
		case err != nil:
			return nil, errors.New("log in first")
		case c.Value == "banned":
			return nil, &problem.Problem{Kind: problem.MissingKey, Detail: "banned"}
		case c.Value == "plain":
			return nil, nil
		case c.Value == "broken":
			return func() {}, nil
		}
		return config{c.Value, friend}, nil
	}}})
	if err := s.office.SetConfig("everybody's"); err != nil {
		t.Fatal(err)
	}
	a := s.do("POST", "/_gb/mailbox", "")
	expectProblem(t, "POST as nobody", a, 403, "open-refused")
	if !strings.Contains(a.body, "log in first") {
		t.Errorf("the answer does not say why: %s", a.body)
	}
	expectProblem(t, "POST as banned", s.do("POST", "/_gb/mailbox", "", "Cookie", "user=banned"), 401, "missing-key")
	expectProblem(t, "POST as broken", s.do("POST", "/_gb/mailbox", "", "Cookie", "user=broken"), 500, "internal")
	if !strings.Contains(s.log.String(), "config of the Open hook") {
		t.Errorf("log: %s", s.log)
	}
	_, a = s.tryStream("/_gb/mailbox")
	expectProblem(t, "stream", a, 403, "open-refused")
	if n := s.office.Stats().Mailboxes; n != 0 {
		t.Errorf("%d mailboxes of clients that were refused", n)
	}

	e := s.stream("/_gb/mailbox?new", "Cookie", "user=eve")
	o := e.init()
	want := `{"User":"eve","Friend":"` + friend.String() + `"}`
	if string(o.Config) != want {
		t.Errorf("config %s, want %s", o.Config, want)
	}
	e = s.stream("/_gb/mailbox", "Authorization", "Bearer "+o.Key) // the key is enough for a resume
	if b := e.init(); string(b.Config) != want {
		t.Errorf("config after a resume %s, want %s", b.Config, want)
	}
	a = s.do("POST", "/_gb/mailbox", "", "Cookie", "user=plain")
	var plain opened
	if err := json.Unmarshal([]byte(a.body), &plain); err != nil || string(plain.Config) != `"everybody's"` {
		t.Errorf("config %s (%v)", plain.Config, err)
	}
}

func TestOrigins(t *testing.T) {
	s := serve(t, setup{web: Options{AllowedOrigins: []string{"https://ok.example"}}})
	o := s.open()
	own := s.srv.URL
	for _, origin := range []string{"https://ok.example", own} {
		a := s.send(o.Address, "1", "Origin", origin)
		if a.status != 202 || a.header.Get("Access-Control-Allow-Origin") != origin || a.header.Get("Access-Control-Allow-Credentials") != "true" {
			t.Errorf("%s: %d %v", origin, a.status, a.header)
		}
	}
	for _, origin := range []string{"https://evil.example", "https://ok.example.evil", "http://ok.example", "null", "x", own + ".evil"} {
		a := s.send(o.Address, "1", "Origin", origin, "Content-Type", "text/plain") // needs no preflight
		expectProblem(t, origin, a, 403, "origin-not-allowed")
		if a.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: %v", origin, a.header)
		}
		expectProblem(t, origin, s.do("POST", "/_gb/mailbox", "", "Origin", origin), 403, "origin-not-allowed")
		_, a = s.tryStream("/_gb/mailbox", "Origin", origin)
		expectProblem(t, origin, a, 403, "origin-not-allowed")
		a = s.do("OPTIONS", "/_gb/mailbox", "", "Origin", origin, "Access-Control-Request-Method", "DELETE")
		if a.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("preflight of %s: %v", origin, a.header)
		}
	}
	// its own, by the name that it was called by; one of the public DNS is anybody's
	for host, want := range map[string]int{"localhost:1": 202, "gb.localhost:1": 202, "192.0.2.1": 202, "[2001:db8::1]:1": 202, "intranet": 202, "evil.example:1": 403} {
		if a := s.send(o.Address, "1", "Host", host, "Origin", "http://"+host); a.status != want {
			t.Errorf("a page of http://%s: %d, want %d", host, a.status, want)
		}
		// behind a proxy that proved who it is
		if a := s.send(o.Address, "1", "Host", host, "Origin", "https://"+host); a.status != 202 {
			t.Errorf("a page of https://%s: %d, want 202", host, a.status)
		}
	}
	if a := s.send(o.Address, "1"); a.status != 202 { // no page at all
		t.Errorf("no origin: %d", a.status)
	}

	// an image of theirs names no origin
	for _, site := range []string{"cross-site", "same-site"} {
		_, a := s.tryStream("/_gb/mailbox", "Sec-Fetch-Site", site)
		expectProblem(t, site, a, 403, "origin-not-allowed")
		st, _ := s.tryStream("/_gb/mailbox", "Sec-Fetch-Site", site, "Origin", "https://ok.example")
		if st == nil {
			t.Errorf("%s: a page that may has no stream", site)
		}
	}
	for _, site := range []string{"same-origin", "none"} {
		if st, a := s.tryStream("/_gb/mailbox", "Sec-Fetch-Site", site); st == nil {
			t.Errorf("%s: %d", site, a.status)
		}
	}

	any := serve(t, setup{})
	if st, a := any.tryStream("/_gb/mailbox", "Sec-Fetch-Site", "cross-site"); st == nil {
		t.Errorf("any origin may, and an image gets %d", a.status)
	}
	a := any.send(any.open().Address, "1", "Origin", "https://any.example")
	if a.status != 202 || a.header.Get("Access-Control-Allow-Origin") == "" || a.header.Get("Access-Control-Allow-Credentials") != "" {
		t.Errorf("any: %d %v", a.status, a.header)
	}
}

// A page that another name led here sends nothing; that it opens no mailbox by GET is the Open hook's to see to.
func TestOriginsOfOtherNames(t *testing.T) {
	s := serve(t, setup{web: Options{AllowedOrigins: []string{"https://ok.example"}, Open: func(r *http.Request) (any, error) {
		if r.Host != "gb.example" {
			return nil, errors.New("call it gb.example")
		}
		return nil, nil
	}}})
	const evil = "evil.example:8080"
	_, a := s.tryStream("/_gb/mailbox?new", "Host", evil) // as a browser GETs of the page's own host
	expectProblem(t, "GET", a, 403, "open-refused")
	expectProblem(t, "POST", s.do("POST", "/_gb/mailbox", "", "Host", evil, "Origin", "http://"+evil), 403, "origin-not-allowed")
	for _, origin := range []string{"", "https://ok.example"} { // a backend, and a page that may
		headers := []string{"Host", "gb.example"}
		if origin != "" {
			headers = append(headers, "Origin", origin)
		}
		o := s.stream("/_gb/mailbox?new", headers...).init()
		expectProblem(t, "send", s.send(o.Address, "1", "Host", evil, "Origin", "http://"+evil), 403, "origin-not-allowed")
	}
}

func TestPreflight(t *testing.T) {
	s := serve(t, setup{})
	for _, path := range []string{"/_gb/mailbox", "/_gb/send/x", "/_gb/send", "/_gb/ack"} {
		for _, header := range []string{"authorization", "content-type", "last-event-id", "idempotency-key", "ttl", "traceparent", "accept", "authorization,content-type"} {
			a := s.do("OPTIONS", path, "", "Origin", "https://a.example", "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", header)
			if a.status != 204 || a.header.Get("Access-Control-Allow-Headers") != header || a.header.Get("Access-Control-Allow-Methods") != "POST" || a.header.Get("Access-Control-Max-Age") == "" {
				t.Errorf("%s for %s: %d %v", path, header, a.status, a.header)
			}
		}
	}
}

func TestMounted(t *testing.T) {
	s := serve(t, setup{
		web: Options{Prefix: "/deep/gb/"},
		wrap: func(h http.Handler) http.Handler {
			mux := http.NewServeMux()
			mux.Handle("/deep/gb/", h)
			mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "the page") })
			return mux
		},
	})
	if a := s.do("GET", "/", ""); a.body != "the page" {
		t.Errorf("%d %s", a.status, a.body)
	}
	e := s.stream("/deep/gb/mailbox?new")
	o := e.init()
	if a := s.do("POST", "/deep/gb/send/"+o.Address, "1"); a.status != 202 {
		t.Errorf("send: %d %s", a.status, a.body)
	}
	e.expect("1")
	if a := s.do("POST", "/deep/gb/send", `{"to":"`+o.Address+`","body":2}`, "Content-Type", "application/jsonl"); a.status != 200 {
		t.Errorf("send many: %d %s", a.status, a.body)
	}
	e.expect("2")
	expectProblem(t, "no route", s.do("GET", "/deep/gb/nowhere", ""), 404, "not-found")
}

func TestNewRefuses(t *testing.T) {
	office, err := server.New(server.Options{Keys: testRing(t, "x")})
	if err != nil {
		t.Fatal(err)
	}
	defer office.Shutdown(ctx)
	for want, o := range map[string]Options{
		"Options.Server is needed":  {},
		"Options.Prefix must be":    {Server: office, Prefix: "gb"},
		`must be like "/_gb"`:       {Server: office, Prefix: "/"},
		"Options.Heartbeat is -1ns": {Server: office, Heartbeat: -1},
		"Options.SendBuffer is -1;": {Server: office, SendBuffer: -1},
		"Options.SendRate is -0.5;": {Server: office, SendRate: -0.5},
		"HeldPerClient is -2;":      {Server: office, HeldPerClient: -2},
	} {
		h, err := New(o)
		if err == nil {
			h.Shutdown(ctx)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New: %v, want %q", err, want)
		}
	}
}

// A script is compressed for whom can read it, with a tag of its own.
func TestScriptsAreCompressed(t *testing.T) {
	s := serve(t, setup{})
	plain := s.do("GET", "/_gb/client.js", "", "Accept-Encoding", "identity")
	for accepted, coding := range map[string]string{
		"gzip": "gzip", "br, GZIP;q=0.5": "gzip", "deflate,gzip": "gzip", "gzip;q=1.0": "gzip",
		"gzip;q=0": "", "gzip; q=0.0": "", "br": "", "x-gzip-not": "", "": "",
	} {
		a := s.do("GET", "/_gb/client.js", "", "Accept-Encoding", accepted)
		if got := a.header.Get("Content-Encoding"); got != coding || a.header.Get("Vary") == "" {
			t.Errorf("Accept-Encoding %q: %q, %v", accepted, got, a.header)
			continue
		}
		body, tag := a.body, a.header.Get("ETag")
		if coding == "gzip" {
			r, err := gzip.NewReader(strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(r)
			if err != nil || len(body) > len(text)/2 {
				t.Errorf("%d bytes of %d, %v", len(body), len(text), err)
			}
			body = string(text)
		}
		if body != plain.body || (tag == plain.header.Get("ETag")) != (coding == "") {
			t.Errorf("Accept-Encoding %q: another script, or tag %s beside %s", accepted, tag, plain.header.Get("ETag"))
		}
		if a := s.do("GET", "/_gb/client.js", "", "Accept-Encoding", accepted, "If-None-Match", tag); a.status != 304 {
			t.Errorf("Accept-Encoding %q again: %d", accepted, a.status)
		}
	}
}

func TestScriptsAndDiscovery(t *testing.T) {
	s := serve(t, setup{})
	for _, name := range []string{"client.js", "client.global.js"} {
		a := s.do("GET", "/_gb/"+name, "", "Origin", "https://a.example", "Accept-Encoding", "identity")
		tag := a.header.Get("ETag")
		if a.status != 200 || !strings.HasPrefix(a.header.Get("Content-Type"), "text/javascript") || tag == "" || a.header.Get("Access-Control-Allow-Origin") == "" {
			t.Errorf("%s: %d %v", name, a.status, a.header)
		}
		if a := s.do("GET", "/_gb/"+name, "", "If-None-Match", tag, "Accept-Encoding", "identity"); a.status != 304 {
			t.Errorf("%s again: %d", name, a.status)
		}
		if a := s.do("HEAD", "/_gb/"+name, ""); a.status != 200 || a.header.Get("ETag") != tag {
			t.Errorf("HEAD %s: %d", name, a.status)
		}
	}
	for _, path := range []string{"/healthz", "/readyz", "/.well-known/gen-browser"} {
		if a := s.do("HEAD", path, ""); a.status != 200 || a.body != "" {
			t.Errorf("HEAD %s: %d", path, a.status)
		}
	}
	if a := s.do("HEAD", "/_gb/mailbox", ""); a.status != 405 || s.office.Stats().Mailboxes != 0 {
		t.Errorf("HEAD /_gb/mailbox: %d; it must not open one", a.status)
	}
	expectProblem(t, "a doubled slash", s.do("POST", "/_gb//mailbox", ""), 404, "not-found")
}
