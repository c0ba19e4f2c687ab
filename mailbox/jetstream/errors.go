package jetstream

import "errors"

var (
	// ErrFull is why an entry was not stored: the disk is full, or the log as long as it may be.
	ErrFull = errors.New("the log has no room")
	// ErrClosed is what a closed log answers.
	ErrClosed = errors.New("the log is closed")
	// ErrLost says that the log forgot an entry that it had acknowledged: a disk lost it, or an old copy came
	// back. Its writer must stop, for its memory and the log do not fit any more.
	ErrLost = errors.New("the log lost an entry that it had acknowledged")
)
