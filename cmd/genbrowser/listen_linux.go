package main

import (
	"context"
	"net"
	"syscall"
)

// listenPrivately listens on a socket that only this user can connect to. It never was open to more: the file gets the
// permissions that the socket has when it is bound.
func listenPrivately(path string) (net.Listener, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		controlled := c.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), 0o600) })
		if controlled != nil {
			return controlled
		}
		return err
	}}
	return config.Listen(context.Background(), "unix", path)
}
