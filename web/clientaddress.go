package web

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// ForwardedFor returns a function for Options.ClientAddress that believes the X-Forwarded-For header as far as
// it was written by proxies within the given networks, such as "10.0.0.0/8", or at the other end of a unix
// socket. With no network it is the default.
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

type networks []netip.Prefix

func parseNetworks(texts []string) (networks, error) {
	var all networks
	for _, n := range texts {
		p, err := netip.ParsePrefix(n)
		if err != nil {
			return nil, fmt.Errorf("%q is no network; want one such as 10.0.0.0/8", n)
		}
		all = append(all, p)
	}
	return all, nil
}

func (n networks) contain(host string) bool {
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	ip = ip.Unmap().WithZone("")
	for _, p := range n {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// client returns the address of who sent the request, as far as proxies that are trusted vouch for it. It is not
// sure if there is a header that none of them wrote, or that names nobody.
func (trusted networks) client(r *http.Request) (host string, sure bool) {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	believed := trusted.contain(host)
	if err != nil { // a unix socket, whose other end is on this machine
		host, believed = r.RemoteAddr, len(trusted) > 0
	}
	header := r.Header.Values("X-Forwarded-For")
	if len(header) == 0 || !believed {
		return host, len(header) == 0
	}
	// from the right: each trusted hop vouches for the one before it
	hops := strings.Split(strings.Join(header, ","), ",")
	for i := len(hops) - 1; i >= 0 && believed; i-- {
		hop := strings.TrimSpace(hops[i])
		if hop == "" {
			return host, false
		}
		host, believed = hop, trusted.contain(hop)
	}
	return host, true
}
