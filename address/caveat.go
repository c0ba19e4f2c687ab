package address

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// caveatType is the first byte of a caveat. One that is not listed here makes a capability invalid, for a
// restriction that is not understood must not be ignored.
type caveatType byte

const (
	caveatRights     caveatType = 0x01
	caveatExpires    caveatType = 0x02
	caveatMaxBytes   caveatType = 0x03
	caveatTypes      caveatType = 0x04
	caveatLabel      caveatType = 0x05
	caveatUses       caveatType = 0x06
	caveatRate       caveatType = 0x07
	caveatRevocation caveatType = 0x08
	caveatReply      caveatType = 0x09
)

const (
	maxLabel = 64
	maxRef   = 128
	maxUint  = 1<<48 - 1 // what fits a caveat's six bytes, and a JavaScript number
)

// A Caveat is a restriction to add to a capability with [Address.Attenuate] or [Key.Attenuate].
// Its zero value is refused.
type Caveat struct {
	typ   caveatType
	value []byte
	err   error
}

// Only leaves the given rights.
func Only(r Rights) Caveat {
	if r&^allRights != 0 {
		return invalid("unknown rights %#x", uint16(r&^allRights))
	}
	value := []byte{byte(r)}
	if r>>8 != 0 {
		value = append(value, byte(r>>8))
	}
	return Caveat{typ: caveatRights, value: value}
}

// Expires ends the capability at t, to the second.
func Expires(t time.Time) Caveat {
	if t.Unix() < 0 || t.Unix() > maxUint {
		return invalid("expiry %v is out of range", t)
	}
	return Caveat{typ: caveatExpires, value: appendUint(nil, uint64(t.Unix()))}
}

// MaxBytes allows bodies of at most n bytes.
func MaxBytes(n int) Caveat {
	if n < 0 || n > maxUint {
		return invalid("max bytes %d is out of range", n)
	}
	return Caveat{typ: caveatMaxBytes, value: appendUint(nil, uint64(n))}
}

// Types allows only messages that are objects with a string member "type" among these.
func Types(types ...string) Caveat {
	var value []byte
	for _, t := range types {
		if !validMessageType([]byte(t)) {
			return invalid("message type %q: want at most 254 bytes of UTF-8 without U+FFFD", t)
		}
		value = append(append(value, byte(len(t))), t...)
	}
	if len(types) == 0 || len(value) > 255 {
		return invalid("types take 1 to 255 bytes together, each with a byte of length")
	}
	return Caveat{typ: caveatTypes, value: value}
}

// Label marks the capability: whoever gets a message sent through it sees the label. At most 64 bytes of
// UTF-8 without control characters.
func Label(label string) Caveat {
	if !validLabel([]byte(label)) {
		return invalid("label %q: want 1 to %d bytes of UTF-8 without control characters", label, maxLabel)
	}
	return Caveat{typ: caveatLabel, value: []byte(label)}
}

// Reply allows one message of kind reply or failure with that ref, 1 to 128 printable ASCII characters without spaces,
// and nothing else. With [Only] send and [Expires] it makes an address into a reply address.
func Reply(ref string) Caveat {
	if !validRef([]byte(ref)) {
		return invalid("ref %q: want 1 to %d printable ASCII characters without spaces", ref, maxRef)
	}
	return Caveat{typ: caveatReply, value: []byte(ref)}
}

func invalid(format string, args ...any) Caveat {
	return Caveat{err: fmt.Errorf("address: "+format, args...)}
}

func (c Caveat) append(token []byte) []byte {
	return append(append(token, byte(c.typ), byte(len(c.value))), c.value...)
}

// String describes the caveat for people, such as "expires 2027-01-01T00:00:00Z".
func (c Caveat) String() string {
	switch c.typ {
	case caveatRights:
		r, _ := parseRights(c.value)
		return "only " + r.String()
	case caveatTypes:
		var types []string
		for t := range messageTypes(c.value) {
			types = append(types, string(t))
		}
		return "types " + strings.Join(types, ",")
	case caveatLabel:
		return fmt.Sprintf("label %q", c.value)
	case caveatReply:
		return fmt.Sprintf("reply to %s", c.value)
	case caveatRevocation:
		return fmt.Sprintf("revocation id %x", c.value)
	}
	n, _ := parseUint(c.value)
	switch c.typ {
	case caveatExpires:
		return "expires " + time.Unix(int64(n), 0).UTC().Format(time.RFC3339)
	case caveatMaxBytes:
		return fmt.Sprintf("at most %d bytes", n)
	case caveatUses:
		return fmt.Sprintf("at most %d uses", n)
	case caveatRate:
		return fmt.Sprintf("at most %d messages a minute", n)
	}
	return fmt.Sprintf("unknown caveat %#x", byte(c.typ))
}

// check reports whether the caveat's type is known and its value has that type's form.
func (t caveatType) check(value []byte) bool {
	switch t {
	case caveatRights:
		_, ok := parseRights(value)
		return ok
	case caveatExpires, caveatMaxBytes, caveatUses, caveatRate:
		_, ok := parseUint(value)
		return ok
	case caveatTypes:
		return validMessageTypes(value)
	case caveatLabel:
		return validLabel(value)
	case caveatReply:
		return validRef(value)
	case caveatRevocation:
		return len(value) == 16
	}
	return false
}

func parseRights(value []byte) (Rights, bool) {
	var r Rights
	switch len(value) {
	case 1:
		r = Rights(value[0])
	case 2:
		r = Rights(binary.LittleEndian.Uint16(value))
		if value[1] == 0 {
			return 0, false
		}
	default:
		return 0, false
	}
	return r, r&^allRights == 0
}

// appendUint writes n big-endian in as few bytes as it takes, at least one.
func appendUint(b []byte, n uint64) []byte {
	size := max(1, (bits.Len64(n)+7)/8)
	for shift := (size - 1) * 8; shift >= 0; shift -= 8 {
		b = append(b, byte(n>>shift))
	}
	return b
}

func parseUint(value []byte) (n uint64, ok bool) {
	if len(value) == 0 || len(value) > 6 || len(value) > 1 && value[0] == 0 {
		return 0, false
	}
	for _, b := range value {
		n = n<<8 | uint64(b)
	}
	return n, true
}

// messageTypes yields the texts of a types caveat that validMessageTypes accepted.
func messageTypes(value []byte) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(value) > 0 {
			n := 1 + int(value[0])
			if !yield(value[1:n]) {
				return
			}
			value = value[n:]
		}
	}
}

func validMessageTypes(value []byte) bool {
	if len(value) == 0 {
		return false
	}
	for len(value) > 0 {
		n := 1 + int(value[0])
		if n > len(value) || !validMessageType(value[1:n]) {
			return false
		}
		value = value[n:]
	}
	return true
}

// validMessageType refuses U+FFFD too: decoders put it where a text was broken, and a broken text must not
// match anything.
func validMessageType(t []byte) bool {
	return len(t) <= 254 && utf8.Valid(t) && !bytes.ContainsRune(t, utf8.RuneError)
}

func validLabel(label []byte) bool {
	if len(label) < 1 || len(label) > maxLabel || !utf8.Valid(label) {
		return false
	}
	for _, r := range string(label) {
		if unicode.IsControl(r) {
			return false
		}
	}
	return true
}

func validRef(ref []byte) bool {
	for _, c := range ref {
		if c < 0x21 || c > 0x7e {
			return false
		}
	}
	return len(ref) >= 1 && len(ref) <= maxRef
}
