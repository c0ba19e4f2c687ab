package web

import (
	"os"
	"sync"
	"syscall"
)

// hangups notices that clients of taken connections went, with one goroutine for all of them: one for each would be
// half of what an idle stream takes. It is an epoll instance that the runtime waits for as it does for a socket, made
// when the first is watched: who has connections of another kind, as tests have, can do without.
type hangups struct {
	start sync.Once
	file  *os.File // nil if there is none
	fd    int
	done  chan struct{}

	mu sync.Mutex
	of []hangup // by the connection's descriptor
}

// hangup is who is told. The turn tells those apart that had the same descriptor one after the other.
type hangup struct {
	stream *stream
	turn   int32
}

func (h *hangups) open() {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return
	}
	if err := syscall.SetNonblock(fd, true); err != nil { // or os would not let the runtime wait for it
		syscall.Close(fd)
		return
	}
	h.file, h.fd, h.done = os.NewFile(uintptr(fd), "hangups"), fd, make(chan struct{})
	go h.run()
}

// watch has the stream cut when the other end of its socket goes, until the socket is closed. It reports whether it
// can do that.
func (h *hangups) watch(s *stream, sock *socket) bool {
	if sock.raw == nil {
		return false
	}
	if h.start.Do(h.open); h.file == nil {
		return false
	}
	watched := false
	err := sock.raw.Control(func(fd uintptr) {
		h.mu.Lock()
		defer h.mu.Unlock()
		for len(h.of) <= int(fd) {
			h.of = append(h.of, hangup{})
		}
		at := &h.of[fd]
		at.stream = s
		at.turn++
		event := syscall.EpollEvent{Events: syscall.EPOLLRDHUP | syscall.EPOLLONESHOT, Fd: int32(fd), Pad: at.turn}
		watched = syscall.EpollCtl(h.fd, syscall.EPOLL_CTL_ADD, int(fd), &event) == nil
	})
	return err == nil && watched
}

// forget must be called before the socket of a watched stream is closed, after which its descriptor may be another's.
func (h *hangups) forget(s *stream, sock *socket) {
	sock.raw.Control(func(fd uintptr) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if at := &h.of[fd]; at.stream == s {
			at.stream = nil
			syscall.EpollCtl(h.fd, syscall.EPOLL_CTL_DEL, int(fd), nil)
		}
	})
}

func (h *hangups) run() {
	defer close(h.done)
	raw, err := h.file.SyscallConn()
	if err != nil {
		panic(err) // of an open file
	}
	var events [128]syscall.EpollEvent
	raw.Read(func(fd uintptr) bool {
		for {
			n, err := syscall.EpollWait(int(fd), events[:], 0)
			if err == syscall.EINTR {
				continue
			}
			if err != nil || n == 0 {
				return false
			}
			for _, e := range events[:n] {
				if s := h.streamOf(&e); s != nil {
					s.cut()
				}
			}
		}
	})
}

func (h *hangups) streamOf(e *syscall.EpollEvent) *stream {
	h.mu.Lock()
	defer h.mu.Unlock()
	if at := &h.of[e.Fd]; at.turn == e.Pad {
		return at.stream
	}
	return nil
}

// close ends it; no stream is left.
func (h *hangups) close() {
	if h.start.Do(func() {}); h.file != nil {
		h.file.Close()
		<-h.done
	}
}
