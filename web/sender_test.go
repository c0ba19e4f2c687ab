package web

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/genbrowser/genbrowser/server"
)

// senders is a server with a process that tells who sent each message.
func senders(t *testing.T, s setup) (at *site, process string, came chan server.Sender) {
	t.Helper()
	s.http = func(srv *http.Server) { srv.ConnContext = ConnContext }
	at, came = serve(t, s), make(chan server.Sender, 10)
	addr, err := at.office.Handle("who", server.HandlerFunc(func(ctx context.Context, m server.Message) error {
		came <- m.Sender
		return m.Answer(ctx, "noted")
	}))
	if err != nil {
		t.Fatal(err)
	}
	return at, addr.String(), came
}

// eachWay sends to a process by every way that there is.
func eachWay(t *testing.T, c *http.Client, url, to string, headers ...string) {
	t.Helper()
	for path, body := range map[string]string{
		"/send/" + to: "1",
		"/call/" + to: "1",
		"/send":       fmt.Sprintf(`{"to":%q,"body":1}`, to),
	} {
		r, err := http.NewRequest("POST", url+"/_gb"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "text/plain")
		setHeaders(r, headers)
		resp, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode >= 300 {
			t.Fatalf("%s: %d", path, resp.StatusCode)
		}
	}
}

func expectSenders(t *testing.T, what string, came chan server.Sender, want server.Sender) {
	t.Helper()
	for range 3 {
		if got := <-came; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: sent by %+v, want %+v", what, got, want)
		}
	}
}

func TestSenderOverTCP(t *testing.T) {
	s, to, came := senders(t, setup{})
	eachWay(t, s.srv.Client(), s.srv.URL, to)
	expectSenders(t, "over TCP", came, server.Sender{Remote: true})
	for _, member := range []string{"sender", "Sender", "from", "names", "remote"} {
		a := s.do("POST", "/_gb/send", fmt.Sprintf(`{"to":%q,"body":1,%q:{"Names":["admin"]}}`, to, member), "Content-Type", "text/plain")
		if got := summary(t, strings.TrimSpace(a.body)); got != "400 malformed-envelope" {
			t.Errorf("a line with a member %s: %s", member, got)
		}
	}
	eachWay(t, s.srv.Client(), s.srv.URL, to, "Sender", "admin", "X-Forwarded-For", "127.0.0.1")
	expectSenders(t, "with headers", came, server.Sender{Remote: true})
}

func TestSenderWithACertificate(t *testing.T) {
	s, to, came := senders(t, setup{kind: "h2"})
	cert := selfSigned(t)
	pool := x509.NewCertPool()
	pool.AddCert(cert.Leaf)
	config := s.srv.TLS
	config.ClientAuth, config.ClientCAs = tls.VerifyClientCertIfGiven, pool
	proved := server.Sender{Remote: true, Names: []string{"a.peers.example", "spiffe://x/A"}}
	for _, http2 := range []bool{false, true} {
		tr := s.srv.Client().Transport.(*http.Transport).Clone()
		defer tr.CloseIdleConnections()
		tr.TLSClientConfig.Certificates, tr.TLSClientConfig.NextProtos, tr.Protocols = []tls.Certificate{cert}, nil, new(http.Protocols)
		tr.Protocols.SetHTTP1(!http2)
		tr.Protocols.SetHTTP2(http2)
		c := &http.Client{Transport: tr}
		eachWay(t, c, s.srv.URL, to)
		expectSenders(t, fmt.Sprint("a certificate, HTTP/2 ", http2), came, proved)
		eachWay(t, c, s.srv.URL, to, "Origin", s.srv.URL)
		expectSenders(t, "a page of the server", came, proved)
		for _, header := range []string{"X-Forwarded-For", "Forwarded", "Via", "X-Real-Ip"} {
			eachWay(t, c, s.srv.URL, to, header, "192.0.2.1")
			expectSenders(t, "a proxy's certificate, "+header, came, server.Sender{Remote: true})
		}
		eachWay(t, c, s.srv.URL, to, "Origin", "https://evil.example")
		expectSenders(t, "a page of another site", came, server.Sender{Remote: true})
	}
	eachWay(t, s.srv.Client(), s.srv.URL, to)
	expectSenders(t, "no certificate", came, server.Sender{Remote: true})
}

func TestSenderAtASocket(t *testing.T) {
	s, to, came := senders(t, setup{})
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Skip(err)
	}
	srv := &http.Server{Handler: s.gb, ConnContext: ConnContext}
	go srv.Serve(l)
	defer srv.Close()
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	defer tr.CloseIdleConnections()
	want := server.Sender{Remote: true}
	if runtime.GOOS == "linux" {
		want.Credentials = &server.Credentials{UID: os.Geteuid(), GID: os.Getegid(), PID: os.Getpid()}
	}
	eachWay(t, &http.Client{Transport: tr}, "http://localhost", to)
	expectSenders(t, "at a socket", came, want)
	eachWay(t, &http.Client{Transport: tr}, "http://localhost", to, "Via", "1.1 proxy")
	expectSenders(t, "a proxy at a socket", came, server.Sender{Remote: true})
}

// TestSenderOfNoConnContext holds that a server which does not tell who is there vouches for nobody.
func TestSenderOfNoConnContext(t *testing.T) {
	s, to, came := senders(t, setup{})
	srv := &http.Server{Handler: s.gb}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go srv.Serve(l)
	defer srv.Close()
	eachWay(t, s.srv.Client(), "http://"+l.Addr().String(), to)
	expectSenders(t, "with no ConnContext", came, server.Sender{Remote: true})
	if err := s.office.Send(ctx, s.grantedAddress(to), "from Go"); err != nil {
		t.Fatal(err)
	}
	if got := <-came; !reflect.DeepEqual(got, server.Sender{}) {
		t.Errorf("Go code is %+v", got)
	}
}

// In the fast lane, a send is by whom it would be without: a request before it leaves the lane, so it is alone on its
// connection.
func TestSenderInTheFastLane(t *testing.T) {
	s, to, came := senders(t, setup{})
	path := filepath.Join(t.TempDir(), "s")
	socket, err := net.Listen("unix", path)
	if err != nil {
		t.Skip(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	owner := server.Sender{Remote: true}
	if runtime.GOOS == "linux" {
		owner.Credentials = &server.Credentials{UID: os.Geteuid(), GID: os.Getegid(), PID: os.Getpid()}
	}
	srv, blind := &http.Server{Handler: s.gb, ConnContext: ConnContext}, &http.Server{Handler: s.gb}
	defer srv.Close()
	defer blind.Close()
	for i, tt := range []struct {
		l    net.Listener
		srv  *http.Server
		want server.Sender
	}{{socket, srv, owner}, {tcp, blind, server.Sender{Remote: true}}} {
		go tt.srv.Serve(s.gb.FastLane(tt.l, tt.srv))
		c, err := net.Dial(tt.l.Addr().Network(), tt.l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "POST /_gb/send/%s HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1", to)
		if got := <-came; !reflect.DeepEqual(got, tt.want) {
			t.Errorf("in the lane: sent by %+v, want %+v", got, tt.want)
		}
		if got, want := s.metric("genbrowser_fast_lane_sends_total"), fmt.Sprint(i+1); got != want {
			t.Errorf("%s sends in the lane, want %s", got, want)
		}
	}
}
