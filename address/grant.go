package address

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/google/uuid"
)

// What a grant refuses with.
var (
	ErrExpired  = errors.New("capability expired")
	ErrRight    = errors.New("missing right")
	ErrTooLarge = errors.New("body larger than the capability allows")
	ErrType     = errors.New("message type not allowed by the capability")
	ErrReply    = errors.New("not the reply address of this call")
)

// Grant is what a verified capability allows; [Ring.Verify] fills it.
type Grant struct {
	token    token
	expires  int64 // seconds since 1970
	maxBytes int
	typed    bool // there is a types caveat
	labelled bool
	reply    bool // there is a reply caveat
}

// collect reads the caveats into the grant.
func (g *Grant) collect() error {
	g.expires, g.maxBytes, g.typed, g.labelled, g.reply = math.MaxInt64, math.MaxInt, false, false, false
	for c, next := g.token.caveat(g.token.caveats); c != nil; c, next = g.token.caveat(next) {
		n, _ := parseUint(c[2:])
		switch caveatType(c[0]) {
		case caveatRights: // in token.rights
		case caveatExpires:
			g.expires = min(g.expires, int64(n))
		case caveatMaxBytes:
			g.maxBytes = min(g.maxBytes, int(n))
		case caveatTypes:
			g.typed = true
		case caveatLabel:
			g.labelled = true
		case caveatReply:
			g.reply = true
		default:
			return ErrUnsupported
		}
	}
	return nil
}

// Kind says what the target is.
func (g *Grant) Kind() Kind { return g.token.kind() }

// Mailbox returns the target's id if its kind is Mailbox.
func (g *Grant) Mailbox() uuid.UUID { return g.token.mailbox() }

// Name returns the target's name if its kind is Process. It is valid until the grant is filled again.
func (g *Grant) Name() []byte { return g.token.name() }

// Expires returns when the capability ends, and whether it does.
func (g *Grant) Expires() (time.Time, bool) {
	return time.Unix(g.expires, 0), g.expires != math.MaxInt64
}

// Narrowed reports whether anything was taken from what the server first gave out.
func (g *Grant) Narrowed() bool { return g.token.caveats < g.token.size-tagSize }

// Address returns the capability narrowed to what an address carries when it is first handed out, for others to be given. It
// is the zero value if that leaves no right, or if there is no room for one more caveat.
func (g *Grant) Address() Address {
	t := g.token
	h := hashers.Get().(*hasher)
	defer hashers.Put(h)
	if t.add(h, &onlyAddress) != nil || t.split() != nil || t.rights == 0 {
		return Address{}
	}
	return Address{t.text()}
}

// Labels returns the labels that were added, in order; nil if there are none.
func (g *Grant) Labels() []string {
	if !g.labelled {
		return nil
	}
	var labels []string
	for c, next := g.token.caveat(g.token.caveats); c != nil; c, next = g.token.caveat(next) {
		if caveatType(c[0]) == caveatLabel {
			labels = append(labels, string(c[2:]))
		}
	}
	return labels
}

// Permit returns [ErrExpired] or an error that wraps [ErrRight] unless the capability allows the right now.
func (g *Grant) Permit(right Rights, now time.Time) error {
	if g.expires != math.MaxInt64 && now.Unix() >= g.expires {
		return ErrExpired
	}
	if g.token.rights&right != right {
		return fmt.Errorf("%w: %v", ErrRight, right&^g.token.rights)
	}
	return nil
}

// PermitBody returns an error that wraps [ErrTooLarge] or [ErrType] unless the capability allows this body,
// which must be valid JSON.
func (g *Grant) PermitBody(body []byte) error {
	if len(body) > g.maxBytes {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(body), g.maxBytes)
	}
	if !g.typed {
		return nil
	}
	typ, err := messageType(body)
	if err != nil {
		return err
	}
	for c, next := g.token.caveat(g.token.caveats); c != nil; c, next = g.token.caveat(next) {
		if caveatType(c[0]) == caveatTypes && !contains(c[2:], typ) {
			return fmt.Errorf("%w: %q", ErrType, typ)
		}
	}
	return nil
}

// IsReply reports whether the capability is a reply address: it has a reply caveat.
func (g *Grant) IsReply() bool { return g.reply }

// PermitReply returns [ErrReply] unless the capability is a reply address for that ref.
func (g *Grant) PermitReply(ref string) error {
	if !g.reply {
		return ErrReply
	}
	for c, next := g.token.caveat(g.token.caveats); c != nil; c, next = g.token.caveat(next) {
		if caveatType(c[0]) == caveatReply && string(c[2:]) != ref {
			return ErrReply
		}
	}
	return nil
}

// contains does without messageTypes: an iterator would move the grant to the heap, for every message.
func contains(types []byte, typ string) bool {
	for len(types) > 0 {
		n := 1 + int(types[0])
		if string(types[1:n]) == typ {
			return true
		}
		types = types[n:]
	}
	return false
}

// messageType returns body's top-level member "type". Decoders disagree about a name that comes twice, and
// some fold case; a body is refused where that could make receiver and server see different types.
func messageType(body []byte) (typ string, err error) {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber() // a number beyond float64 is no error here
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return "", fmt.Errorf("%w: the body is not an object", ErrType)
	}
	found := false
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return "", fmt.Errorf("%w: %w", ErrType, err)
		}
		text, _ := name.(string)
		if strings.EqualFold(text, "type") && name != "type" {
			return "", fmt.Errorf("%w: %q may be read as \"type\"", ErrType, text)
		}
		if name != "type" {
			var skip json.RawMessage
			if err := dec.Decode(&skip); err != nil {
				return "", fmt.Errorf("%w: %w", ErrType, err)
			}
			continue
		}
		value, err := dec.Token()
		if err != nil {
			return "", fmt.Errorf("%w: %w", ErrType, err)
		}
		text, ok := value.(string)
		if !ok || found {
			return "", fmt.Errorf(`%w: want exactly one member "type", a string`, ErrType)
		}
		typ, found = text, true
	}
	if !found {
		return "", fmt.Errorf(`%w: the body has no member "type"`, ErrType)
	}
	return typ, nil
}
