// Package testport gives tests ports that must be known before something listens on them, or that something listens
// on again later.
package testport

import (
	"math/rand/v2"
	"net"
	"strconv"
	"sync/atomic"
	"testing"
)

// Port 0 gives ports that the system also gives to outgoing connections: one that was free a moment ago, or whose
// server was killed, may be one of theirs now. They begin at 32768 on Linux and at 49152 elsewhere (RFC 6335, section 6).
const first, end = 16384, 32768

// next goes round; it begins anywhere, since the tests of several packages run at once.
var next = func() (n atomic.Uint32) {
	n.Store(rand.Uint32N(end - first))
	return
}()

// Port returns a TCP port of 127.0.0.1 that nobody listens on, and that it does not return again soon.
func Port(t testing.TB) int {
	t.Helper()
	var err error
	for range 1000 {
		port := first + int(next.Add(1)%(end-first))
		var l net.Listener
		if l, err = net.Listen("tcp4", host(port)); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal(err)
	return 0
}

// Address returns 127.0.0.1 with a [Port].
func Address(t testing.TB) string {
	t.Helper()
	return host(Port(t))
}

// Addresses returns n of them.
func Addresses(t testing.TB, n int) []string {
	t.Helper()
	all := make([]string, n)
	for i := range all {
		all[i] = Address(t)
	}
	return all
}

func host(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
