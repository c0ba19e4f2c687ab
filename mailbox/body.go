package mailbox

import (
	"bytes"
	"fmt"

	"github.com/genbrowser/genbrowser/internal/jsonscan"
)

// CheckBody reports whether body is one JSON value in UTF-8 within the limits. The errors are or wrap
// [ErrEmptyBody], [ErrTooLarge], [ErrMalformedJSON] and [ErrUTF8].
func (l *Limits) CheckBody(body []byte) error {
	if len(body) > l.Body {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(body), l.Body)
	}
	return bodyError(jsonscan.Valid(body, l.Depth), l)
}

func bodyError(err error, l *Limits) error {
	switch err {
	case jsonscan.ErrEmpty:
		return ErrEmptyBody
	case jsonscan.ErrUTF8:
		return ErrUTF8
	case jsonscan.ErrDepth:
		return fmt.Errorf("%w: nested more than %d deep", ErrMalformedJSON, l.Depth)
	case jsonscan.ErrSyntax:
		return ErrMalformedJSON
	}
	return nil
}

// OneLine replaces CR and LF in a valid body by spaces, in place. They can only stand outside strings, where
// they mean nothing; in an event stream they would end the line.
func OneLine(body []byte) {
	for _, c := range []byte("\n\r") {
		for rest := body; ; {
			i := bytes.IndexByte(rest, c)
			if i < 0 {
				break
			}
			rest[i] = ' '
			rest = rest[i+1:]
		}
	}
}
