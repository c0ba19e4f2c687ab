package web

import (
	"math"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// limiter limits how often each client address may do something. It remembers the addresses that came last;
// one that is forgotten begins with a full burst again.
type limiter struct {
	rate  rate.Limit
	burst int

	mu             sync.Mutex
	recent, before map[string]*rate.Limiter
}

// limited is how many addresses each of the two maps holds.
const limited = 20_000

// openLimiter returns nil, which limits nothing, if a number is below 0.
func openLimiter(perSecond float64, burst int) *limiter {
	if perSecond < 0 || burst < 0 {
		return nil
	}
	if perSecond == 0 {
		perSecond = 50
	}
	if burst == 0 {
		burst = 20_000
	}
	return &limiter{rate: rate.Limit(perSecond), burst: burst}
}

// quota returns nil, which limits nothing, if perSecond is 0. The burst is at least least, so that whatever is allowed
// at all is allowed at times, and what comes in ten seconds if it is 0.
func quota(perSecond float64, burst, least int) *limiter {
	if perSecond <= 0 {
		return nil
	}
	if burst <= 0 {
		burst = int(min(10*perSecond, math.MaxInt32))
	}
	return &limiter{rate: rate.Limit(perSecond), burst: max(burst, least)}
}

// wait returns 0 if the client may do n more, or how long it has to wait.
func (l *limiter) wait(client string, n int, now time.Time) time.Duration {
	if l == nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	lim := l.recent[client]
	if lim == nil {
		if lim = l.before[client]; lim == nil {
			lim = rate.NewLimiter(l.rate, l.burst)
		}
		if l.recent == nil || len(l.recent) >= limited {
			l.recent, l.before = make(map[string]*rate.Limiter), l.recent
		}
		l.recent[client] = lim
	}
	r := lim.ReserveN(now, min(n, l.burst)) // what is above the burst is above the limit of a body too, and refused for that
	delay := r.DelayFrom(now)
	if delay > 0 {
		r.CancelAt(now)
	}
	return delay
}

// remoteAddress is the connection's address, or its network where one client has many: an IPv6 /64.
func remoteAddress(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return network(host)
}

func network(host string) string {
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	ip = ip.Unmap().WithZone("")
	if ip.Is6() {
		if p, err := ip.Prefix(64); err == nil {
			return p.String()
		}
	}
	return ip.String()
}
