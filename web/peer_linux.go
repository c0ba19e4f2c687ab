package web

import (
	"net"
	"syscall"
)

// processOf asks the system, which noted it when the peer connected; nil if it does not tell.
func processOf(c *net.UnixConn) *Process {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil
	}
	var cred *syscall.Ucred
	controlled := raw.Control(func(fd uintptr) {
		cred, err = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if controlled != nil || err != nil {
		return nil
	}
	return &Process{UID: int(cred.Uid), GID: int(cred.Gid), PID: int(cred.Pid)}
}
