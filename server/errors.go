package server

import "errors"

// What the post office refuses with, beside the errors of packages address and mailbox.
var (
	ErrExpired          = errors.New("mailbox expired: it slept too long")
	ErrClosed           = errors.New("mailbox closed by its owner")
	ErrExited           = errors.New("ended by somebody who had the right")
	ErrGone             = errors.New("no such mailbox or process here, any more")
	ErrTakenOver        = errors.New("another reader took over this mailbox")
	ErrDisconnected     = errors.New("an operator disconnected this reader")
	ErrNotConnected     = errors.New("nobody reads this mailbox")
	ErrFull             = errors.New("the process's queue is full")
	ErrRefused          = errors.New("refused")
	ErrUnavailable      = errors.New("nothing can be stored at the moment")
	ErrMoved            = errors.New("another node owns this mailbox now")
	ErrOverloaded       = errors.New("this server holds as much as it may")
	ErrTooManyMailboxes = errors.New("too many mailboxes of this client")
	ErrShuttingDown     = errors.New("this server is shutting down")
	ErrNameTaken        = errors.New("name taken")
	ErrNotAMailbox      = errors.New("not a mailbox key")
	ErrName             = errors.New("malformed idempotency key: want 1 to 128 printable ASCII characters")
	ErrEnvelope         = errors.New("malformed envelope")
	ErrTTL              = errors.New("time to live out of range")
)

// hasEnded reports whether err says that a mailbox or process is no more.
func hasEnded(err error) bool {
	return errors.Is(err, ErrClosed) || errors.Is(err, ErrExpired) || errors.Is(err, ErrExited) || errors.Is(err, ErrGone)
}
