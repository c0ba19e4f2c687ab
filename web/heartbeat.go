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
	now := time.Now()
	if s.expires != 0 && now.Unix() >= s.expires && s.end == nil {
		s.end = address.ErrExpired
		s.pump()
		return
	}
	if now.Sub(s.h.start) >= s.wrote+s.h.heartbeat && !s.draining {
		s.rest = []byte(":\n\n")
		s.pump()
	}
	s.schedule(now)
}

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
