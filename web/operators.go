package web

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/genbrowser/genbrowser/web/problem"
)

// thisMachine is where operators are by default.
var thisMachine = []string{"127.0.0.0/8", "::1/128", "unix"}

// OperatorsAt returns a function for Options.Operator that lets in who comes from the given networks, such as
// "10.0.0.0/8", where "unix" stands for unix sockets; with none, from this machine. Behind proxies, which are named
// as for [ForwardedFor], the address counts that they vouch for.
//
// What comes in plain HTTP must be for a host without a domain, such as localhost or 10.1.2.3, or for one of hosts: a page of
// elsewhere can have a name of its own lead here, and be looked at by an operator.
//
// What came by way of another proxy is never an operator's: it has the address of that proxy, which often is on this
// machine. A proxy that does not say so, by X-Forwarded-For or another of the usual headers, can't be told from a
// client.
func OperatorsAt(places, proxies []string, hosts ...string) (func(*http.Request) bool, error) {
	if len(places) == 0 {
		places = thisMachine
	}
	trusted, err := parseNetworks(proxies)
	if err != nil {
		return nil, err
	}
	at, err := parseNetworks(places)
	if err != nil {
		return nil, err
	}
	vouched := make(map[string]bool)
	for _, host := range hosts {
		vouched[plainHost(host)] = true
	}
	return func(r *http.Request) bool {
		host, sure := trusted.client(r)
		switch {
		case !sure, !overSocket(r) && mayBeRebound(r) && !vouched[plainHost(r.Host)]:
			return false
		case len(r.Header.Values("X-Forwarded-For")) > 0: // a client's empty line may stand before the proxy's
			return at.contain(host)
		case throughProxy(r):
			return false
		case overSocket(r):
			return at.sockets
		}
		return at.contain(host)
	}, nil
}

// mayBeRebound reports whether the name by which the server was called can be anybody's, who has it lead here for a while
// (DNS rebinding): it is of the public DNS, where none is without a dot, and no certificate proves it.
func mayBeRebound(r *http.Request) bool {
	if r.TLS != nil {
		return false
	}
	host := plainHost(r.Host)
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return false
	}
	return strings.Contains(host, ".") && !strings.HasSuffix(host, ".localhost")
}

// plainHost is a host as it is compared: without its port, in lower case.
func plainHost(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
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
			h.refuse(w, &problem.Problem{Kind: problem.OperatorsOnly, Detail: "call it by its address, or by a --operator-host; see --operators"})
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		f(w, r)
	}
}

func ofOtherPage(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	return origin != "" && !sameOrigin(r, origin)
}

// sameOrigin reports whether an origin is the server's own, as the request called it. A page in plain HTTP is anybody's on the
// way, and not the server's where that has TLS. Behind a proxy that ends TLS, the server itself has none.
func sameOrigin(r *http.Request, origin string) bool {
	scheme, host, _ := strings.Cut(origin, "://")
	return host == r.Host && (scheme == "https" || scheme == "http" && r.TLS == nil)
}
