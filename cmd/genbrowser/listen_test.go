package main_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/client"
	"github.com/genbrowser/genbrowser/web/problem"
)

// talks opens a mailbox at a server and sends to it.
func talks(t testing.TB, url string, httpClient *http.Client) {
	t.Helper()
	c, err := client.New(url, client.Options{HTTP: httpClient})
	if err != nil {
		t.Fatal(err)
	}
	box := openBox(t, c)
	if err := c.Send(t.Context(), box.Address(), 1); err != nil {
		t.Fatal(err)
	}
	for m, err := range box.Messages(t.Context()) {
		if err != nil || string(m.Body) != "1" {
			t.Fatalf("got %s, %v", m.Body, err)
		}
		break
	}
}

func TestListenersOfEveryKind(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a path is no part of a URL there")
	}
	socket := filepath.Join(t.TempDir(), "gb.sock")
	args := []string{"--listen", "tcp4://127.0.0.1:0", "--listen", "unix://" + socket, "--listen", "tcp://localhost:0"}
	if l, err := net.Listen("tcp6", "[::1]:0"); err == nil {
		l.Close()
		args = append(args, "--listen", "tcp6://[::1]:0")
	}
	s := serve(t, len(args)/2, []string{"SECRET=" + secret}, args...)
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	defer transport.CloseIdleConnections()
	for _, url := range s.urls {
		if strings.HasPrefix(url, "unix:") {
			talks(t, "http://localhost", &http.Client{Transport: transport})
		} else {
			talks(t, url, nil)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	transport.CloseIdleConnections()
	s.stop()
	if _, err := os.Lstat(socket); err == nil {
		t.Error("the socket is still there")
	}
}

// The fast lane is where it was asked for, and only on listeners in plain text.
func TestFastLane(t *testing.T) {
	root := newAuthority(t)
	socket := filepath.Join(t.TempDir(), "s")
	listen := append([]string{"--listen", "tcp4://127.0.0.1:0", "--listen", "unix://" + socket, "--listen", "tls://127.0.0.1:0"}, secure(t, root).flags...)
	for flag, want := range map[string]string{"--fast-lane": "2", "--no-fast-lane": "0"} {
		args := append(listen, flag)
		s := serve(t, 3, []string{"SECRET=" + secret}, args...)
		unix := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}}
		overTLS := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: root.pool}}
		for i, transport := range []*http.Transport{{}, unix, overTLS} {
			url := s.urls[i]
			if transport == unix {
				url = "http://localhost"
			}
			resp, err := (&http.Client{Transport: transport}).Post(url+"/_gb/send/gba_x", "application/json", strings.NewReader("1"))
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusBadRequest {
				t.Errorf("%s: %s", url, resp.Status)
			}
			transport.CloseIdleConnections()
		}
		resp, err := http.Get(s.urls[0] + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if !strings.Contains(string(text), "\ngenbrowser_fast_lane_sends_total "+want+"\n") {
			t.Errorf("with %s, want %s sends in the lane", flag, want)
		}
		s.stop()
		s.ended(0)
	}
}

func TestListenersInTheEnvironment(t *testing.T) {
	s := serve(t, 2, []string{"SECRET=" + secret, "GENBROWSER_LISTEN=tcp4://127.0.0.1:0,tcp4://127.0.0.2:0"})
	for _, url := range s.urls {
		if _, err := net.Dial("tcp", strings.TrimPrefix(url, "http://")); err != nil {
			t.Error(err)
		}
	}
}

func TestSocketThatWasLeftBehind(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "gb.sock")
	listen := []string{"--listen", "unix://" + socket}
	first := serve(t, 1, nil, listen...)
	second := finish(t, command(t, nil, append([]string{"serve"}, listen...)...), "")
	fails(t, second, "another server listens there")
	first.Process.Kill()
	first.ended(-1)
	if _, err := os.Lstat(socket); err != nil {
		t.Fatal("the test is void: ", err)
	}
	serve(t, 1, nil, listen...).stop()

	if err := os.WriteFile(socket, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	fails(t, finish(t, command(t, nil, append([]string{"serve"}, listen...)...), ""), "address already in use")
	if b, _ := os.ReadFile(socket); string(b) != "precious" {
		t.Error("a file that is no socket was removed")
	}
}

// TestOtherSocket: a socket that somebody has, whatever is done with it, stays.
func TestOtherSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fails(t, run(t, "", "serve", "--listen", "unix://"+path), path)
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

func TestListenerThatFailsIsSkipped(t *testing.T) {
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	s := serve(t, 1, []string{"SECRET=" + secret}, "--listen", "tcp4://"+taken.Addr().String(),
		"--listen", "tsl://127.0.0.1:0", "--listen", "127.0.0.1:0", "--listen", "tls://127.0.0.1:0", "--listen", "tcp4://127.0.0.1:0")
	talks(t, s.urls[0], nil)
	log := s.text()
	if n := strings.Count(log, `"msg":"cannot listen"`); n != 4 {
		t.Errorf("%d listeners are reported, want 4:\n%s", n, log)
	}
	for _, reason := range []string{"address already in use", `scheme \"tsl\"; want tcp`, "want a URL such as", "needs --tls-cert"} {
		if !strings.Contains(log, reason) {
			t.Errorf("no %q in the log:\n%s", reason, log)
		}
	}

	all := finish(t, command(t, nil, "serve", "--listen", "tcp4://"+taken.Addr().String(), "--listen", "tsl://127.0.0.1:0"), "")
	fails(t, all, "no listener could be opened", "address already in use", `scheme "tsl"`)
}

// certificate writes one for localhost, and returns who trusts it.
func certificate(t testing.TB) (certFile, keyFile string, trust *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	trust = x509.NewCertPool()
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: private}} {
		text := pem.EncodeToMemory(block)
		trust.AppendCertsFromPEM(text)
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile, trust
}

func TestTLS(t *testing.T) {
	cert, key, trust := certificate(t)
	s := serve(t, 1, []string{"SECRET=" + secret}, "--listen", "tls://127.0.0.1:0", "--tls-cert", cert, "--tls-key", key)
	for version, protocols := range map[string]func(*http.Protocols){
		"HTTP/2.0": func(p *http.Protocols) { p.SetHTTP2(true) },
		"HTTP/1.1": func(p *http.Protocols) { p.SetHTTP1(true) },
	} {
		t.Run(version, func(t *testing.T) {
			transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trust}, Protocols: new(http.Protocols)}
			protocols(transport.Protocols)
			defer transport.CloseIdleConnections()
			c := &http.Client{Transport: transport}
			resp, err := c.Get(s.urls[0] + "/healthz")
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.Proto != version {
				t.Errorf("speaks %s", resp.Proto)
			}
			talks(t, s.urls[0], c)
		})
	}
	// what is no TLS gets no mailbox
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.urls[0], "https://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.Write([]byte("POST /_gb/mailbox HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"))
	if status, _ := bufio.NewReader(conn).ReadString('\n'); strings.Contains(status, " 201 ") {
		t.Errorf("plain text gets %s", status)
	}

	fails(t, run(t, "", "serve", "--listen", "tls://127.0.0.1:0", "--tls-cert", key, "--tls-key", key), "--tls-cert")
	fails(t, run(t, "", "serve", "--listen", "tls://127.0.0.1:0", "--tls-cert", "nowhere.pem"), "nowhere.pem")
}

func TestEveryFlagIsInTheEnvironment(t *testing.T) {
	s := serve(t, 1, []string{
		"GENBROWSER_SECRET=" + secret, "GENBROWSER_LISTEN=tcp4://127.0.0.1:0", "GENBROWSER_PREFIX=/post",
		"GENBROWSER_CONFIG={\"a\":1}", "GENBROWSER_BODY=10", "GENBROWSER_BACKLOG=1",
	})
	c, err := client.New(s.urls[0], client.Options{Prefix: "/post"})
	if err != nil {
		t.Fatal(err)
	}
	box := openBox(t, c)
	if got := string(box.Config()); got != `{"a":1}` {
		t.Errorf("config = %s", got)
	}
	for _, test := range []struct {
		body any
		want *problem.Kind
	}{{"0123456789", problem.TooLarge}, {1, nil}, {2, problem.Full}} {
		err := c.Send(t.Context(), box.Address(), test.body)
		if p, _ := err.(*problem.Problem); (p == nil) != (test.want == nil) || p != nil && p.Kind != test.want {
			t.Errorf("Send(%v) = %v, want %v", test.body, err, test.want)
		}
	}
	fails(t, finish(t, command(t, []string{"GENBROWSER_BODY=ten"}, "serve"), ""), "body")
}

func TestSocketPermissions(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there are none")
	}
	dir := t.TempDir()
	for query, want := range map[string]os.FileMode{"": 0o600, "?mode=0660": 0o660, "?mode=666": 0o666, "?mode=0": 0} {
		socket := filepath.Join(dir, "s")
		s := serve(t, 1, nil, "--listen", "unix://"+socket+query)
		info, err := os.Lstat(socket)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%q gives %o, want %o", query, got, want)
		}
		if s.urls[0] != "unix://"+socket {
			t.Errorf("%q listens on %s", query, s.urls[0])
		}
		s.stop()
	}
	for _, spec := range []string{"unix:///x?mode=8", "unix:///x?mode=01000", "unix:///x?mode=", "unix:///x?mode=0600&mode=0666", "unix:///x?group=a",
		"unix:///x?mode=0660&user=b", "unix://run/gb.sock", "unix:gb.sock", "unix://", "tcp://127.0.0.1:0?mode=0600", "tcp://127.0.0.1:0/x"} {
		fails(t, run(t, "", "serve", "--listen", spec), "--listen", "want")
	}
}
