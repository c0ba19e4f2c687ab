package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ctx = context.Background()

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// site is a whole server on a real listener, for one test.
type site struct {
	office *server.Server
	gb     *Handler
	srv    *httptest.Server
	log    *logged
	t      testing.TB
}

// setup says what is special about a site.
type setup struct {
	server server.Options
	web    Options
	kind   string                          // "", "plain", "tls", "h2", "fast" or "unhijackable"
	http   func(*http.Server)              // further settings
	wrap   func(http.Handler) http.Handler // what stands before the handler
}

// kinds of connections that a stream can have.
var connections = []string{"http/1.1", "plain", "fast", "tls", "h2", "unhijackable"}

func testRing(t testing.TB, purpose string) *address.Ring {
	t.Helper()
	secret := sha256.Sum256([]byte(purpose))
	ring, err := address.NewRing(secret[:])
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func serve(t testing.TB, s setup) *site {
	t.Helper()
	log := &logged{}
	if s.server.Keys == nil {
		s.server.Keys = testRing(t, "the secret of the tests")
	}
	s.server.Logger, s.web.Logger = log.logger(), log.logger()
	office, err := server.New(s.server)
	if err != nil {
		t.Fatal(err)
	}
	s.web.Server = office
	gb, err := New(s.web)
	if err != nil {
		t.Fatal(err)
	}
	var h http.Handler = gb
	if s.wrap != nil {
		h = s.wrap(h)
	}
	if s.kind == "unhijackable" {
		h = unhijackable(h)
	}
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ErrorLog = slog.NewLogLogger(log.logger().Handler(), slog.LevelDebug)
	if s.http != nil {
		s.http(srv.Config)
	}
	switch s.kind {
	case "tls":
		srv.StartTLS()
	case "h2":
		srv.EnableHTTP2 = true
		srv.StartTLS()
	case "plain":
		srv.Config.ConnContext = ConnContext
		srv.Listener = NewListener(srv.Listener)
		srv.Start()
	case "fast":
		srv.Listener = gb.FastLane(srv.Listener, srv.Config)
		srv.Start()
	case "fast, wrapped":
		srv.Listener = gb.FastLane(wrapping{srv.Listener}, srv.Config)
		srv.Start()
	default:
		srv.Start()
	}
	site := &site{office, gb, srv, log, t}
	t.Cleanup(site.end)
	return site
}

// end shuts the site down, and fails the test if anything hangs.
func (s *site) end() {
	end, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := s.gb.Shutdown(end); err != nil {
		s.t.Errorf("Shutdown = %v", err)
	}
	if n := s.gb.streams.count(); n != 0 {
		s.t.Errorf("%d streams after the shutdown", n)
	}
	s.srv.Client().CloseIdleConnections()
	http.DefaultClient.CloseIdleConnections()
	s.srv.CloseClientConnections()
	s.srv.Close()
}

// unhijackable takes away what a stream takes its connection with.
func unhijackable(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(flusher{w}, r) })
}

type flusher struct{ w http.ResponseWriter }

func (f flusher) Header() http.Header         { return f.w.Header() }
func (f flusher) Write(b []byte) (int, error) { return f.w.Write(b) }
func (f flusher) WriteHeader(status int)      { f.w.WriteHeader(status) }
func (f flusher) FlushError() error           { return http.NewResponseController(f.w).Flush() }
func (f flusher) SetReadDeadline(t time.Time) error {
	return http.NewResponseController(f.w).SetReadDeadline(t)
}
func (f flusher) SetWriteDeadline(t time.Time) error {
	return http.NewResponseController(f.w).SetWriteDeadline(t)
}
func (f flusher) EnableFullDuplex() error { return http.NewResponseController(f.w).EnableFullDuplex() }

// answer is an answer that was read whole.
type answered struct {
	status int
	header http.Header
	body   string
}

// problem returns the code of a problem, such as "full", or what came instead.
func (a answered) problem() string {
	var p struct{ Type string }
	if json.Unmarshal([]byte(a.body), &p) != nil || a.header.Get("Content-Type") != "application/problem+json" {
		return fmt.Sprintf("%d %s %s", a.status, a.header.Get("Content-Type"), a.body)
	}
	return strings.TrimPrefix(p.Type, "urn:gen-browser:")
}

// do sends a request; headers are given as name, value, name, value …
func (s *site) do(method, path, body string, headers ...string) answered {
	s.t.Helper()
	a, err := s.try(method, path, body, headers...)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

func (s *site) try(method, path, body string, headers ...string) (answered, error) {
	within, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var content io.Reader
	if body != "" {
		content = strings.NewReader(body)
	}
	r, err := http.NewRequestWithContext(within, method, s.srv.URL+path, content)
	if err != nil {
		return answered{}, err
	}
	setHeaders(r, headers)
	resp, err := s.srv.Client().Do(r)
	if err != nil {
		return answered{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answered{resp.StatusCode, resp.Header, string(b)}, err
}

func setHeaders(r *http.Request, headers []string) {
	for i := 0; i+1 < len(headers); i += 2 {
		if r.Header.Add(headers[i], headers[i+1]); headers[i] == "Host" {
			r.Host = headers[i+1]
		}
	}
}

// open opens a mailbox.
func (s *site) open() opened {
	s.t.Helper()
	a := s.do("POST", "/_gb/mailbox", "")
	var o opened
	if err := json.Unmarshal([]byte(a.body), &o); err != nil || a.status != 201 {
		s.t.Fatalf("open: %d %s (%v)", a.status, a.body, err)
	}
	return o
}

func (s *site) send(to, body string, headers ...string) answered {
	s.t.Helper()
	return s.do("POST", "/_gb/send/"+to, body, headers...)
}

func (s *site) mustSend(to string, bodies ...string) {
	s.t.Helper()
	for _, b := range bodies {
		if a := s.send(to, b); a.status != 202 {
			s.t.Fatalf("send %.80s: %d %s", b, a.status, a.body)
		}
	}
}

func (s *site) ack(key, cursor string) answered {
	s.t.Helper()
	return s.do("POST", "/_gb/ack", `{"cursor":"`+cursor+`"}`, "Authorization", "Bearer "+key)
}

// dial opens a connection for bytes that no client would send.
func (s *site) dial() net.Conn {
	s.t.Helper()
	c, err := net.Dial("tcp", s.srv.Listener.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

// until waits for a condition.
func until(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); {
		if time.Now().After(end) {
			t.Fatalf("waited in vain until %s", what)
		}
		<-time.After(2 * time.Millisecond)
	}
}

func expectProblem(t testing.TB, what string, got answered, status int, code string) {
	t.Helper()
	if got.status != status || got.problem() != code {
		t.Errorf("%s: %d %s, want %d %s", what, got.status, got.problem(), status, code)
	}
}

func quoted(n int) string { return `"` + strings.Repeat("x", n-2) + `"` }

func nested(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }

func cursorOf(o opened, seq uint64) string {
	epoch, _, _ := strings.Cut(o.Cursor, ".")
	return fmt.Sprintf("%s.%d", epoch, seq)
}

func attenuated(t testing.TB, text string, caveats ...address.Caveat) string {
	t.Helper()
	if strings.HasPrefix(text, "gbk_") {
		k, err := address.ParseKey(text)
		if err != nil {
			t.Fatal(err)
		}
		if k, err = k.Attenuate(caveats...); err != nil {
			t.Fatal(err)
		}
		return k.Reveal()
	}
	a, err := address.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if a, err = a.Attenuate(caveats...); err != nil {
		t.Fatal(err)
	}
	return a.String()
}

// logged is a log's text.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logged) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func (s *site) grant(text string) *address.Grant {
	s.t.Helper()
	var g address.Grant
	if err := s.office.Verify(&g, text); err != nil {
		s.t.Fatal(err)
	}
	return &g
}

func (s *site) grantedAddress(text string) address.Address {
	a, err := address.Parse(text)
	if err != nil {
		s.t.Error(err)
	}
	return a
}

// readHead reads the head of an answer, byte by byte.
func readHead(t testing.TB, c net.Conn) string {
	t.Helper()
	var head []byte
	for b := make([]byte, 1); !bytes.HasSuffix(head, []byte("\r\n\r\n")); {
		if _, err := c.Read(b); err != nil {
			t.Fatalf("head %q: %v", head, err)
		}
		head = append(head, b...)
	}
	return string(head)
}

func parseKeyAddress(key string) (string, error) {
	k, err := address.ParseKey(key)
	if err != nil {
		return "", err
	}
	a, err := k.Address()
	return a.String(), err
}
