package main

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"

	"github.com/genbrowser/genbrowser/internal/machine"
	"github.com/genbrowser/genbrowser/web"
)

// places are what discovery lists.
type places []place

// place is a listener as clients may call it.
type place struct {
	transport string // tcp, tls, mtls or unix
	host      string // "" where it is the one that the client called
	port      string // "" for the scheme's own
	path      string // of a unix socket
	family    string // tcp4 or tcp6 if its addresses are only such
}

// parsePlaces reads --advertise.
func parsePlaces(specs []string) (all places, err error) {
	for _, spec := range specs {
		p, err := parsePlace(spec)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// placesOf are where the server listens.
func placesOf(listeners []listener) (all places) {
	for _, l := range listeners {
		at := l.Addr().String()
		if l.transport == "unix" {
			all = append(all, place{transport: "unix", path: at})
			continue
		}
		host, port, _ := net.SplitHostPort(at)
		all = append(all, place{transport: l.transport, host: specified(host), port: port, family: l.family})
	}
	return all
}

func parsePlace(spec string) (place, error) {
	wrong := fmt.Errorf("--advertise %q: want a URL such as https://gb.example.com, mtls://gb.example.com:8444, tcp://:8080 or unix:///run/gb.sock", spec)
	u, err := url.Parse(spec)
	if err != nil || u.RawQuery != "" || u.Fragment != "" || u.User != nil || u.Opaque != "" {
		return place{}, wrong
	}
	transport, ok := map[string]string{
		"unix": "unix", "tcp": "tcp", "tcp4": "tcp", "tcp6": "tcp", "http": "tcp", "tls": "tls", "https": "tls", "mtls": "mtls",
	}[u.Scheme]
	switch {
	case !ok:
		return place{}, wrong
	case transport == "unix":
		if u.Host != "" || u.Path == "" {
			return place{}, wrong
		}
		return place{transport: transport, path: u.Path}, nil
	case u.Host == "" || u.Path != "" && u.Path != "/":
		return place{}, wrong
	}
	return place{transport: transport, host: specified(u.Hostname()), port: u.Port(), family: u.Scheme}, nil
}

// specified returns no host for an address that stands for all of a machine's.
func specified(host string) string {
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
		return ""
	}
	return host
}

// listed is the list for a client that called this host, as in its Host header.
func (all places) listed(called string) []web.Listener {
	called = (&url.URL{Host: called}).Hostname()
	var list []web.Listener
	for _, p := range all {
		if l, ok := p.listed(called); ok {
			list = append(list, l)
		}
	}
	return list
}

func (p place) listed(called string) (web.Listener, bool) {
	l := web.Listener{Transport: p.transport}
	if p.transport == "unix" {
		l.URL, l.Machine = (&url.URL{Scheme: "unix", Path: p.path}).String(), machine.ID()
		return l, l.Machine != ""
	}
	host := p.host
	if host == "" {
		if host = called; !p.reaches(host) {
			return l, false
		}
	} else if isLoopback(host) {
		if l.Machine = machine.ID(); l.Machine == "" {
			return l, false
		}
	}
	scheme := "https"
	if p.transport == "tcp" {
		scheme = "http"
	}
	l.URL = scheme + "://" + joinPort(host, p.port)
	return l, true
}

// reaches reports whether a client that calls this host can reach the listener by it.
func (p place) reaches(host string) bool {
	ip, err := netip.ParseAddr(host)
	switch {
	case err != nil:
		u, err := url.Parse("http://" + host)
		return err == nil && host != "" && u.Host == host
	case p.family == "tcp4":
		return ip.Unmap().Is4()
	case p.family == "tcp6":
		return !ip.Unmap().Is4()
	}
	return true
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback() || strings.EqualFold(host, "localhost")
}

func joinPort(host, port string) string {
	if port != "" {
		return net.JoinHostPort(host, port)
	}
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}
