package mailbox

import (
	"errors"
	"fmt"
)

// What a mailbox refuses with.
var (
	ErrFull            = errors.New("mailbox full")
	ErrClosed          = errors.New("mailbox closed")
	ErrTooLarge        = errors.New("body too large")
	ErrEmptyBody       = errors.New("empty body: want one JSON value")
	ErrMalformedJSON   = errors.New("body is not one JSON value")
	ErrUTF8            = errors.New("body is not UTF-8")
	ErrMalformedCursor = errors.New("malformed cursor")
	ErrUnknownCursor   = errors.New("unknown cursor: it is of another epoch of this mailbox; read from the start")
	ErrCursorAhead     = errors.New("cursor ahead of the last message; read from the start")
)

// GapError says that messages between the position asked for and the next one kept are gone.
type GapError struct{ Missing uint64 }

func (e *GapError) Error() string { return fmt.Sprintf("gap: %d messages are missing", e.Missing) }
