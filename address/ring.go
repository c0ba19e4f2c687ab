package address

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/google/uuid"
)

// MinSecret is the fewest bytes that a secret may have.
const MinSecret = 32

// Purposes that a secret is expanded for. A tag made for one is never valid for another.
const (
	purposeCapability = "gen-browser/v1/capability"
	purposeKeyID      = "gen-browser/v1/key-id"
)

// Verify's errors, beside those that wrap [ErrMalformed].
var (
	// ErrInvalid means that this ring did not sign the capability, or that it was tampered with.
	ErrInvalid = errors.New("invalid capability: this server did not sign it")
	// ErrUnsupported means that a caveat asks for what this server cannot honour.
	ErrUnsupported = errors.New("unsupported caveat: uses, rate and revocation ids are not honoured here")
)

// Ring is the secrets of a server: it signs with the first and verifies with any, so that secrets can be
// rotated. It may be used by many goroutines at once.
type Ring struct {
	keys     [256]*rootKey // by key id
	signer   byte
	verified *verified
}

// NewRing expands secrets of at least 32 bytes each. To rotate, put the new secret first and drop the old
// one when what it signed may end. The errors do not repeat a secret.
func NewRing(secrets ...[]byte) (*Ring, error) {
	if len(secrets) == 0 {
		return nil, errors.New("address: a ring needs a secret")
	}
	r := &Ring{verified: newVerified()}
	for i, secret := range secrets {
		if len(secret) < MinSecret {
			return nil, fmt.Errorf("address: secret %d has %d bytes; want at least %d random ones", i+1, len(secret), MinSecret)
		}
		id, err := hkdf.Key(sha256.New, secret, nil, purposeKeyID, 1)
		if err != nil {
			return nil, err
		}
		key, err := hkdf.Key(sha256.New, secret, nil, purposeCapability, sha256.Size)
		if err != nil {
			return nil, err
		}
		if r.keys[id[0]] != nil {
			return nil, fmt.Errorf("address: secret %d has the same key id as one before it; make another", i+1)
		}
		r.keys[id[0]] = newRootKey(key)
		if i == 0 {
			r.signer = id[0]
		}
	}
	return r, nil
}

// NewSecret returns 32 random bytes as 43 characters of base64url, to be given to [NewRing] as they are.
func NewSecret() string {
	var b [MinSecret]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// MailboxKey mints the key of a mailbox.
func (r *Ring) MailboxKey(id uuid.UUID) Key {
	var t token
	h := hashers.Get().(*hasher)
	defer hashers.Put(h)
	r.mintMailbox(&t, h, id)
	return Key{t.text()}
}

// Mailbox mints the key of a mailbox, and its address as [Key.Address] makes it.
func (r *Ring) Mailbox(id uuid.UUID) (Key, Address) {
	var t token
	h := hashers.Get().(*hasher)
	defer hashers.Put(h)
	r.mintMailbox(&t, h, id)
	key := Key{t.text()}
	if err := errors.Join(t.add(h, &onlyAddress), t.split()); err != nil {
		panic(err) // a key that was just minted can be narrowed
	}
	return key, Address{t.text()}
}

// onlyAddress leaves what an address may.
var onlyAddress = Only(addressRights)

func (r *Ring) mintMailbox(t *token, h *hasher, id uuid.UUID) {
	var head [3 + len(id)]byte
	head[0], head[1], head[2] = version, r.signer, byte(Mailbox)
	copy(head[3:], id[:])
	r.mint(t, h, head[:])
}

// Process mints the address of the process called name.
func (r *Ring) Process(name string) (Address, error) { return r.ProcessFor(name, addressRights) }

// ProcessFor mints an address of the process called name that has the given rights, among them perhaps [Exit], which
// [Ring.Process] leaves out. They must be those of an address.
func (r *Ring) ProcessFor(name string, rights Rights) (Address, error) {
	if rights&^publicRights != 0 || rights == 0 {
		return Address{}, fmt.Errorf("address: rights %v: want some of %v", rights, publicRights)
	}
	if !ValidName(name) {
		return Address{}, fmt.Errorf("address: process name %q: want %s", name, NameForm)
	}
	var root token
	h := hashers.Get().(*hasher)
	r.mint(&root, h, append([]byte{version, r.signer, byte(Process), byte(len(name))}, name...))
	hashers.Put(h)
	text, err := attenuate(root.text(), []Caveat{Only(rights)})
	return Address{text}, err
}

// mint makes t the root of a target's capabilities.
func (r *Ring) mint(t *token, h *hasher, head []byte) {
	t.caveats, t.size, t.rights = len(head), len(head)+tagSize, allRights
	tag := h.root(r.keys[r.signer], head)
	copy(t.raw[copy(t.raw[:], head):], tag[:])
}

// Verify checks the tag of an address's or key's text and fills g with what the capability allows. It
// allocates nothing but to remember a tag that was right, of up to 16,384 capabilities. The errors wrap [ErrMalformed], or are [ErrInvalid] or [ErrUnsupported].
func (r *Ring) Verify(g *Grant, text string) error {
	t := &g.token
	if err := t.parse(text); err != nil {
		return err
	}
	key := r.keys[t.keyID()]
	if key == nil {
		return ErrInvalid
	}
	hash, known := r.verified.has(t)
	if !known {
		if !key.signed(t) {
			return ErrInvalid
		}
		r.verified.add(t, hash)
	}
	return g.collect()
}

// signed reports whether the token's tag is right.
func (k *rootKey) signed(t *token) bool {
	h := hashers.Get().(*hasher)
	defer hashers.Put(h)
	tag := h.root(k, t.head())
	for c, next := t.caveat(t.caveats); c != nil; c, next = t.caveat(next) {
		tag = h.chain(&tag, c)
	}
	return subtle.ConstantTimeCompare(tag[:], t.tag()) == 1
}
