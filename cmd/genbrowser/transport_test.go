package main_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/client"
	"github.com/genbrowser/genbrowser/internal/machine"
)

// chosen connects to a server, talks to it, and returns the transport that was chosen.
func chosen(t testing.TB, endpoint string, o client.Options) (string, error) {
	t.Helper()
	var got string
	o.Select = func(offers []client.Offer) (client.Offer, error) {
		offer, err := client.DefaultSelect(offers)
		got = offer.Transport
		return offer, err
	}
	c, err := client.Connect(t.Context(), endpoint, o)
	if err != nil {
		return "", err
	}
	defer c.CloseIdleConnections()
	box := openBox(t, c)
	defer box.Close(t.Context())
	if err := c.Send(t.Context(), box.Address(), 1); err != nil {
		t.Fatal(err)
	}
	for m, err := range box.Messages(t.Context()) {
		if err != nil || string(m.Body) != "1" {
			t.Fatalf("got %s, %v", m.Body, err)
		}
		break
	}
	return got, nil
}

func TestTransportsAreChosen(t *testing.T) {
	if machine.ID() == "" {
		t.Skip("this machine has no ID")
	}
	root := newAuthority(t)
	certificate := root.issue()
	trust := &tls.Config{RootCAs: root.pool}
	known := &tls.Config{RootCAs: root.pool, Certificates: []tls.Certificate{certificate}}
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	socket := "unix://" + filepath.Join(t.TempDir(), "s")
	files := secure(t, root)
	for _, tt := range []struct {
		listen string // the first is asked
		o      client.Options
		want   string
	}{
		{"tcp unix tls mtls", client.Options{TLS: known}, "unix"},
		{"tls unix tcp", client.Options{TLS: trust}, "unix"},
		{"mtls unix", client.Options{TLS: known}, "unix"},
		{"tcp tls mtls", client.Options{TLS: trust}, "tls"},
		{"tcp mtls", client.Options{TLS: known}, "mtls"},
		{"tcp mtls", client.Options{TLS: trust}, "tcp"}, // without a certificate, what the caller asked for
		{"mtls tcp", client.Options{TLS: known}, "mtls"},
		{"tls tcp", client.Options{TLS: trust, AllowPlain: loopback}, "tls"},
		{"tcp", client.Options{}, "tcp"},
		{"unix tls tcp", client.Options{TLS: trust}, "unix"},
		{"tcp unix", client.Options{HTTP: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}, "tcp"},
	} {
		args, places := files.flags, strings.Fields(tt.listen)
		for _, transport := range places {
			at := transport + "://127.0.0.1:0"
			switch transport {
			case "unix":
				at = socket
			case "mtls":
				args = append(args, "--tls-client-ca", root.file)
			}
			args = append(args, "--listen", at)
		}
		s := serve(t, len(places), []string{"SECRET=" + secret}, args...)
		if got, err := chosen(t, s.urls[0], tt.o); got != tt.want {
			t.Errorf("of %s it chooses %q, %v, want %s", tt.listen, got, err, tt.want)
		}
		http.DefaultClient.CloseIdleConnections()
		s.stop()
	}
}

// TestTLSOfBothSides lets the Go client meet servers that it should not trust, and that should not trust it.
func TestTLSOfBothSides(t *testing.T) {
	root, other, peers := newAuthority(t), newAuthority(t), newAuthority(t)
	files := secure(t, root)
	s := serve(t, 4, []string{"SECRET=" + secret}, append([]string{"--listen", "tls://127.0.0.1:0", "--listen", "mtls://127.0.0.1:0", "--listen", "tcp4://127.0.0.1:0",
		"--listen", "tls://127.0.0.2:0", "--tls-client-ca", peers.file, "--tls-client-name", "*.peers.example"}, files.flags...)...)
	secured, mutual, plain, elsewhere := s.urls[0], s.urls[1], s.urls[2], s.urls[3]
	stolen := root.issue(here)
	stolen.PrivateKey = other.issue().PrivateKey
	ended := root.issue(here, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	forClients := root.issue(here, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
	swap := func(url, to string) string { _, rest, _ := strings.Cut(url, "://"); return to + "://" + rest }
	// the client shows it even to a server that wants another authority's
	show := func(c tls.Certificate) *tls.Config {
		return &tls.Config{RootCAs: root.pool, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c, nil }}
	}
	trust := &tls.Config{RootCAs: root.pool}
	const refused = "client: discover: " // with TLS 1.3 the server's alert says why, or comes too late to be read
	for name, tt := range map[string]struct {
		url    string
		config *tls.Config
		want   string // of the error; "" if it works
	}{
		"trusted":                  {secured, trust, ""},
		"the system's authorities": {secured, nil, "unknown authority"},
		"another authority":        {secured, &tls.Config{RootCAs: other.pool}, "unknown authority"},
		"no authority":             {secured, &tls.Config{RootCAs: x509.NewCertPool()}, "unknown authority"},
		"another host":             {elsewhere, trust, "not 127.0.0.2"},
		"another name":             {secured, &tls.Config{RootCAs: root.pool, ServerName: "gb.example"}, "not gb.example"},
		"another's key":            {impostor(t, stolen), trust, "invalid signature"},
		"expired":                  {impostor(t, ended), trust, "expired"},
		"a client's certificate":   {impostor(t, forClients), trust, "incompatible key usage"},

		"known":                      {mutual, show(peers.issue(names("a.peers.example"))), ""},
		"no certificate":             {mutual, trust, refused},
		"of another authority":       {mutual, show(other.issue(names("a.peers.example"))), refused},
		"of the server's authority":  {mutual, show(root.issue(names("a.peers.example"))), refused},
		"not listed":                 {mutual, show(peers.issue(names("a.example"))), refused},
		"known, to the wrong server": {impostor(t, other.issue(here)), show(peers.issue(names("a.peers.example"))), "unknown authority"},
		"plain text to TLS":          {swap(secured, "http"), nil, "400"},
		"plain text to mutual TLS":   {swap(mutual, "http"), nil, "400"},
		"TLS to plain text":          {swap(plain, "https"), trust, "HTTP response to HTTPS client"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := chosen(t, tt.url, client.Options{TLS: tt.config})
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if tt.want == "" {
				return
			}
			c, err := client.New(tt.url, client.Options{TLS: tt.config, OpenWithin: time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			defer c.CloseIdleConnections()
			if box, err := c.Open(t.Context()); err == nil {
				t.Errorf("without asking first, it gets the mailbox %v", box.Address())
			}
		})
	}
	http.DefaultClient.CloseIdleConnections()
}

// impostor is a server with a certificate of its own choice.
func impostor(t testing.TB, certificate tls.Certificate) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequestClientCert},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Write([]byte(`{"protocol":1,"prefix":"/_gb"}`))
		})}
	go srv.ServeTLS(l, "", "")
	t.Cleanup(func() { srv.Close() })
	return "https://" + l.Addr().String()
}

// TestPlainIsRefused: a server that offers plain TCP only, to who did not allow it.
func TestPlainIsRefused(t *testing.T) {
	s := serve(t, 1, []string{"SECRET=" + secret}, "--listen", "tcp4://127.0.0.1:0", "--advertise", "tcp://192.0.2.1:80", "--advertise", "tcp://:81")
	// as if it were far away
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", strings.TrimPrefix(s.urls[0], "http://"))
	}}
	o := client.Options{HTTP: &http.Client{Transport: transport}}
	if got, err := chosen(t, "http://192.0.2.1", o); !errors.Is(err, client.ErrNoTransport) {
		t.Errorf("it chooses %q, %v", got, err)
	}
	o.AllowPlain = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/31")}
	if got, err := chosen(t, "http://192.0.2.1", o); got != "tcp" {
		t.Errorf("where it is allowed it chooses %q, %v", got, err)
	}
}
