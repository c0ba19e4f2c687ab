package address

import (
	"bytes"
	"fmt"
	"log/slog"

	"github.com/google/uuid"
)

// Address is a capability to send to, call, monitor and link with a mailbox or a process, unless it was narrowed.
// Whoever holds it may: hand it to those who should. In JSON it is its text. The zero value is no address.
type Address struct{ text string }

// Parse checks that text has an address's form. Whether it is genuine, only the server that made it can tell.
// Its errors wrap [ErrMalformed].
func Parse(text string) (Address, error) {
	if err := check(text, addressPrefix); err != nil {
		return Address{}, err
	}
	return Address{text}, nil
}

// Key is a mailbox key: its owner's capability to read, acknowledge and close one mailbox. A secret, so it
// prints and logs redacted; [Key.Reveal] gives the text. The zero value is no key.
type Key struct{ text string }

// ParseKey checks that text has a mailbox key's form. Its errors wrap [ErrMalformed] and do not repeat text.
func ParseKey(text string) (Key, error) {
	if err := check(text, keyPrefix); err != nil {
		return Key{}, err
	}
	return Key{text}, nil
}

func check(text, prefix string) error {
	var t token
	if err := t.parse(text); err != nil {
		return err
	}
	if text[:len(prefix)] != prefix {
		return malformed(`want one that begins with "` + prefix + `"`)
	}
	return nil
}

// String returns the text.
func (a Address) String() string { return a.text }

// IsZero reports whether a is no address.
func (a Address) IsZero() bool { return a.text == "" }

// Attenuate returns a narrowed by caveats, made with no server's help.
func (a Address) Attenuate(caveats ...Caveat) (Address, error) {
	text, err := attenuate(a.text, caveats)
	return Address{text}, err
}

// MarshalText returns the text.
func (a Address) MarshalText() ([]byte, error) { return []byte(a.text), nil }

// UnmarshalText is [Parse]; an empty text gives the zero value.
func (a *Address) UnmarshalText(text []byte) (err error) {
	if len(text) == 0 {
		*a = Address{}
		return nil
	}
	*a, err = Parse(string(text))
	return err
}

// LogValue describes the target and leaves out the tag: a log's reader should not be able to send.
func (a Address) LogValue() slog.Value { return slog.StringValue(target(a.text)) }

// Reveal returns the secret text.
func (k Key) Reveal() string { return k.text }

// IsZero reports whether k is no key.
func (k Key) IsZero() bool { return k.text == "" }

// String hides the secret; see [Key.Reveal].
func (k Key) String() string { return keyPrefix + "[redacted]" }

// GoString hides the secret from %#v too.
func (k Key) GoString() string { return k.String() }

// MarshalText hides the secret, so that a key inside a logged or encoded value does not leak; see [Key.Reveal].
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// LogValue describes the mailbox and leaves out the secret.
func (k Key) LogValue() slog.Value { return slog.StringValue(target(k.text)) }

// Attenuate returns k narrowed by caveats that leave it an owner's right, made with no server's help.
func (k Key) Attenuate(caveats ...Caveat) (Key, error) {
	text, err := attenuate(k.text, caveats)
	if err == nil {
		err = check(text, keyPrefix)
	}
	if err != nil {
		return Key{}, err
	}
	return Key{text}, nil
}

// Address returns the mailbox's address, narrowed by caveats: what its owner hands to others.
func (k Key) Address(caveats ...Caveat) (Address, error) {
	text, err := attenuate(k.text, append([]Caveat{Only(addressRights)}, caveats...))
	return Address{text}, err
}

// AddressFor returns an address with the given rights, among them perhaps [Exit], which [Key.Address] leaves out. The
// rights must be those of an address.
func (k Key) AddressFor(r Rights, caveats ...Caveat) (Address, error) {
	if r&^publicRights != 0 || r == 0 {
		return Address{}, fmt.Errorf("address: rights %v: want some of %v", r, publicRights)
	}
	text, err := attenuate(k.text, append([]Caveat{Only(r)}, caveats...))
	return Address{text}, err
}

func target(text string) string {
	var t token
	if t.parse(text) != nil {
		return "none"
	}
	return describe(&t)
}

func describe(t *token) string {
	if t.kind() == Process {
		return "process " + string(t.name())
	}
	return "mailbox " + t.mailbox().String()
}

// Description is what can be read in a capability without its server's secret.
type Description struct {
	Kind    Kind
	Mailbox uuid.UUID // if Kind is Mailbox
	Name    string    // if Kind is Process
	KeyID   byte      // which of the server's secrets signed it
	Rights  Rights    // what its caveats leave
	Caveats []Caveat  // in the order they were added
}

// Inspect describes the text of an address or key. It does not verify it.
func Inspect(text string) (Description, error) {
	var t token
	if err := t.parse(text); err != nil {
		return Description{}, err
	}
	d := Description{Kind: t.kind(), KeyID: t.keyID(), Rights: t.rights}
	if d.Kind == Mailbox {
		d.Mailbox = t.mailbox()
	} else {
		d.Name = string(t.name())
	}
	for c, next := t.caveat(t.caveats); c != nil; c, next = t.caveat(next) {
		d.Caveats = append(d.Caveats, Caveat{typ: caveatType(c[0]), value: bytes.Clone(c[2:])})
	}
	return d, nil
}
