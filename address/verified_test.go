package address

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

func remembers(t *testing.T, r *Ring, a Address) bool {
	t.Helper()
	var tok token
	if err := tok.parse(a.String()); err != nil {
		t.Fatal(err)
	}
	_, known := r.verified.has(&tok)
	return known
}

func TestVerifiedIsRemembered(t *testing.T) {
	ring := testRing(t, secretA)
	a, _ := ring.MailboxKey(uuid.New()).Address()
	var g Grant
	for i, want := range []bool{false, true, true} {
		if err := ring.Verify(&g, a.String()); err != nil {
			t.Fatal(err)
		}
		if got := remembers(t, ring, a); got != want {
			t.Errorf("after %d times it is remembered: %v, want %v", i+1, got, want)
		}
	}
	want, err := a.Attenuate(MaxBytes(10))
	if err != nil {
		t.Fatal(err)
	}
	if remembers(t, ring, want) || remembers(t, testRing(t, secretA), a) {
		t.Error("remembered what was never seen")
	}
}

// What is remembered is the right tag, and no other; what a capability allows is looked at each time.
func TestVerifiedKnowsNoOther(t *testing.T) {
	ring := testRing(t, secretA)
	a, _ := ring.MailboxKey(uuid.New()).Address()
	a, err := a.Attenuate(Expires(time.Unix(1000, 0)))
	if err != nil {
		t.Fatal(err)
	}
	var g Grant
	for range 3 {
		if err := ring.Verify(&g, a.String()); err != nil {
			t.Fatal(err)
		}
		if err := g.Permit(Send, time.Unix(1000, 0)); !errors.Is(err, ErrExpired) {
			t.Errorf("Permit = %v, want ErrExpired", err)
		}
	}
	text := a.String()
	for i := len(addressPrefix); i < len(text); i++ {
		for _, c := range "AQgw-_" {
			forged := text[:i] + string(c) + text[i+1:]
			if err := ring.Verify(&g, forged); forged != text && err == nil {
				t.Fatalf("%s was taken for %s", forged, text)
			}
		}
	}
	var tok token
	if err := tok.parse(text); err != nil {
		t.Fatal(err)
	}
	known := slices.Clone(tok.raw[:tok.size])
	for i := range known { // a slot's number says nothing: two tokens can have the same
		if known[i]++; isToken(&known, &tok) {
			t.Errorf("a token is taken for one that differs in byte %d", i)
		}
		known[i]--
	}
	if !isToken(&known, &tok) {
		t.Error("a token is not known again")
	}
	if err := testRing(t, secretB).Verify(&g, text); !errors.Is(err, ErrInvalid) {
		t.Errorf("another server's ring says %v, want ErrInvalid", err)
	}
}

// More than can be remembered are verified all the same, and so are those that take each other's slots.
func TestVerifiedIsBounded(t *testing.T) {
	ring := testRing(t, secretA)
	addresses := make([]string, 2*verifiedSlots)
	for i := range addresses {
		a, _ := ring.MailboxKey(uuid.New()).Address()
		addresses[i] = strings.Clone(a.String())
	}
	var g Grant
	for range 3 {
		for _, text := range addresses {
			if err := ring.Verify(&g, text); err != nil {
				t.Fatal(err)
			}
		}
	}
}
