package mailbox

import (
	"strconv"
	"strings"
)

// Cursor is a position in one mailbox: after the message Seq.
type Cursor struct {
	// Epoch tells histories apart. Without it: a reader's cursor is 7; the mailbox is made anew and gets
	// messages 1 to 9; the reader resumes after 7 and never sees the new 1 to 7.
	Epoch uint32
	Seq   uint64
}

// String returns the cursor's text, epoch.sequence, such as "5f3a9c1b.42".
func (c Cursor) String() string { return string(c.Append(nil)) }

// Append appends the cursor's text to b.
func (c Cursor) Append(b []byte) []byte {
	const hex = "0123456789abcdef"
	for shift := 28; shift >= 0; shift -= 4 {
		b = append(b, hex[c.Epoch>>shift&15])
	}
	return strconv.AppendUint(append(b, '.'), c.Seq, 10)
}

// ParseCursor reads a cursor's text and nothing else; its error is [ErrMalformedCursor].
func ParseCursor(text string) (Cursor, error) {
	epoch, seq, ok := strings.Cut(text, ".")
	if !ok || len(epoch) != 8 || strings.ToLower(epoch) != epoch {
		return Cursor{}, ErrMalformedCursor
	}
	e, err := strconv.ParseUint(epoch, 16, 32)
	if err != nil {
		return Cursor{}, ErrMalformedCursor
	}
	if seq == "" || len(seq) > 1 && seq[0] == '0' || seq[0] == '+' {
		return Cursor{}, ErrMalformedCursor
	}
	s, err := strconv.ParseUint(seq, 10, 64)
	if err != nil {
		return Cursor{}, ErrMalformedCursor
	}
	return Cursor{uint32(e), s}, nil
}
