package main

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// dropVanished has a connection end once nothing of what was sent was acknowledged for so long (TCP_USER_TIMEOUT,
// RFC 5482): its client is gone without a word. By itself the system tries for a quarter of an hour, as it does with
// Multipath TCP, which does not know the option.
func dropVanished(c net.Conn, after time.Duration) {
	tcp, ok := c.(*net.TCPConn)
	if !ok || after <= 0 {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) {
		unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(after.Milliseconds()))
	})
}
