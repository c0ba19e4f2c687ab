package web

import (
	"time"

	"github.com/genbrowser/genbrowser/address"
)

// Fire implements [wheel.Timer]: it shows that the connection lives, if nothing else did for a while, and ends a stream
// whose key did.
func (s *stream) Fire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	if s.expired() {
		s.pump()
		return
	}
	now := time.Now()
	if now.Sub(s.h.start) >= s.wrote+s.h.heartbeat && !s.draining {
		s.rest = []byte(":\n\n")
		s.pump()
	}
	s.schedule(now)
}

// expired reports whether the stream's key is over, which then is why the stream ends, whatever else was.
func (s *stream) expired() bool {
	if isOver(s.expires) {
		s.end = address.ErrExpired
	}
	return s.end == address.ErrExpired
}

// isOver reports whether that time has come, seconds since 1970; 0 never does.
func isOver(expires int64) bool { return expires != 0 && time.Now().Unix() >= expires }

// schedule sets the next heartbeat. Messages do not touch it: when it is early, it is set again.
func (s *stream) schedule(now time.Time) {
	next := s.h.start.Add(s.wrote + s.h.heartbeat)
	if !next.After(now) {
		next = now.Add(s.h.heartbeat)
	}
	if s.expires != 0 {
		end := now.Add(time.Unix(s.expires, 0).Sub(now)) // a time of the system's clock as of now
		if end.Before(next) {
			next = end
		}
	}
	if !s.closed {
		s.h.wheel.Set(s, next)
	}
}
