package web

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"testing"
)

// unsupported returns genuine addresses with each caveat that PROTOCOL.md reserves, made by its rules alone.
func unsupported(t testing.TB) map[string]string {
	t.Helper()
	key := testRing(t, "the secret of the tests").MailboxKey([16]byte{1})
	a, err := key.Address()
	if err != nil {
		t.Fatal(err)
	}
	token, err := base64.RawURLEncoding.DecodeString(a.String()[len("gba_"):])
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for name, caveat := range map[string][]byte{
		"uses":          {0x06, 1, 1},
		"rate":          {0x07, 1, 60},
		"revocation id": append([]byte{0x08, 16}, make([]byte, 16)...),
	} {
		body, tag := token[:len(token)-16], token[len(token)-16:]
		mac := hmac.New(sha256.New, tag)
		mac.Write(caveat)
		narrowed := append(append(append([]byte(nil), body...), caveat...), mac.Sum(nil)[:16]...)
		all[name] = "gba_" + base64.RawURLEncoding.EncodeToString(narrowed)
	}
	return all
}
