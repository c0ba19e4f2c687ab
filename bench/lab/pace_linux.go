package lab

import (
	"context"
	"encoding/binary"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Pace returns a function that waits until the next thing is due, and says when that was: first after a while, then
// at every interval, whether or not the caller is late. Its error says that ctx is done.
//
// The runtime's own timers may be a millisecond late while nothing else happens, which is more than what is measured.
func Pace(ctx context.Context, first, interval time.Duration) (func() (time.Time, error), error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("timerfd_create", err)
	}
	timer := os.NewFile(uintptr(fd), "timer")
	first = max(first, 1) // none would stop the timer
	next := time.Now().Add(first)
	err = unix.TimerfdSettime(fd, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(first)), Interval: unix.NsecToTimespec(int64(interval))}, nil)
	if err != nil {
		timer.Close()
		return nil, os.NewSyscallError("timerfd_settime", err)
	}
	context.AfterFunc(ctx, func() { timer.Close() })
	due := uint64(0)
	return func() (time.Time, error) {
		if due == 0 {
			var passed [8]byte
			if _, err := timer.Read(passed[:]); err != nil {
				return time.Time{}, context.Cause(ctx)
			}
			due = binary.NativeEndian.Uint64(passed[:])
		}
		if err := ctx.Err(); err != nil {
			return time.Time{}, err
		}
		at := next
		next = next.Add(interval)
		due--
		return at, nil
	}, nil
}
