//go:build unix

package web

import "syscall"

const canTryWrite = true

// tryWrite writes once to a socket, which the runtime has made non-blocking.
func tryWrite(fd uintptr, b []byte) (int, error) {
	for {
		n, err := syscall.Write(int(fd), b)
		switch err {
		case nil:
			return n, nil
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			return 0, nil
		}
		return 0, err
	}
}
