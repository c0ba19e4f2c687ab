package web

import (
	"bytes"
	"errors"
	"slices"
	"time"

	"github.com/genbrowser/genbrowser/mailbox"
)

// The functions here must be called with the stream's mu held.

// pump writes what there is to write.
func (s *stream) pump() {
	if s.wire == nil || s.draining || s.closed {
		return
	}
	for s.writeRest() {
		if s.bye {
			s.close()
			return
		}
		c := chunks.Get().(*chunk)
		more := !s.expired() && s.fill(c) // what waits when the key ends is not for its holder
		done := s.writeChunk(c)
		c.release()
		if !done {
			return
		}
		if !more {
			if s.end == nil {
				return
			}
			s.bye, s.rest = true, goodbye(s.end)
		}
	}
}

// writeRest reports whether nothing is left of what was begun.
func (s *stream) writeRest() bool {
	if len(s.rest) == 0 {
		return true
	}
	n, err := s.wire.tryWrite(s.rest)
	if err != nil {
		s.close()
		return false
	}
	s.wrote = time.Since(s.h.start)
	if s.rest = s.rest[n:]; len(s.rest) > 0 {
		s.drain()
		return false
	}
	s.rest = nil
	return true
}

// fill encodes what waits in the mailbox, about a chunk of it, and reports whether there is more.
func (s *stream) fill(c *chunk) (more bool) {
	at := s.sub.Cursor()
	s.sub.Read(func(m *mailbox.Message, err error) bool {
		if len(c.b) >= chunkSize {
			more = true
			return false
		}
		if err != nil {
			var gap *mailbox.GapError
			errors.As(err, &gap) // it is nothing else
			at.Seq += gap.Missing
			c.gap(s.idPrefix, gap.Missing, at)
			return true
		}
		at.Seq = m.Seq
		c.message(s.idPrefix, at.Epoch, m)
		return true
	})
	return more
}

// writeChunk reports whether the whole chunk was written. Of one that was not, it keeps what is left of the
// event that was begun; those behind it stay in the mailbox. A slow reader costs no more than that.
func (s *stream) writeChunk(c *chunk) bool {
	if len(c.b) == 0 {
		return true
	}
	n, err := s.wire.tryWrite(c.b)
	if err != nil {
		s.close()
		return false
	}
	s.wrote = time.Since(s.h.start)
	last := c.ends[len(c.ends)-1]
	if n == last.at {
		s.delivered(last)
		return true
	}
	begun := last
	if !s.wire.blocks() {
		begun = c.ends[slices.IndexFunc(c.ends, func(e eventEnd) bool { return n < e.at })]
	}
	s.delivered(begun)
	s.rest = bytes.Clone(c.b[n:begun.at])
	s.drain()
	return false
}

func (s *stream) delivered(up eventEnd) {
	s.sub.Delivered(up.seq)
	s.h.tally.delivered.Add(int64(up.messages))
}

// drain lets a goroutine wait until the wire takes the rest.
func (s *stream) drain() {
	s.draining = true
	s.users++
	rest := s.rest
	s.rest = nil
	s.h.crew.Go(func() {
		err := s.wire.write(rest, s.h.slow)
		s.mu.Lock()
		s.draining = false
		s.wrote = time.Since(s.h.start)
		if err != nil {
			s.close()
		} else {
			s.pump()
		}
		s.mu.Unlock()
		s.leave()
	})
}
