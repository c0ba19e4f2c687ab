// Package address makes and checks capabilities: unforgeable texts that name a target (a mailbox or a
// process) and carry the right to do something with it.
//
// A server mints them from its secrets with a [Ring] and verifies them with the same ring, keeping no state
// for any of them. Whoever holds one narrows it with caveats, offline, and nobody can widen it again: each
// caveat is signed with the tag before it, and only the last tag is handed on.
//
//	token  = version:1 | key id:1 | target | caveat* | tag:16
//	target = kind:1 | id
//	caveat = type:1 | length:1 | value
//	tag 0  = HMAC-SHA256(K[key id], domain | version | key id | target), cut to 16 bytes
//	tag n  = HMAC-SHA256(tag n-1, caveat n), cut to 16 bytes
//
// The text is base64url(token) behind a prefix that tells people and secret scanners what they see: [Address]
// ("gba_") may be handed to others, [Key] ("gbk_") is its owner's secret. PROTOCOL.md has the same in prose,
// and testdata/vectors.json the vectors that every implementation reads.
package address
