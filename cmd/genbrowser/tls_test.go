package main_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	mrand "math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// authority signs certificates.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string // its certificate, in PEM
	pool *x509.CertPool
}

func newAuthority(t testing.TB, change ...func(*x509.Certificate)) *authority {
	t.Helper()
	a := &authority{t: t, file: filepath.Join(t.TempDir(), "ca.pem"), pool: x509.NewCertPool()}
	issued := a.issue(append([]func(*x509.Certificate){func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
	}}, change...)...)
	a.cert, a.key = issued.Leaf, issued.PrivateKey.(*ecdsa.PrivateKey)
	a.pool.AddCert(a.cert)
	if err := os.WriteFile(a.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return a
}

// issue makes a certificate for a server on this machine, or for a client, unless it is changed.
func (a *authority) issue(change ...func(*x509.Certificate)) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(mrand.Int64()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	for _, f := range change {
		f(template)
	}
	parent, signer := template, key
	if a.cert != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		a.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func names(dns ...string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.DNSNames = dns }
}

func uri(text string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		u, err := url.Parse(text)
		if err != nil {
			panic(err)
		}
		c.URIs = []*url.URL{u}
	}
}

func here(c *x509.Certificate) {
	c.DNSNames, c.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}
}

// write puts a certificate and its key where a server reads them, the new in place of the old.
func write(t testing.TB, certFile, keyFile string, c tls.Certificate) {
	t.Helper()
	private, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	replace(t, certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}))
	replace(t, keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
}

func replace(t testing.TB, file string, content []byte) {
	t.Helper()
	if err := os.WriteFile(file+".new", content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

// secured are the files of a server's certificate, and the flags that name them.
type secured struct {
	cert, key string
	flags     []string
}

func secure(t testing.TB, by *authority) secured {
	dir := t.TempDir()
	s := secured{cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem")}
	s.flags = []string{"--tls-cert", s.cert, "--tls-key", s.key}
	write(t, s.cert, s.key, by.issue(here))
	return s
}

// visit makes one request on a connection of its own.
func visit(url string, config *tls.Config) (*tls.ConnectionState, error) {
	tr := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: tr, Timeout: 30 * time.Second}).Get(url + "/healthz")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("answers %s", resp.Status)
	}
	return resp.TLS, nil
}

// eventually tries until it is done.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	end := time.After(20 * time.Second)
	for !done() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("never: %s", what)
		}
	}
}

func TestMutualTLS(t *testing.T) {
	root := newAuthority(t)
	server := secure(t, root)
	peers, other := newAuthority(t), newAuthority(t)
	narrow := newAuthority(t, func(c *x509.Certificate) {
		c.PermittedDNSDomainsCritical, c.PermittedDNSDomains = true, []string{"narrow.example"}
	})
	ca, err := os.ReadFile(peers.file)
	if err != nil {
		t.Fatal(err)
	}
	second, err := os.ReadFile(narrow.file)
	if err != nil {
		t.Fatal(err)
	}
	both := filepath.Join(t.TempDir(), "both.pem")
	if err := os.WriteFile(both, append(ca, second...), 0o600); err != nil {
		t.Fatal(err)
	}
	flags := append([]string{"--listen", "mtls://127.0.0.1:0", "--tls-client-ca", both}, server.flags...)
	anybody := serve(t, 1, []string{"SECRET=" + secret}, flags...)
	listed := serve(t, 1, []string{"SECRET=" + secret}, append(flags,
		"--tls-client-name", "*.Peers.example", "--tls-client-name", "spiffe://x/backend", "--tls-client-name", "exact.example", "--tls-client-name", "a.narrow.example")...)

	wrongKey := peers.issue(names("a.peers.example"))
	wrongKey.PrivateKey = peers.issue().PrivateKey
	ended := func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }
	forServers := func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }
	for name, tt := range map[string]struct {
		certs           []tls.Certificate
		anybody, listed bool
	}{
		"no certificate":              {nil, false, false},
		"of another authority":        {[]tls.Certificate{other.issue(names("a.peers.example"))}, false, false},
		"of the server's authority":   {[]tls.Certificate{root.issue(names("a.peers.example"))}, false, false},
		"with another's key":          {[]tls.Certificate{wrongKey}, false, false},
		"expired":                     {[]tls.Certificate{peers.issue(names("a.peers.example"), ended)}, false, false},
		"for servers only":            {[]tls.Certificate{peers.issue(names("a.peers.example"), forServers)}, false, false},
		"outside its authority's":     {[]tls.Certificate{narrow.issue(names("a.peers.example"))}, false, false},
		"within its authority's":      {[]tls.Certificate{narrow.issue(names("a.narrow.example"))}, true, true},
		"good, wildcard":              {[]tls.Certificate{peers.issue(names("a.peers.example"))}, true, true},
		"good, in capitals":           {[]tls.Certificate{peers.issue(names("A.PEERS.example"))}, true, true},
		"good, exact":                 {[]tls.Certificate{peers.issue(names("unlisted.example", "exact.example"))}, true, true},
		"good, URI":                   {[]tls.Certificate{peers.issue(uri("spiffe://x/backend"))}, true, true},
		"not listed":                  {[]tls.Certificate{peers.issue(names("a.example", "peers.example", "a.b.peers.example"))}, true, false},
		"not listed, URI":             {[]tls.Certificate{peers.issue(uri("spiffe://x/backend/2"))}, true, false},
		"nameless":                    {[]tls.Certificate{peers.issue()}, true, false},
		"a DNS name that seems a URI": {[]tls.Certificate{peers.issue(names("spiffe://x/backend"))}, true, false},
		"a wildcard itself":           {[]tls.Certificate{peers.issue(names("*.peers.example"))}, true, true}, // listed in so many words
	} {
		t.Run(name, func(t *testing.T) {
			// GetClientCertificate, for Certificates would hold back what the server did not ask for
			config := &tls.Config{RootCAs: root.pool, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				if len(tt.certs) == 0 {
					return &tls.Certificate{}, nil
				}
				return &tt.certs[0], nil
			}}
			if _, err := visit(anybody.urls[0], config); (err == nil) != tt.anybody {
				t.Errorf("where any name will do: %v", err)
			}
			if _, err := visit(listed.urls[0], config); (err == nil) != tt.listed {
				t.Errorf("where names are listed: %v", err)
			}
		})
	}
	talks(t, anybody.urls[0], &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{
		RootCAs: root.pool, Certificates: []tls.Certificate{peers.issue(names("a.peers.example"))}}}})
}

func TestMutualTLSNeedsAnAuthority(t *testing.T) {
	root := newAuthority(t)
	server := secure(t, root)
	with := func(flags ...string) result {
		return finish(t, command(t, nil, append([]string{"serve", "--listen", "mtls://127.0.0.1:0"}, flags...)...), "")
	}
	fails(t, with(server.flags...), "needs --tls-client-ca")
	fails(t, with("--tls-client-ca", root.file), "and --tls-cert and --tls-key")
	fails(t, with(append(server.flags, "--tls-client-ca", server.key)...), "--tls-client-ca", "no certificate in it")
	fails(t, with(append(server.flags, "--tls-client-name", "a.example")...), "--tls-client-name: needs --tls-client-ca")
	for _, name := range []string{"", "*", "*.", "a.*.b", "*.*.b", ".b", "b.", "a b", "spiffe://", "a:b"} {
		fails(t, with(append(server.flags, "--tls-client-ca", root.file, "--tls-client-name="+name)...), "--tls-client-name")
	}
	for _, list := range []string{"tls://127.0.0.1:0", "tls://127.0.0.1:0,unix:///mtls://:1"} {
		elsewhere := append([]string{"serve", "--listen", list, "--tls-client-ca", root.file}, server.flags...)
		fails(t, run(t, "", elsewhere...), "--tls-client-ca: needs a listener", "--listen mtls://")
	}
	fails(t, with("--tls-cert", server.cert), "--tls-cert: needs --tls-key")
	fails(t, with("--tls-key", server.key), "--tls-key: needs --tls-cert")
	fails(t, with(append(server.flags, "--tls-min", "1.1")...), "--tls-min")
}

func TestTLSVersions(t *testing.T) {
	root := newAuthority(t)
	server := secure(t, root)
	old := &tls.Config{RootCAs: root.pool, MaxVersion: tls.VersionTLS12, Certificates: []tls.Certificate{root.issue()}}
	older := old.Clone()
	older.MinVersion, older.MaxVersion = tls.VersionTLS11, tls.VersionTLS11
	listen := append([]string{"--listen", "tls://127.0.0.1:0", "--listen", "mtls://127.0.0.1:0", "--tls-client-ca", root.file}, server.flags...)
	for least, want := range map[string]bool{"": false, "1.3": false, "1.2": true} {
		flags := listen
		if least != "" {
			flags = append(flags, "--tls-min", least)
		}
		s := serve(t, 2, []string{"SECRET=" + secret}, flags...)
		for _, url := range s.urls {
			if _, err := visit(url, old); (err == nil) != want {
				t.Errorf("--tls-min %q, TLS 1.2: %v", least, err)
			}
			if _, err := visit(url, older); err == nil {
				t.Errorf("--tls-min %q: TLS 1.1 is spoken", least)
			}
		}
	}
}

func TestCertificatesAreReadAgain(t *testing.T) {
	root := newAuthority(t)
	server := secure(t, root)
	peers, next := newAuthority(t), newAuthority(t)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	copyFile(t, ca, peers.file)
	s := serve(t, 1, []string{"SECRET=" + secret}, append([]string{"--listen", "mtls://127.0.0.1:0", "--tls-client-ca", ca}, server.flags...)...)
	go func() { // its log is read here as a whole
		for range s.stderr {
		}
	}()
	sessions := tls.NewLRUClientSessionCache(0)
	as := func(who *authority) *tls.Config {
		return &tls.Config{RootCAs: root.pool, Certificates: []tls.Certificate{who.issue()}, ClientSessionCache: sessions}
	}
	early, late := as(peers), as(next)
	shown := func(config *tls.Config) *big.Int {
		state, err := visit(s.urls[0], config)
		if err != nil {
			t.Fatal(err)
		}
		return state.PeerCertificates[0].SerialNumber
	}
	first := shown(early)

	// another certificate
	renewed := root.issue(here)
	write(t, server.cert, server.key, renewed)
	eventually(t, "the new certificate is shown", func() bool { return shown(early).Cmp(renewed.Leaf.SerialNumber) == 0 })
	if first.Cmp(renewed.Leaf.SerialNumber) == 0 {
		t.Fatal("the test is void: the certificate is the same")
	}

	// bad ones: not its key, no certificate, none at all
	good, err := os.ReadFile(server.cert)
	if err != nil {
		t.Fatal(err)
	}
	for i, break_ := range []func(){
		func() { copyFile(t, server.cert, root.file) },
		func() { replace(t, server.cert, []byte("nonsense")) },
		func() { os.Remove(server.cert) },
	} {
		break_()
		eventually(t, "the bad files are reported", func() bool {
			if shown(early).Cmp(renewed.Leaf.SerialNumber) != 0 {
				t.Fatal("another certificate is shown")
			}
			return strings.Count(s.text(), "what was read before stays") == i+1
		})
	}
	replace(t, server.cert, good)

	// another authority of clients: those of the old one are out, whatever sessions they had
	if _, err := visit(s.urls[0], late); err == nil {
		t.Fatal("the test is void: the other authority's clients are in already")
	}
	copyFile(t, ca, next.file)
	eventually(t, "the new authority's clients are let in", func() bool { _, err := visit(s.urls[0], late); return err == nil })
	if _, err := visit(s.urls[0], early); err == nil {
		t.Error("the old authority's clients are still let in")
	}
	replace(t, ca, nil)
	eventually(t, "the empty file is reported", func() bool {
		if _, err := visit(s.urls[0], late); err != nil {
			t.Fatal(err)
		}
		return strings.Contains(s.text(), "no certificate in it")
	})
}

func copyFile(t testing.TB, to, from string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	replace(t, to, b)
}

// TestHellos sends what is no hello, or half of one, and looks whether others notice.
func TestHellos(t *testing.T) {
	root := newAuthority(t)
	s := serve(t, 1, []string{"SECRET=" + secret}, append([]string{"--listen", "tls://127.0.0.1:0"}, secure(t, root).flags...)...)
	at := strings.TrimPrefix(s.urls[0], "https://")
	hello := recordHello(t)
	other := func() { // who does nothing wrong
		t.Helper()
		tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: root.pool}}
		defer tr.CloseIdleConnections()
		start := time.Now()
		talks(t, s.urls[0], &http.Client{Transport: tr})
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("others wait for %v", took)
		}
	}

	// slow ones, which stay for the rest of the test
	for i := range 200 {
		c, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.Write(hello[:i*(len(hello)-1)/200])
	}
	other()

	// malformed ones
	var sending sync.WaitGroup
	for worker := range 8 {
		r := mrand.New(mrand.NewPCG(1, uint64(worker)))
		sending.Go(func() {
			for range 10_000 / 8 {
				c, err := net.Dial("tcp", at)
				if err != nil {
					t.Error(err)
					return
				}
				c.(*net.TCPConn).SetLinger(0)
				c.Write(malform(r, hello))
				c.Close()
			}
		})
	}
	other()
	sending.Wait()
	other()
}

// recordHello returns the first thing that a client says.
func recordHello(t testing.TB) []byte {
	t.Helper()
	client, server := net.Pipe()
	go tls.Client(client, &tls.Config{ServerName: "localhost"}).Handshake()
	defer client.Close()
	b := make([]byte, 64<<10)
	n, err := io.ReadAtLeast(server, b, 5)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

// malform returns a hello with some bytes wrong, cut short, or with none of it right.
func malform(r *mrand.Rand, hello []byte) []byte {
	b := bytes.Clone(hello)
	switch r.IntN(4) {
	case 0:
		b = b[:r.IntN(len(b))]
	case 1:
		b = make([]byte, r.IntN(300))
		fallthrough
	default:
		for range 1 + r.IntN(20) {
			if len(b) > 0 {
				b[r.IntN(len(b))] = byte(r.Uint32())
			}
		}
	}
	return b
}
