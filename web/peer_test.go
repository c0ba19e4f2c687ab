package web

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"testing"
	"time"
)

// showPeer is a server whose Open hook tells each client, as its config, who it is.
func showPeer(t *testing.T, l net.Listener, config *tls.Config) *httptest.Server {
	t.Helper()
	s := serve(t, setup{web: Options{Open: func(r *http.Request) (any, error) { return PeerOf(r.Context()), nil }}})
	srv := httptest.NewUnstartedServer(s.gb)
	if l != nil {
		srv.Listener.Close()
		srv.Listener = l
	}
	srv.Config.ConnContext = ConnContext
	if config != nil {
		srv.TLS, srv.EnableHTTP2 = config, true
		srv.StartTLS()
	} else {
		srv.Start()
	}
	t.Cleanup(srv.Close)
	return srv
}

// peerSeen opens a mailbox and returns what the hook saw.
func peerSeen(t *testing.T, url string, tr *http.Transport) Peer {
	t.Helper()
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Post(url+"/_gb/mailbox", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var o struct{ Config Peer }
	if err := json.NewDecoder(resp.Body).Decode(&o); err != nil {
		t.Fatal(err)
	}
	return o.Config
}

func TestPeer(t *testing.T) {
	tcp := showPeer(t, nil, nil)
	if got, want := peerSeen(t, tcp.URL, &http.Transport{}), (Peer{Transport: "tcp"}); !reflect.DeepEqual(got, want) {
		t.Errorf("over TCP: %+v, want %+v", got, want)
	}
	cert := selfSigned(t)
	pool := x509.NewCertPool()
	pool.AddCert(cert.Leaf)
	secure := showPeer(t, nil, &tls.Config{ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: pool})
	for name, tt := range map[string]struct {
		certs []tls.Certificate
		http2 bool
		want  Peer
	}{
		"no certificate":     {nil, false, Peer{Transport: "tls"}},
		"certificate":        {[]tls.Certificate{cert}, false, Peer{Transport: "mtls", Names: []string{"a.peers.example", "spiffe://x/A"}}},
		"certificate, HTTP2": {[]tls.Certificate{cert}, true, Peer{Transport: "mtls", Names: []string{"a.peers.example", "spiffe://x/A"}}},
	} {
		tr := secure.Client().Transport.(*http.Transport).Clone()
		tr.TLSClientConfig.Certificates, tr.TLSClientConfig.NextProtos, tr.Protocols = tt.certs, nil, new(http.Protocols)
		tr.Protocols.SetHTTP1(!tt.http2)
		tr.Protocols.SetHTTP2(tt.http2)
		if got := peerSeen(t, secure.URL, tr); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %+v, want %+v", name, got, tt.want)
		}
	}
	if got := PeerOf(ctx); !got.Remote || got.Transport != "" || got.Process != nil {
		t.Errorf("with no ConnContext the peer is %+v", got)
	}
}

func TestPeerAtASocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Skip(err)
	}
	showPeer(t, l, nil)
	got := peerSeen(t, "http://localhost", &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}})
	want := Peer{Transport: "unix"}
	if runtime.GOOS == "linux" {
		want.Process = &Process{os.Geteuid(), os.Getegid(), os.Getpid()}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v (%+v), want %+v (%+v)", got, got.Process, want, want.Process)
	}
}

// from is a connection that seems to come from somewhere.
type from struct {
	net.Conn
	at string
}

func (f from) RemoteAddr() net.Addr { return f }
func (f from) Network() string      { return "tcp" }
func (f from) String() string       { return f.at }

func TestPeerIsRemote(t *testing.T) {
	for at, want := range map[string]bool{
		"127.0.0.1:1": false, "127.9.9.9:1": false, "[::1]:1": false, "[::ffff:127.0.0.1]:1": false,
		"10.0.0.1:1": true, "[fe80::1%eth0]:1": true, "0.0.0.0:1": true, "[::ffff:10.0.0.1]:1": true, "": true, "@": true, "localhost:1": true,
	} {
		if got := PeerOf(ConnContext(ctx, from{at: at})); got.Remote != want || got.Transport != "tcp" {
			t.Errorf("from %q: %+v, want Remote %v", at, got, want)
		}
	}
}

func TestCertificateNames(t *testing.T) {
	parse := func(text string) *url.URL { u, _ := url.Parse(text); return u }
	got := CertificateNames(&x509.Certificate{
		DNSNames: []string{"B.Example", "spiffe://x/fake", "a:b", "c"},
		URIs:     []*url.URL{parse("spiffe://x/y"), parse("mailto:x"), parse("b.example")},
	})
	if want := []string{"b.example", "c", "spiffe://x/y"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id, _ := url.Parse("spiffe://x/A")
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"A.peers.example"}, URIs: []*url.URL{id},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}
