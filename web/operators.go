package web

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/genbrowser/genbrowser/web/problem"
)

// thisMachine is where operators are by default.
var thisMachine = []string{"127.0.0.0/8", "::1/128", "unix"}

// OperatorsAt returns a function for Options.Operator that lets in who comes from the given networks, such as
// "10.0.0.0/8", where "unix" stands for unix sockets; with none, from this machine. What comes from a loopback address
// in plain HTTP must be for a host without a domain, such as localhost or 127.0.0.1: a page of elsewhere can have a name of its
// own lead there. Behind proxies, which are named
// as for [ForwardedFor], the address counts that they vouch for.
//
// What came by way of another proxy is never an operator's: it has the address of that proxy, which often is on this
// machine. A proxy that does not say so, by X-Forwarded-For or another of the usual headers, can't be told from a
// client.
func OperatorsAt(places, proxies []string) (func(*http.Request) bool, error) {
	if len(places) == 0 {
		places = thisMachine
	}
	trusted, err := parseNetworks(proxies)
	if err != nil {
		return nil, err
	}
	sockets := slices.Contains(places, "unix")
	at, err := parseNetworks(slices.DeleteFunc(slices.Clone(places), func(p string) bool { return p == "unix" }))
	if err != nil {
		return nil, err
	}
	return func(r *http.Request) bool {
		host, sure := trusted.client(r)
		switch {
		case !sure:
			return false
		case r.Header.Get("X-Forwarded-For") != "":
			return at.contain(host)
		case throughProxy(r):
			return false
		case overSocket(r):
			return sockets
		}
		return at.contain(host) && !rebound(r, host)
	}, nil
}

// rebound reports whether a page may have sent a request that took this machine for its own host, since its name led
// here for a while (DNS rebinding). Such a name is of the public DNS, where none is without a dot, and has no certificate here.
func rebound(r *http.Request, from string) bool {
	if ip, err := netip.ParseAddr(from); err != nil || !ip.Unmap().IsLoopback() || r.TLS != nil {
		return false
	}
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return false
	}
	return strings.Contains(strings.TrimSuffix(host, "."), ".") && !strings.HasSuffix(host, ".localhost")
}

// throughProxy reports whether a proxy left its mark on a request.
func throughProxy(r *http.Request) bool {
	for _, name := range []string{"Forwarded", "Via", "X-Real-Ip", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if len(r.Header.Values(name)) > 0 {
			return true
		}
	}
	return false
}

func overSocket(r *http.Request) bool {
	_, _, err := net.SplitHostPort(r.RemoteAddr)
	return err != nil
}

// forOperators keeps others out, and pages of other origins that an operator looks at.
func (h *Handler) forOperators(f http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !h.operator(r) || ofOtherPage(r) {
			h.refuse(w, &problem.Problem{Kind: problem.OperatorsOnly, Detail: "see --operators"})
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		f(w, r)
	}
}

func ofOtherPage(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	_, host, _ := strings.Cut(origin, "://")
	return origin != "" && host != r.Host
}
