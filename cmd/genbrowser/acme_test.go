package main_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestChallengeOfAnAuthority: it shows no certificate, may speak TLS 1.2, and gets its handshake, but nothing of the server.
func TestChallengeOfAnAuthority(t *testing.T) {
	root := newAuthority(t)
	token := root.issue(names("gb.example"))
	key, err := x509.MarshalPKCS8PrivateKey(token.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	cache := t.TempDir() // where a node finds what another one was challenged to
	content := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: token.Certificate[0]})...)
	if err := os.WriteFile(filepath.Join(cache, "gb.example+token"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	s := serve(t, 2, nil, "--listen", "tls://127.0.0.1:0", "--listen", "mtls://127.0.0.1:0", "--tls-client-ca", root.file,
		"--acme-domain", "gb.example", "--acme-cache", cache, "--acme-directory", "http://127.0.0.1:1/nowhere")
	for _, url := range s.urls {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			c, err := tls.Dial("tcp", strings.TrimPrefix(url, "https://"), &tls.Config{
				RootCAs: root.pool, ServerName: "gb.example", NextProtos: []string{"acme-tls/1"}, MaxVersion: version,
			})
			if err != nil {
				t.Errorf("%s, version %x: %v", url, version, err)
				continue
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(30 * time.Second))
			if got := c.ConnectionState(); got.NegotiatedProtocol != "acme-tls/1" || !got.PeerCertificates[0].Equal(token.Leaf) {
				t.Errorf("%s: speaks %q and shows a certificate for %q", url, got.NegotiatedProtocol, got.PeerCertificates[0].DNSNames)
			}
			io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: gb.example\r\n\r\n")
			if b, _ := io.ReadAll(c); len(b) > 0 {
				t.Errorf("%s answers %q", url, b)
			}
		}
		// who speaks HTTP as well gets no such exception
		c, err := tls.Dial("tcp", strings.TrimPrefix(url, "https://"), &tls.Config{
			RootCAs: root.pool, ServerName: "gb.example", NextProtos: []string{"acme-tls/1", "http/1.1"},
		})
		if err == nil {
			c.Close()
			t.Errorf("%s: HTTP beside the challenge gets a handshake", url)
		}
	}
}
