// Package jsonscan finds the end of a JSON value and checks it on the way, with no allocation: strict RFC 8259,
// UTF-8 and a bounded depth. It agrees with encoding/json.Valid and unicode/utf8.Valid together, which take
// about six times as long (go test -bench . ./internal/jsonscan); its fuzz test holds that.
package jsonscan

import (
	"encoding/binary"
	"errors"
	"unicode/utf8"
)

var (
	ErrEmpty  = errors.New("empty")
	ErrSyntax = errors.New("not valid JSON")
	ErrUTF8   = errors.New("not valid UTF-8")
	ErrDepth  = errors.New("nested too deeply")
)

// Valid checks that b is exactly one JSON value, with white space around it, nested at most depth deep.
func Valid(b []byte, depth int) error {
	at := Space(b, 0)
	if at == len(b) {
		return ErrEmpty
	}
	end, err := Value(b, at, depth)
	if err == nil && Space(b, end) != len(b) {
		err = ErrSyntax
	}
	if err == ErrSyntax && !utf8.Valid(b) {
		return ErrUTF8
	}
	return err
}

// Space returns where the white space that begins at b[at] ends.
func Space(b []byte, at int) int {
	for at < len(b) && (b[at] == ' ' || b[at] == '\t' || b[at] == '\n' || b[at] == '\r') {
		at++
	}
	return at
}

// Value returns the end of the value that begins at b[at], arrays and objects in it nested at most depth deep.
func Value(b []byte, at, depth int) (end int, err error) {
	if at >= len(b) {
		return at, ErrSyntax
	}
	switch c := b[at]; {
	case c == '"':
		return String(b, at)
	case c == '{':
		return object(b, at, depth-1)
	case c == '[':
		return array(b, at, depth-1)
	case c == '-' || '0' <= c && c <= '9':
		return number(b, at)
	case c == 't':
		return literal(b, at, "true")
	case c == 'f':
		return literal(b, at, "false")
	case c == 'n':
		return literal(b, at, "null")
	}
	return at, ErrSyntax
}

func literal(b []byte, at int, word string) (int, error) {
	if len(b)-at < len(word) || string(b[at:at+len(word)]) != word {
		return at, ErrSyntax
	}
	return at + len(word), nil
}

func object(b []byte, at, depth int) (int, error) {
	if depth < 0 {
		return at, ErrDepth
	}
	at = Space(b, at+1)
	if at < len(b) && b[at] == '}' {
		return at + 1, nil
	}
	for {
		_, colon, err := Name(b, at)
		if err != nil {
			return colon, err
		}
		if at, err = Value(b, colon, depth); err != nil {
			return at, err
		}
		var more bool
		if at, more, err = Next(b, at, '}'); !more {
			return at, err
		}
	}
}

func array(b []byte, at, depth int) (int, error) {
	if depth < 0 {
		return at, ErrDepth
	}
	at = Space(b, at+1)
	if at < len(b) && b[at] == ']' {
		return at + 1, nil
	}
	for {
		var err error
		if at, err = Value(b, at, depth); err != nil {
			return at, err
		}
		var more bool
		if at, more, err = Next(b, at, ']'); !more {
			return at, err
		}
	}
}

// Name reads a member's name at b[at] and the colon behind it. The name is as it stands, quotes and escapes
// included; value is where the member's value begins.
func Name(b []byte, at int) (name []byte, value int, err error) {
	if at >= len(b) || b[at] != '"' {
		return nil, at, ErrSyntax
	}
	end, err := String(b, at)
	if err != nil {
		return nil, end, err
	}
	colon := Space(b, end)
	if colon >= len(b) || b[colon] != ':' {
		return nil, colon, ErrSyntax
	}
	return b[at:end], Space(b, colon+1), nil
}

// Next reads what follows a member or element: a comma, then more is true and next is where the next one
// begins, or the closing byte, and next is behind it.
func Next(b []byte, at int, closing byte) (next int, more bool, err error) {
	at = Space(b, at)
	switch {
	case at >= len(b):
		return at, false, ErrSyntax
	case b[at] == ',':
		return Space(b, at+1), true, nil
	case b[at] == closing:
		return at + 1, false, nil
	}
	return at, false, ErrSyntax
}

// String returns the end of the string that begins with the quote at b[at].
func String(b []byte, at int) (int, error) {
	at++
	for {
		for at+8 <= len(b) && plain(binary.LittleEndian.Uint64(b[at:])) {
			at += 8
		}
		if at >= len(b) {
			return at, ErrSyntax
		}
		switch c := b[at]; {
		case c == '"':
			return at + 1, nil
		case c == '\\':
			n := escape(b[at:])
			if n == 0 {
				return at, ErrSyntax
			}
			at += n
		case c < 0x20:
			return at, ErrSyntax
		case c < utf8.RuneSelf:
			at++
		default:
			r, n := utf8.DecodeRune(b[at:])
			if r == utf8.RuneError && n == 1 {
				return at, ErrUTF8
			}
			at += n
		}
	}
}

// plain reports whether none of 8 bytes of a string is a quote, a backslash, a control character or beyond
// ASCII. A byte x-n borrows into its high bit exactly if it is below n, when no byte has its high bit set; a
// borrow from a lower byte can only turn a plain word into one that is looked at byte by byte.
func plain(x uint64) bool {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	quote, slash := x^(ones*'"'), x^(ones*'\\')
	return (x|(x-ones*0x20)|(quote-ones)|(slash-ones))&highs == 0
}

// escape returns the length of the escape that b begins with, 0 if it is none.
func escape(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(b) < 6 {
			return 0
		}
		for _, c := range b[2:6] {
			if !('0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F') {
				return 0
			}
		}
		return 6
	}
	return 0
}

func number(b []byte, at int) (int, error) {
	if b[at] == '-' {
		at++
	}
	if at < len(b) && b[at] == '0' {
		at++
	} else {
		end := digits(b, at)
		if end == at {
			return at, ErrSyntax
		}
		at = end
	}
	if at < len(b) && b[at] == '.' {
		end := digits(b, at+1)
		if end == at+1 {
			return at, ErrSyntax
		}
		at = end
	}
	if at < len(b) && (b[at] == 'e' || b[at] == 'E') {
		at++
		if at < len(b) && (b[at] == '+' || b[at] == '-') {
			at++
		}
		end := digits(b, at)
		if end == at {
			return at, ErrSyntax
		}
		at = end
	}
	return at, nil
}

func digits(b []byte, at int) int {
	for at < len(b) && '0' <= b[at] && b[at] <= '9' {
		at++
	}
	return at
}
