package client

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"
)

// endpoint is where a server is.
type endpoint struct {
	scheme string // http, https or unix
	host   string // with the port, if it has one; "" for unix
	path   string // before the prefix of the routes, or of the socket
}

func parseEndpoint(text string) (endpoint, error) {
	u, err := url.Parse(text)
	if err == nil {
		switch u.Scheme {
		case "http", "https":
			if u.Host != "" {
				return endpoint{u.Scheme, u.Host, strings.TrimRight(u.Path, "/")}, nil
			}
		case "unix":
			if u.Host == "" && u.Path != "" && u.RawQuery == "" && u.Fragment == "" {
				return endpoint{scheme: u.Scheme, path: u.Path}, nil
			}
		}
	}
	return endpoint{}, fmt.Errorf("client: endpoint %q: want a URL such as https://example.com or unix:///run/gb.sock", text)
}

// base is what the URLs of requests begin with.
func (e endpoint) base() string {
	if e.scheme == "unix" {
		return "http://localhost"
	}
	return e.scheme + "://" + e.host + e.path
}

// name is its host without the port, in lower case.
func (e endpoint) name() string {
	return strings.ToLower((&url.URL{Host: e.host}).Hostname())
}

// same reports whether two endpoints are one place, whatever path is asked for there.
func (e endpoint) same(o endpoint) bool {
	if e.scheme != o.scheme {
		return false
	}
	return e.scheme == "unix" && e.path == o.path || e.scheme != "unix" && e.name() == o.name() && e.port() == o.port()
}

func (e endpoint) port() string {
	port := (&url.URL{Host: e.host}).Port()
	switch {
	case port != "":
		return port
	case e.scheme == "https":
		return "443"
	}
	return "80"
}

// isLoopback reports whether its host is this machine, wherever that is said.
func (e endpoint) isLoopback() bool {
	ip, err := netip.ParseAddr(e.name())
	return err == nil && ip.Unmap().IsLoopback() || e.name() == "localhost"
}

// httpFor returns what makes the requests of [New].
func (o *Options) httpFor(e endpoint) (*http.Client, error) {
	switch {
	case o.HTTP != nil && o.TLS != nil:
		return nil, errors.New("client: Options.HTTP and TLS: want one of them; HTTP's transport has a TLSClientConfig of its own")
	case o.HTTP != nil && e.scheme == "unix":
		return nil, errors.New("client: Options.HTTP can't reach a unix socket; leave it out")
	case o.TLS != nil && e.scheme == "http":
		return nil, fmt.Errorf("client: Options.TLS is of no use with http://%s; want https", e.host)
	case o.HTTP != nil:
		return o.HTTP, nil
	case e.scheme == "unix":
		return overSocket(e.path), nil
	case o.TLS != nil:
		return overTLS(o.TLS), nil
	}
	return direct(), nil
}

// direct shares its connections with the program's other clients. An http.DefaultTransport of the program's own making
// is used as it is.
var direct = sync.OnceValue(func() *http.Client {
	if _, ok := http.DefaultTransport.(*http.Transport); !ok {
		return &http.Client{CheckRedirect: noRedirect}
	}
	return overTLS(nil)
})

// overSocket makes every request to a unix socket.
func overSocket(path string) *http.Client {
	t := newTransport()
	t.Proxy = nil
	t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	return &http.Client{Transport: t, CheckRedirect: noRedirect}
}

// overTLS has connections of its own. Without a config it takes that of the system.
func overTLS(config *tls.Config) *http.Client {
	t := newTransport()
	if config != nil {
		t.TLSClientConfig = config.Clone()
	}
	return &http.Client{Transport: t, CheckRedirect: noRedirect}
}

// overPlain makes requests to addresses of these networks only, whatever names stand for when it connects.
func overPlain(allowed []netip.Prefix) *http.Client {
	t := newTransport()
	t.Proxy = nil
	dialer := &net.Dialer{Timeout: 30 * time.Second, Control: func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil || !within(allowed, at.Addr()) {
			return fmt.Errorf("%w: plain TCP to %s is not allowed", ErrNoTransport, address)
		}
		return nil
	}}
	t.DialContext = dialer.DialContext
	return &http.Client{Transport: t, CheckRedirect: noRedirect}
}

// pings tell whether a connection of HTTP/2 still lives. A request that is given up ends its stream and no more: the next
// one would be made on the same connection, although that is dead.
var pings = http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second}

func newTransport() *http.Transport {
	t := &http.Transport{ForceAttemptHTTP2: true, IdleConnTimeout: 90 * time.Second, TLSHandshakeTimeout: 10 * time.Second}
	if usual, ok := http.DefaultTransport.(*http.Transport); ok {
		t = usual.Clone()
	}
	if t.HTTP2 == nil {
		t.HTTP2 = new(http.HTTP2Config)
	}
	t.HTTP2.SendPingTimeout = cmp.Or(t.HTTP2.SendPingTimeout, pings.SendPingTimeout)
	t.HTTP2.PingTimeout = cmp.Or(t.HTTP2.PingTimeout, pings.PingTimeout)
	return t
}

// noRedirect keeps requests, and the keys in them, where they were sent.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func within(networks []netip.Prefix, ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	for _, n := range networks {
		if n.Contains(ip) {
			return true
		}
	}
	return false
}
