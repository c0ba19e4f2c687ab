package address

import (
	"crypto/sha256"
	"encoding"
	"hash"
	"sync"
)

// domain keeps a tag from meaning anything in another protocol that shares the key.
const domain = "gen-browser capability\x00"

const block = sha256.BlockSize

// rootKey is a key of HMAC-SHA256 (RFC 2104), kept as the states of SHA-256 after the key's two blocks, which
// saves hashing them again for each tag. crypto/hmac makes the same tags and allocates on each call, which
// every message would pay for.
type rootKey struct{ inner, outer []byte }

func newRootKey(key []byte) *rootKey {
	inner, outer := pads(key)
	return &rootKey{state(inner[:]), state(outer[:])}
}

// pads returns the blocks that HMAC hashes ahead of the message and ahead of the inner sum.
func pads(key []byte) (inner, outer [block]byte) {
	inner, outer = innerPad, outerPad
	for i, b := range key {
		inner[i] ^= b
		outer[i] ^= b
	}
	return inner, outer
}

// innerPad and outerPad are the pads of a key of no bytes.
var innerPad, outerPad = func() (inner, outer [block]byte) {
	for i := range block {
		inner[i], outer[i] = 0x36, 0x5c
	}
	return inner, outer
}()

func state(first []byte) []byte {
	h := sha256.New()
	h.Write(first)
	state, err := h.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		panic(err) // SHA-256 promises to marshal
	}
	return state
}

// hasher makes tags. It is reused, since a hash behind an interface moves to the heap with all it is given.
type hasher struct {
	hash.Hash
	encoding.BinaryUnmarshaler
	b   [block + 2 + 255]byte // fits a block and the longest caveat
	sum [sha256.Size]byte
}

var hashers = sync.Pool{New: func() any {
	h := sha256.New()
	return &hasher{Hash: h, BinaryUnmarshaler: h.(encoding.BinaryUnmarshaler)}
}}

// root signs version, key id and target.
func (h *hasher) root(key *rootKey, head []byte) (tag [tagSize]byte) {
	h.resume(key.inner)
	n := copy(h.b[:], domain)
	n += copy(h.b[n:], head)
	h.Write(h.b[:n])
	h.Sum(h.sum[:0])
	h.resume(key.outer)
	h.Write(h.sum[:])
	return [tagSize]byte(h.Sum(h.sum[:0]))
}

func (h *hasher) resume(state []byte) {
	if err := h.UnmarshalBinary(state); err != nil {
		panic(err) // it is a state that SHA-256 made
	}
}

// chain signs one caveat with the tag before it.
func (h *hasher) chain(tag *[tagSize]byte, caveat []byte) [tagSize]byte {
	inner, outer := pads(tag[:])
	h.Reset()
	copy(h.b[:], inner[:])
	n := block + copy(h.b[block:], caveat)
	h.Write(h.b[:n])
	h.Sum(h.sum[:0])
	h.Reset()
	copy(h.b[:], outer[:])
	copy(h.b[block:], h.sum[:])
	h.Write(h.b[:block+sha256.Size])
	return [tagSize]byte(h.Sum(h.sum[:0]))
}
