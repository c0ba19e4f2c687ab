package jetstream

import "errors"

var (
	// ErrFull is why an entry was not stored: the disk is full, or the log as long as it may be.
	ErrFull = errors.New("the log has no room")
	// ErrClosed is what a closed log answers.
	ErrClosed = errors.New("the log is closed")
)
