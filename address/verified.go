package address

import (
	"bytes"
	"crypto/subtle"

	"hash/maphash"
	"sync/atomic"
)

// verifiedSlots is how many tokens are remembered at most; a power of two.
const verifiedSlots = 1 << 14

// verified remembers tokens whose tags were found right, so that one which is used again and again is not signed again
// each time. It says nothing else of them: when they end and what they allow is looked at for every message.
//
// A token has two neighbouring slots: a new one takes the first, and what was there the second. It must have come
// before, or tokens that come once would drive out those that are used.
type verified struct {
	seed  maphash.Seed
	slots [verifiedSlots]atomic.Pointer[[]byte]
	came  [verifiedSlots]atomic.Uint32 // hashes of those that came last
}

func newVerified() *verified { return &verified{seed: maphash.MakeSeed()} }

// has reports whether the token is remembered; hash is for [verified.add].
func (v *verified) has(t *token) (hash uint64, known bool) {
	raw := t.raw[:t.size]
	hash = maphash.Bytes(v.seed, raw)
	at := hash % verifiedSlots
	return hash, isToken(v.slots[at].Load(), t) || isToken(v.slots[at^1].Load(), t)
}

// isToken compares in constant time what nobody may guess.
func isToken(known *[]byte, t *token) bool {
	if known == nil || len(*known) != t.size {
		return false
	}
	tagged, tag := (*known)[:t.size-tagSize], (*known)[t.size-tagSize:]
	return bytes.Equal(tagged, t.tagged()) && subtle.ConstantTimeCompare(tag, t.tag()) == 1
}

// add remembers a token whose tag is right, if it came before.
func (v *verified) add(t *token, hash uint64) {
	at := hash % verifiedSlots
	if mark := uint32(hash >> 32); v.came[at].Swap(mark) != mark {
		return
	}
	raw := bytes.Clone(t.raw[:t.size])
	if before := v.slots[at].Swap(&raw); before != nil {
		v.slots[at^1].Store(before)
	}
}
