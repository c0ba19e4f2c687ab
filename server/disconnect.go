package server

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/genbrowser/genbrowser/internal/pack"
	"github.com/genbrowser/genbrowser/mailbox"
)

// MaxDisconnect is how long an operator may keep a reader away.
const MaxDisconnect = 24 * time.Hour

// DisconnectedError is what a reader is ended with by [Server.Disconnect]. It is an [ErrDisconnected].
type DisconnectedError struct {
	Retry time.Duration // when the reader is to come back, in whole milliseconds; 0: not by itself
}

// Error implements error.
func (e *DisconnectedError) Error() string { return ErrDisconnected.Error() }

// Unwrap returns [ErrDisconnected].
func (e *DisconnectedError) Unwrap() error { return ErrDisconnected }

// Disconnect ends the reader of a mailbox, whichever node has the mailbox and whichever the reader, with a
// [*DisconnectedError]: it is to come back after retry, at most [MaxDisconnect], or not by itself if that is 0. The
// mailbox lives on, asleep, and keeps what is sent to it. Nobody is kept from it: who has the key may read.
// The errors are [ErrNotConnected] and [ErrUnavailable].
func (s *Server) Disconnect(mailbox uuid.UUID, retry time.Duration) error {
	if retry < 0 || retry > MaxDisconnect {
		return fmt.Errorf("server: a reader is kept away for 0 to %v, not %v", MaxDisconnect, retry)
	}
	retry = (retry + time.Millisecond - 1).Truncate(time.Millisecond) // less must not become never
	err := s.at(mailbox, func(b *box) error { return b.disconnect(retry) }, func(n *node) error {
		return n.disconnect(mailbox, retry)
	})
	if hasEnded(err) {
		return ErrNotConnected
	}
	return err
}

// disconnect ends the reader of a mailbox of this node.
func (b *box) disconnect(retry time.Duration) error {
	if err := b.log.ready(); err != nil { // another node may have the mailbox by now, and its reader
		return err
	}
	b.mu.Lock()
	sub, err := b.sub, b.over()
	if err == nil && sub != nil {
		b.sleep()
	}
	b.mu.Unlock()
	switch {
	case err != nil:
		return err
	case sub == nil:
		return ErrNotConnected
	}
	sub.reader.End(&DisconnectedError{retry})
	return nil
}

// sleep takes the mailbox's reader away; mu is held.
func (b *box) sleep() {
	now := b.server.clock.now()
	b.sub = nil
	b.mail.Sleep(now)
	b.note(&mailbox.Record{Type: mailbox.Slept})
	b.look()
	if !b.server.closed.Load() {
		b.server.wheel.Set(b, now.Add(b.server.limits.Asleep))
	}
}

func (n *node) disconnect(id uuid.UUID, retry time.Duration) error {
	_, err := n.ask(isDisconnect, func(b []byte) []byte { return appendRetry(append(b, id[:]...), retry) }).wait()
	return err
}

func appendRetry(b []byte, retry time.Duration) []byte {
	return binary.AppendUvarint(b, uint64(retry.Milliseconds()))
}

func readRetry(r *pack.Reader) time.Duration {
	return time.Duration(r.UpTo(uint64(MaxDisconnect.Milliseconds()))) * time.Millisecond
}

// appendEnd adds why a reader on another node is ended.
func appendEnd(b []byte, why error) []byte {
	b = appendError(b, why)
	if d, ok := why.(*DisconnectedError); ok {
		return appendRetry(b, d.Retry)
	}
	return appendRetry(b, 0)
}

func readEnd(r *pack.Reader) error {
	why, retry := readError(r), readRetry(r)
	if is, ok := why.(*remoteError); ok && is.is == ErrDisconnected {
		return &DisconnectedError{retry}
	}
	return why
}
