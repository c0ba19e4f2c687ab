package address

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"
)

const (
	addressPrefix = "gba_"
	keyPrefix     = "gbk_"

	version = 0x01
	tagSize = 16

	// MaxText is the most characters that the text of a capability may have.
	MaxText = 512
	// MaxCaveats is the most caveats that a capability may have.
	MaxCaveats = 16
	// MaxName is the most characters that a process's name may have.
	MaxName = 128

	maxToken = (MaxText - len(addressPrefix)) * 3 / 4
	// usualText is room for the text of a capability without many caveats.
	usualText = 96
)

// Kind says what a capability's target is.
type Kind byte

const (
	Mailbox Kind = 0x01
	Process Kind = 0x02
)

// ErrMalformed is wrapped by every error about a text that is not a capability at all, whoever signed it.
var ErrMalformed = errors.New("malformed address")

func malformed(why string) error { return fmt.Errorf("%w: %s", ErrMalformed, why) }

// Malformed texts are common on a server that strangers talk to, so their errors are made once.
var (
	errPrefix    = malformed(`it begins with neither "gba_" nor "gbk_"`)
	errTooLong   = malformed("it is longer than 512 characters")
	errEncoding  = malformed("what follows the prefix is not canonical, unpadded base64url")
	errShort     = malformed("it is too short")
	errVersion   = malformed("its version is unknown; want 1")
	errKind      = malformed("the kind of its target is unknown")
	errName      = malformed("its process name is not " + NameForm)
	errCaveat    = malformed("a caveat is unknown or has a malformed value")
	errCaveats   = malformed("it has more than 16 caveats")
	errIsKey     = malformed(`its prefix says that it is a mailbox key, but it has no owner's right`)
	errIsAddress = malformed(`its prefix says that it is an address, but it has an owner's right`)
)

// token is a capability in bytes, taken apart. Its parts are offsets into raw, so that taking one apart
// allocates nothing.
type token struct {
	raw     [maxToken]byte
	size    int // of raw in use, the tag included
	caveats int // where the caveats begin, just after the target
	rights  Rights
}

func (t *token) keyID() byte    { return t.raw[1] }
func (t *token) kind() Kind     { return Kind(t.raw[2]) }
func (t *token) head() []byte   { return t.raw[:t.caveats] }
func (t *token) tag() []byte    { return t.raw[t.size-tagSize : t.size] }
func (t *token) tagged() []byte { return t.raw[:t.size-tagSize] }
func (t *token) name() []byte   { return t.raw[4:t.caveats] }

func (t *token) mailbox() uuid.UUID { return uuid.UUID(t.raw[3:19]) }

var base64url = base64.RawURLEncoding.Strict()

// parse takes text apart and checks its form, which anybody can do; only a Ring can check its tag.
func (t *token) parse(text string) error {
	if len(text) > MaxText {
		return errTooLong
	}
	body, isKey := strings.CutPrefix(text, keyPrefix)
	if !isKey {
		var ok bool
		if body, ok = strings.CutPrefix(text, addressPrefix); !ok {
			return errPrefix
		}
	}
	var err error
	if t.size, err = decode(t.raw[:], body); err != nil || len(body) != base64url.EncodedLen(t.size) {
		return errEncoding // longer than need be: the decoder skips line ends
	}
	if err := t.split(); err != nil {
		return err
	}
	switch secret := t.rights&ownerRights != 0; {
	case isKey && !secret:
		return errIsKey
	case !isKey && secret:
		return errIsAddress
	}
	return nil
}

// decode copies text through a small array, since the decoder takes bytes and a conversion would allocate.
func decode(dst []byte, text string) (int, error) {
	var src [MaxText]byte
	return base64url.Decode(dst, src[:copy(src[:], text)])
}

// split finds the parts of raw and the rights that its caveats leave.
func (t *token) split() error {
	if t.size < 3+tagSize {
		return errShort
	}
	if t.raw[0] != version {
		return errVersion
	}
	end := t.size - tagSize
	switch t.kind() {
	case Mailbox:
		t.caveats = 3 + 16
	case Process:
		if end < 4 {
			return errShort
		}
		t.caveats = 4 + int(t.raw[3])
	default:
		return errKind
	}
	if t.caveats > end {
		return errShort
	}
	if t.kind() == Process && !validName(t.name()) {
		return errName
	}
	t.rights = allRights
	count := 0
	for at := t.caveats; at < end; count++ {
		if at+2 > end || at+2+int(t.raw[at+1]) > end {
			return errCaveat
		}
		typ, value := caveatType(t.raw[at]), t.raw[at+2:at+2+int(t.raw[at+1])]
		if !typ.check(value) {
			return errCaveat
		}
		if typ == caveatRights {
			r, _ := parseRights(value)
			t.rights &= r
		}
		at += 2 + len(value)
	}
	if count > MaxCaveats {
		return errCaveats
	}
	return nil
}

// caveat returns the bytes of the caveat at an offset, from t.caveats on, and where the next one begins;
// nothing at the end. The token must have been split. An iterator would move the token to the heap.
func (t *token) caveat(at int) (c []byte, next int) {
	if at >= t.size-tagSize {
		return nil, at
	}
	next = at + 2 + int(t.raw[at+1])
	return t.raw[at:next], next
}

// attenuate adds caveats to the token that text stands for.
func attenuate(text string, caveats []Caveat) (string, error) {
	var t token
	if err := t.parse(text); err != nil {
		return "", err
	}
	h := hashers.Get().(*hasher)
	defer hashers.Put(h)
	for i := range caveats {
		if err := t.add(h, &caveats[i]); err != nil {
			return "", err
		}
	}
	if err := t.split(); err != nil {
		return "", err
	}
	return t.text(), nil
}

// add adds one caveat; split is to be called when all are there.
func (t *token) add(h *hasher, c *Caveat) error {
	switch {
	case c.err != nil:
		return c.err
	case !c.typ.check(c.value):
		return errCaveat
	case t.size+2+len(c.value) > maxToken:
		return errTooLong
	}
	at := t.size - tagSize
	key := [tagSize]byte(t.tag())
	b := c.append(t.raw[:at])
	tag := h.chain(&key, b[at:])
	t.size = len(append(b, tag[:]...))
	return nil
}

func (t *token) text() string {
	prefix := addressPrefix
	if t.rights&ownerRights != 0 {
		prefix = keyPrefix
	}
	var room [usualText]byte
	return string(base64url.AppendEncode(append(room[:0], prefix...), t.raw[:t.size]))
}

// NameForm says which names [ValidName] takes. In a URL, a proxy on the way makes another route of . and ..
const NameForm = "1 to 128 of A-Z a-z 0-9 . _ ~ : @ / -, with neither . nor .. between slashes"

// ValidName reports whether name can be a process's, or be registered: it is of [NameForm].
func ValidName(name string) bool { return validName([]byte(name)) }

func validName(name []byte) bool {
	for _, c := range name {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '.', c == '_', c == '~', c == ':', c == '@', c == '/', c == '-':
		default:
			return false
		}
	}
	for rest, more := name, true; more; {
		var part []byte
		if part, rest, more = bytes.Cut(rest, []byte("/")); string(part) == "." || string(part) == ".." {
			return false
		}
	}
	return len(name) >= 1 && len(name) <= MaxName
}
