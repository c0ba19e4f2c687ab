package web

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// ForwardedFor returns a function for Options.ClientAddress that believes the X-Forwarded-For header as far as
// it was written by proxies within the given networks, such as "10.0.0.0/8", or, for "unix", at the other end of a unix
// socket. With none it is the default.
func ForwardedFor(proxies ...string) (func(*http.Request) string, error) {
	if len(proxies) == 0 {
		return remoteAddress, nil
	}
	trusted, err := parseNetworks(proxies)
	if err != nil {
		return nil, err
	}
	return func(r *http.Request) string {
		host, _ := trusted.client(r)
		return network(host)
	}, nil
}

// networks are where somebody may be.
type networks struct {
	all     []netip.Prefix
	sockets bool // and at unix sockets
}

func parseNetworks(texts []string) (n networks, err error) {
	for _, text := range texts {
		if text == "unix" {
			n.sockets = true
			continue
		}
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return networks{}, fmt.Errorf("%q is no network; want one such as 10.0.0.0/8, or unix", text)
		}
		n.all = append(n.all, p)
	}
	return n, nil
}

func (n *networks) contain(host string) bool {
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	ip = ip.Unmap().WithZone("")
	for _, p := range n.all {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// client returns the address of who sent the request, as far as proxies that are trusted vouch for it. It is not
// sure if there is a header that none of them wrote, or that names what is no address.
func (trusted *networks) client(r *http.Request) (host string, sure bool) {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	believed := trusted.contain(host)
	if err != nil { // a unix socket, whose other end is on this machine
		host, believed = r.RemoteAddr, trusted.sockets
	}
	header := r.Header.Values("X-Forwarded-For")
	if len(header) == 0 || !believed {
		return host, len(header) == 0
	}
	// from the right: each trusted hop vouches for the one before it
	hops := strings.Split(strings.Join(header, ","), ",")
	for i := len(hops) - 1; i >= 0 && believed; i-- {
		hop, ok := hopAddress(strings.TrimSpace(hops[i]))
		if !ok {
			return host, false
		}
		host, believed = hop, trusted.contain(hop)
	}
	return host, true
}

// hopAddress returns the address of a hop, which some proxies write with its port: one for each connection.
func hopAddress(hop string) (string, bool) {
	if at, err := netip.ParseAddrPort(hop); err == nil {
		return at.Addr().String(), true
	}
	ip, err := netip.ParseAddr(strings.Trim(hop, "[]"))
	return ip.String(), err == nil
}
