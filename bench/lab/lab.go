// Package lab is what the programs that measure share: servers in processes of their own, what those take, and
// connections to them from more addresses than one.
package lab

import (
	"net"
	"os"
)

// Dial makes connection i to a server. Connections come from many loopback addresses, others in each process, so
// that neither ports run out nor what a server grants one address.
func Dial(addr string, i int) (net.Conn, error) {
	from := net.IPv4(127, byte(1+os.Getpid()%250), byte(1+i/5000), 1)
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from}}
	return d.Dial("tcp", addr)
}
