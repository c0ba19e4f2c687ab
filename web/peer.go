package web

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/netip"
	"strings"
	"sync"

	"github.com/genbrowser/genbrowser/server"
)

// Peer is who is at the other end of a request's connection. Behind a proxy that is the proxy: see [ForwardedFor] for
// whom it speaks for.
type Peer struct {
	// Transport is "unix", "tcp", "tls", or "mtls" if the peer showed a certificate that was verified; "" if unknown.
	Transport string
	// Remote is false if the peer is on this machine for sure: at a unix socket or a loopback address.
	Remote bool
	// Names are the DNS names (in lower case) and URIs that its verified certificate is for, with mtls; else none. A
	// name with "://" in it is a URI, another one is not.
	Names []string
	// Process is the program that connected to a unix socket, where the system tells (Linux); else nil.
	Process *Process
}

// Process is the program at the other end of a unix socket, as it was when it connected.
type Process struct {
	UID, GID int // its effective user and group
	PID      int // 0 if it is of another container
}

type peerKey struct{}

// connection is what is known of one when it comes; the rest is its TLS handshake's.
type connection struct {
	net.Conn
	plain *plain // nil unless its listener is of NewListener
	peer  Peer

	proved sync.Once
	sender *server.Sender // once proved is done
}

// ConnContext makes the peer known to [PeerOf]. It is for http.Server.ConnContext.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	p, _ := c.(*plain)
	if p != nil {
		c = p.Conn
	}
	raw, peer := c, Peer{Transport: "tcp", Remote: true}
	if t, ok := c.(*tls.Conn); ok {
		raw, peer.Transport = t.NetConn(), "tls"
	}
	peer.Remote = !isLoopback(raw.RemoteAddr())
	if u, ok := raw.(*net.UnixConn); ok {
		peer.Remote, peer.Process = false, processOf(u)
		if raw == c {
			peer.Transport = "unix"
		}
	}
	return context.WithValue(ctx, peerKey{}, &connection{Conn: c, plain: p, peer: peer})
}

// PeerOf returns who sent the request of a context, r.Context(). With a server that has no [ConnContext], it is a
// remote peer of which nothing is known.
func PeerOf(ctx context.Context) Peer {
	c, ok := ctx.Value(peerKey{}).(*connection)
	if !ok {
		return Peer{Remote: true}
	}
	return c.now()
}

// now returns the peer of a connection whose handshake is over.
func (c *connection) now() Peer {
	peer := c.peer
	if t, ok := c.Conn.(*tls.Conn); ok {
		if chains := t.ConnectionState().VerifiedChains; len(chains) > 0 {
			peer.Transport, peer.Names = "mtls", CertificateNames(chains[0][0])
		}
	}
	return peer
}

// CertificateNames returns the names of [Peer.Names] that a certificate is for. Its common name is none of them.
func CertificateNames(c *x509.Certificate) []string {
	var names []string
	for _, n := range c.DNSNames {
		if !strings.ContainsAny(n, ":/") { // or it could pass for a URI
			names = append(names, strings.ToLower(n))
		}
	}
	for _, u := range c.URIs {
		if text := u.String(); strings.Contains(text, "://") {
			names = append(names, text)
		}
	}
	return names
}

func isLoopback(a net.Addr) bool {
	at, err := netip.ParseAddrPort(a.String())
	return err == nil && at.Addr().Unmap().IsLoopback()
}
