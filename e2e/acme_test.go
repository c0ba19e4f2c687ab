//go:build linux

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/internal/testport"
	"golang.org/x/net/dns/dnsmessage"
)

// pebble is Let's Encrypt's own small authority for tests.
const pebble = "github.com/letsencrypt/pebble/v2/cmd/pebble@v2.10.1"

// TestACME gets a certificate from a real authority, which calls back to see that the name is ours.
func TestACME(t *testing.T) {
	dir := t.TempDir()
	callback := testport.Port(t)
	directory := startPebble(t, dir, callback)

	cmd := exec.Command(programPath, "serve", "--listen", fmt.Sprintf("tls://127.0.0.1:%d", callback), "--log-format", "json", "--log-level", "debug",
		"--acme-domain", "gb.localhost", "--acme-cache", filepath.Join(dir, "cache"), "--acme-directory", directory)
	cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+filepath.Join(dir, "pebble.pem"))
	p := startCommand(t, cmd)

	var issuer string
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{
		ServerName: "gb.localhost",
		// the authority's root is made anew each time it starts; its name is what can be checked
		InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			issuer = s.PeerCertificates[0].Issuer.CommonName
			return s.PeerCertificates[0].VerifyHostname("gb.localhost")
		},
	}}}
	resp, err := client.Get(p.url + "/readyz")
	if err != nil {
		t.Fatalf("%v\n%s", err, p.log)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 || resp.ProtoMajor != 2 || len(issuer) < 6 || issuer[:6] != "Pebble" {
		t.Errorf("got %s over %s, certificate from %q", resp.Status, resp.Proto, issuer)
	}
	other := client.Transport.(*http.Transport).Clone()
	other.TLSClientConfig.ServerName = "other.localhost"
	if _, err := (&http.Client{Transport: other}).Get(p.url); err == nil {
		t.Error("a certificate was given out for a name that is not ours")
	}
}

// startPebble returns the URL of its directory.
func startPebble(t *testing.T, dir string, callback int) string {
	t.Helper()
	selfSigned(t, dir)
	port := testport.Port(t)
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": fmt.Sprintf("127.0.0.1:%d", port), "managementListenAddress": fmt.Sprintf("127.0.0.1:%d", testport.Port(t)),
		"certificate": filepath.Join(dir, "pebble.pem"), "privateKey": filepath.Join(dir, "pebble.key"),
		"httpPort": testport.Port(t), "tlsPort": callback,
		"profiles": map[string]any{"default": map[string]any{"description": "for tests", "validityPeriod": 86400}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "pebble.json")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	install := exec.Command("go", "install", pebble)
	install.Env = append(os.Environ(), "GOBIN="+dir)
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("install pebble: %v\n%s", err, out)
	}
	cmd := exec.Command(filepath.Join(dir, "pebble"), "-config", file, "-dnsserver", nameServer(t))
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0")
	log := &lines{}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("pebble:\n%s", log)
		}
	})
	within(t, 20*time.Second, "pebble listens", func() bool {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return fmt.Sprintf("https://127.0.0.1:%d/dir", port)
}

// nameServer answers, over TCP, that every name is this machine's, and returns its own address.
func nameServer(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go answerNames(c)
		}
	}()
	return l.Addr().String()
}

func answerNames(c net.Conn) {
	defer c.Close()
	for {
		var size uint16 // RFC 1035 §4.2.2
		if binary.Read(c, binary.BigEndian, &size) != nil {
			return
		}
		b := make([]byte, size)
		var m dnsmessage.Message
		if _, err := io.ReadFull(c, b); err != nil || m.Unpack(b) != nil || len(m.Questions) != 1 {
			return
		}
		m.Response, m.Additionals = true, nil
		if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
			header := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 60}
			m.Answers = []dnsmessage.Resource{{Header: header, Body: &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}}}}
		}
		answer, err := m.Pack()
		if err != nil {
			return
		}
		c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...))
	}
}

// Write makes lines what a process writes to.
func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

// selfSigned writes pebble.pem and pebble.key, for 127.0.0.1.
func selfSigned(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "pebble"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"pebble.pem": {Type: "CERTIFICATE", Bytes: cert}, "pebble.key": {Type: "EC PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
