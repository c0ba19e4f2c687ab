package address

import (
	"bytes"
	stdhmac "crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

const secretA, secretB = "the first secret, 32 bytes long!", "the other secret, 32 bytes long!"

func TestMailboxAddress(t *testing.T) {
	ring := testRing(t, secretA)
	id := uuid.New()
	key := ring.MailboxKey(id)
	addr, err := key.Address()
	if err != nil {
		t.Fatal(err)
	}
	if len(addr.String()) > 64 {
		t.Errorf("an address has %d characters, want at most 64", len(addr.String()))
	}
	var g Grant
	if err := ring.Verify(&g, addr.String()); err != nil || g.Kind() != Mailbox || g.Mailbox() != id {
		t.Fatalf("Verify = %v, %s", err, describe(&g.token))
	}
	now := time.Now()
	for _, right := range []Rights{Send, Call, Monitor, Link} {
		if err := g.Permit(right, now); err != nil {
			t.Errorf("address: Permit(%v) = %v", right, err)
		}
	}
	for _, right := range []Rights{Exit, Read, Ack, Close, Mint, Revoke, Send | Read} {
		if err := g.Permit(right, now); !errors.Is(err, ErrRight) {
			t.Errorf("address: Permit(%v) = %v, want ErrRight", right, err)
		}
	}
	if err := ring.Verify(&g, key.Reveal()); err != nil || g.Permit(allRights, now) != nil {
		t.Errorf("key: Verify = %v, Permit = %v", err, g.Permit(allRights, now))
	}
}

// TestForgery flips every bit of a token, and swaps its parts with those of others.
func TestForgery(t *testing.T) {
	ring := testRing(t, secretA)
	key := ring.MailboxKey(uuid.New())
	narrow, err := key.Address(MaxBytes(10))
	if err != nil {
		t.Fatal(err)
	}
	var tok token
	if err := tok.parse(narrow.String()); err != nil {
		t.Fatal(err)
	}
	refuse := func(what string, raw []byte) {
		t.Helper()
		for _, prefix := range []string{addressPrefix, keyPrefix} {
			var g Grant
			if err := ring.Verify(&g, prefix+base64url.EncodeToString(raw)); !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrMalformed) {
				t.Errorf("%s: Verify = %v", what, err)
			}
		}
	}
	for i := range tok.size * 8 {
		raw := bytes.Clone(tok.raw[:tok.size])
		raw[i/8] ^= 1 << (i % 8)
		refuse(fmt.Sprintf("bit %d flipped", i), raw)
	}
	tagged := tok.tagged()
	refuse("last caveat removed", append(bytes.Clone(tagged[:len(tagged)-3]), tok.tag()...))
	refuse("all caveats removed", append(bytes.Clone(tok.head()), tok.tag()...))
	refuse("caveats swapped", append(append(append(bytes.Clone(tok.head()), tagged[22:]...), tagged[19:22]...), tok.tag()...))
}

func TestRotation(t *testing.T) {
	before, both, after := testRing(t, secretA), testRing(t, secretB, secretA), testRing(t, secretB)
	was, now := before.MailboxKey(uuid.New()).Reveal(), both.MailboxKey(uuid.New()).Reveal()
	var g Grant
	for _, c := range []struct {
		name string
		ring *Ring
		text string
		want error
	}{
		{"old key, both secrets", both, was, nil},
		{"new key, both secrets", both, now, nil},
		{"new key, new secret", after, now, nil},
		{"old key, new secret", after, was, ErrInvalid},
		{"new key, old secret", before, now, ErrInvalid},
	} {
		if err := c.ring.Verify(&g, c.text); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// TestSameKeyID covers two secrets whose ids collide: the tag still tells them apart.
func TestSameKeyID(t *testing.T) {
	ring := testRing(t, secretA)
	for i := 0; ; i++ {
		other := fmt.Sprintf("%032d", i)
		r := testRing(t, other)
		if r.signer != ring.signer {
			continue
		}
		var g Grant
		if err := ring.Verify(&g, r.MailboxKey(uuid.New()).Reveal()); !errors.Is(err, ErrInvalid) {
			t.Errorf("Verify = %v, want ErrInvalid", err)
		}
		if _, err := NewRing([]byte(secretA), []byte(other)); err == nil {
			t.Error("a ring took two secrets with one key id")
		}
		return
	}
}

func TestNewRing(t *testing.T) {
	for _, secrets := range [][][]byte{nil, {make([]byte, MinSecret-1)}, {[]byte(secretA), nil}} {
		if _, err := NewRing(secrets...); err == nil {
			t.Errorf("NewRing took %d secrets, one too short", len(secrets))
		}
	}
	if _, err := NewRing(make([]byte, MinSecret)); err != nil {
		t.Errorf("NewRing refused %d bytes: %v", MinSecret, err)
	}
	if a, b := NewSecret(), NewSecret(); a == b || len(a) != 43 {
		t.Errorf("NewSecret = %d characters, twice the same: %v", len(a), a == b)
	}
}

func TestCaveatsHold(t *testing.T) {
	ring := testRing(t, secretA)
	key := ring.MailboxKey(uuid.New())
	now := time.Unix(1_800_000_000, 0)
	grant := func(cs ...Caveat) *Grant {
		t.Helper()
		addr, err := key.Address(cs...)
		if err != nil {
			t.Fatal(err)
		}
		g := &Grant{}
		if err := ring.Verify(g, addr.String()); err != nil {
			t.Fatal(err)
		}
		return g
	}

	g := grant(Expires(now), Expires(now.Add(time.Hour)))
	if err := g.Permit(Send, now.Add(-time.Second)); err != nil {
		t.Errorf("a second before it expires: %v", err)
	}
	if err := g.Permit(Send, now); !errors.Is(err, ErrExpired) {
		t.Errorf("as it expires: %v", err)
	}
	g = grant(MaxBytes(4), MaxBytes(9))
	if err := g.PermitBody([]byte("1234")); err != nil {
		t.Errorf("4 of 4 bytes: %v", err)
	}
	if err := g.PermitBody([]byte("12345")); !errors.Is(err, ErrTooLarge) {
		t.Errorf("5 of 4 bytes: %v", err)
	}
	if got := grant(Label("a"), Label("b")).Labels(); fmt.Sprint(got) != "[a b]" {
		t.Errorf("Labels = %v", got)
	}
	if got := grant().Labels(); got != nil {
		t.Errorf("Labels = %v, want none", got)
	}

	g = grant(Types("ping", "pong"), Types("ping", "log"))
	for body, want := range map[string]error{
		`{"type":"ping"}`:                          nil,
		`{"\u0074ype":"p\u0069ng","n":1}`:          nil,
		`{"n":{"type":"x"},"type":"ping","m":[1]}`: nil,
		`{"n":1e999,"type":"ping"}`:                nil,
		`{"type":"pong"}`:                          ErrType, // not in the second set
		`{"type":"PING"}`:                          ErrType,
		`{"Type":"ping"}`:                          ErrType,
		`{"type":"ping","type":"x"}`:               ErrType,
		`{"type":"x","\u0074ype":"ping"}`:          ErrType,
		`{"type":"ping","Type":"x"}`:               ErrType, // a decoder that folds case sees x
		`{"tYpe":1,"type":"ping"}`:                 ErrType,
		`{"type":"ping","n":{"Type":"x"}}`:         nil,
		`{"type":["ping"]}`:                        ErrType,
		`{"type":{"type":"ping"}}`:                 ErrType,
		`{"type":null}`:                            ErrType,
		`{}`:                                       ErrType,
		`["type","ping"]`:                          ErrType,
		`"ping"`:                                   ErrType,
		`null`:                                     ErrType,
	} {
		if err := g.PermitBody([]byte(body)); !errors.Is(err, want) {
			t.Errorf("PermitBody(%s) = %v, want %v", body, err, want)
		}
	}
}

// TestUnsupported holds that a caveat which cannot be honoured is never ignored.
func TestUnsupported(t *testing.T) {
	ring := testRing(t, secretA)
	for _, c := range []Caveat{
		{typ: caveatUses, value: []byte{1}}, {typ: caveatRate, value: []byte{60}}, {typ: caveatRevocation, value: make([]byte, 16)},
	} {
		addr, err := ring.MailboxKey(uuid.New()).Address(c)
		if err != nil {
			t.Fatal(err)
		}
		var g Grant
		if err := ring.Verify(&g, addr.String()); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%v: Verify = %v, want ErrUnsupported", c, err)
		}
	}
}

func TestCaveatLimits(t *testing.T) {
	addr, err := testRing(t, secretA).MailboxKey(uuid.New()).Address()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]Caveat{
		"zero value":     {},
		"unknown right":  Only(1 << 15),
		"before 1970":    Expires(time.Unix(-1, 0)),
		"far future":     Expires(time.Unix(1<<48, 0)),
		"negative bytes": MaxBytes(-1),
		"no types":       Types(),
		"long types":     Types(strings.Repeat("a", 200), strings.Repeat("b", 60)),
		"broken type":    Types("\xff"),
		"replacement":    Types("\uFFFD"),
		"no label":       Label(""),
		"long label":     Label(strings.Repeat("a", 65)),
		"control label":  Label("a\x7f"),
	} {
		if _, err := addr.Attenuate(c); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	for name, c := range map[string]Caveat{
		"last second": Expires(time.Unix(1<<48-1, 0)),
		"full types":  Types(strings.Repeat("a", 200), strings.Repeat("b", 53)),
		"full label":  Label(strings.Repeat("a", 64)),
	} {
		if _, err := addr.Attenuate(c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// one caveat is there already: the rights
	narrow := addr
	for i := range MaxCaveats {
		narrow, err = narrow.Attenuate(Label("x"))
		if i < MaxCaveats-1 && err != nil || i == MaxCaveats-1 && err == nil {
			t.Errorf("caveat %d: %v", i+2, err)
		}
	}
	if _, err := addr.Attenuate(Types(strings.Repeat("a", 254)), Types(strings.Repeat("a", 254))); err == nil {
		t.Error("a text of more than 512 characters was made")
	}
}

func TestNames(t *testing.T) {
	ring := testRing(t, secretA)
	for _, name := range []string{"a", "order/42", "a.b_c~d:e@f-G", strings.Repeat("x", MaxName)} {
		addr, err := ring.Process(name)
		var g Grant
		if err != nil || ring.Verify(&g, addr.String()) != nil || string(g.Name()) != name || g.Kind() != Process {
			t.Errorf("Process(%q) = %v", name, err)
		}
	}
	for _, name := range []string{"", "a b", "ö", "a\n", "..", "shop/../till", "./a", "a/.", strings.Repeat("x", MaxName+1)} {
		if _, err := ring.Process(name); err == nil {
			t.Errorf("Process(%q) was taken", name)
		}
	}
}

func TestText(t *testing.T) {
	key := testRing(t, secretA).MailboxKey(uuid.New())
	addr, err := key.Address()
	if err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(map[string]any{"deep": []any{map[string]any{"to": addr}}})
	if want := `{"deep":[{"to":"` + addr.String() + `"}]}`; err != nil || string(out) != want {
		t.Errorf("Marshal = %s, %v; want %s", out, err, want)
	}
	var back struct{ To Address }
	if err := json.Unmarshal([]byte(`{"To":"`+addr.String()+`"}`), &back); err != nil || back.To != addr {
		t.Errorf("Unmarshal = %v, %v", back.To, err)
	}
	if err := json.Unmarshal([]byte(`{"To":"nonsense"}`), &back); !errors.Is(err, ErrMalformed) {
		t.Errorf("Unmarshal(nonsense) = %v, want ErrMalformed", err)
	}
	if _, err := Parse(key.Reveal()); !errors.Is(err, ErrMalformed) {
		t.Errorf("Parse took a key: %v", err)
	}
	if _, err := ParseKey(addr.String()); !errors.Is(err, ErrMalformed) {
		t.Errorf("ParseKey took an address: %v", err)
	}
	if k, err := ParseKey(key.Reveal()); err != nil || k != key {
		t.Errorf("ParseKey = %v", err)
	}
	if _, err := key.Attenuate(Only(Send)); err == nil {
		t.Error("a key without an owner's right is still called a key")
	}

	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "key", key, "address", addr, "nested", struct{ K Key }{key})
	printed := log.String() + fmt.Sprintf("%v %s %+v %#v %q", key, key, struct{ K Key }{key}, key, key)
	if secret := key.Reveal()[30:]; strings.Contains(printed, secret) || strings.Contains(log.String(), addr.String()[30:]) {
		t.Errorf("a secret was printed: %s", printed)
	}
}

func TestTagsAgreeWithStandardLibrary(t *testing.T) {
	h := hashers.Get().(*hasher)
	for size := range 258 {
		message := bytes.Repeat([]byte{byte(size)}, size)
		check := func(what string, got [tagSize]byte, key, message []byte) {
			std := stdhmac.New(sha256.New, key)
			std.Write(message)
			if want := std.Sum(nil)[:tagSize]; !bytes.Equal(got[:], want) {
				t.Fatalf("%s of %d bytes: %x, want %x", what, size, got, want)
			}
		}
		key := bytes.Repeat([]byte{9}, sha256.Size)
		check("root", h.root(newRootKey(key), message[:min(size, 140)]), key, append([]byte(domain), message[:min(size, 140)]...))
		tag := [tagSize]byte{1, 2, 3}
		check("chain", h.chain(&tag, message), tag[:], message)
	}
}

func TestVerifyAllocatesNothing(t *testing.T) {
	ring := testRing(t, secretA)
	addr, err := ring.MailboxKey(uuid.New()).Address(Label("x"), Types("a"))
	if err != nil {
		t.Fatal(err)
	}
	text := addr.String()
	if n := testing.AllocsPerRun(100, func() {
		var g Grant
		if ring.Verify(&g, text) != nil {
			t.Fatal("not verified")
		}
	}); n != 0 {
		t.Errorf("Verify allocates %v times", n)
	}
}

func FuzzParse(f *testing.F) {
	ring := testRing(f, secretA)
	addr, _ := ring.MailboxKey(uuid.New()).Address(Expires(time.Now()), Types("a", "b"), Label("x"))
	f.Add(addr.String())
	process, _ := ring.Process("name")
	f.Add(process.String())
	f.Add(ring.MailboxKey(uuid.New()).Reveal())
	whole, _ := ring.MailboxKey(uuid.New()).Address(Label("xx")) // of 42 bytes, which leave no bits over
	f.Add(whole.String() + "\n")
	f.Fuzz(func(t *testing.T, text string) {
		var tok token
		if tok.parse(text) != nil {
			return
		}
		if got := tok.text(); got != text {
			t.Errorf("%q is another form of %q", text, got)
		}
		if _, err := Inspect(text); err != nil {
			t.Errorf("Inspect(%q) = %v", text, err)
		}
	})
}

// FuzzVerify holds that nothing verifies that was not narrowed from what the ring minted.
func FuzzVerify(f *testing.F) {
	ring := testRing(f, secretA)
	key := ring.MailboxKey(uuid.UUID{1})
	f.Add([]byte{}, []byte{}, 0)
	f.Add([]byte{1, 1, 1}, []byte{5, 1, 'x'}, 3)
	f.Fuzz(func(t *testing.T, caveats, mangle []byte, at int) {
		var tok token
		if err := tok.parse(key.Reveal()); err != nil {
			t.Fatal(err)
		}
		raw := append(append(bytes.Clone(tok.tagged()), caveats...), tok.tag()...)
		for i, b := range mangle {
			raw[uint(at+i)%uint(len(raw))] ^= b
		}
		var g Grant
		for _, prefix := range []string{addressPrefix, keyPrefix} {
			text := prefix + base64url.EncodeToString(raw)
			if ring.Verify(&g, text) == nil && text != key.Reveal() {
				t.Errorf("forged: %s", text)
			}
		}
	})
}

// What a ring mints at once is what its parts mint one after the other.
func TestMailbox(t *testing.T) {
	ring, id := testRing(t, secretA), uuid.New()
	key, a := ring.Mailbox(id)
	want, err := ring.MailboxKey(id).Address()
	if err != nil || key != ring.MailboxKey(id) || a != want {
		t.Errorf("Mailbox = %q, %v; want %q, %v (%v)", key.Reveal(), a, ring.MailboxKey(id).Reveal(), want, err)
	}
}
