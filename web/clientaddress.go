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
func ForwardedFor(networks ...string) (func(*http.Request) string, error) {
	if len(networks) == 0 {
		return remoteAddress, nil
	}
	var trusted []netip.Prefix
	for _, n := range networks {
		p, err := netip.ParsePrefix(n)
		if err != nil {
			return nil, fmt.Errorf("%q is no network; want one such as 10.0.0.0/8", n)
		}
		trusted = append(trusted, p)
	}
	isTrusted := func(host string) bool {
		ip, err := netip.ParseAddr(host)
		if err != nil {
			return false
		}
		for _, p := range trusted {
			if p.Contains(ip.Unmap()) {
				return true
			}
		}
		return false
	}
	return func(r *http.Request) string {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		believed := isTrusted(host)
		if err != nil { // a unix socket, whose other end is on this machine
			host, believed = r.RemoteAddr, true
		}
		// from the right: each trusted hop vouches for the one before it
		hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
		for i := len(hops) - 1; i >= 0 && believed; i-- {
			hop := strings.TrimSpace(hops[i])
			if hop == "" {
				break
			}
			host, believed = hop, isTrusted(hop)
		}
		return network(host)
	}, nil
}
