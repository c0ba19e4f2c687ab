//go:build unix

package sock

import "syscall"

// CanTry says whether there are TryRead and TryWrite.
const CanTry = true

// TryRead reads what a socket has, which the runtime has made non-blocking. There is nothing yet if again, and no more to
// come if n is 0 otherwise.
func TryRead(fd uintptr, b []byte) (n int, again bool, err error) { return try(read, fd, b) }

// TryWrite writes to such a socket what can be written without waiting: fewer bytes than b, and no error, if that is less.
func TryWrite(fd uintptr, b []byte) (n int, err error) {
	for n < len(b) {
		k, _, err := try(write, fd, b[n:])
		if n += k; err != nil || k < min(len(b)-n+k, most) {
			return n, err
		}
	}
	return n, nil
}

// most is how much one system call reads or writes: nothing stops the world meanwhile.
const most = 64 << 10

func try(call func(fd uintptr, b []byte) (int, error), fd uintptr, b []byte) (n int, again bool, err error) {
	for {
		n, err := call(fd, b[:min(len(b), most)])
		switch err {
		case nil:
			return n, false, nil
		case syscall.EINTR:
		case syscall.EAGAIN:
			return 0, true, nil
		default:
			return 0, false, err
		}
	}
}
