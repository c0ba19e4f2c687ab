package address

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"testing"
	"time"

	"github.com/google/uuid"
)

var update = flag.Bool("update", false, "rewrite testdata/vectors.json")

// vectors is what every implementation of capabilities is held against.
type vectors struct {
	Secret    string   `json:"secret"`
	KeyID     int      `json:"keyId"`
	Tokens    []vector `json:"tokens"`
	Malformed []struct {
		Name string `json:"name"`
		Text string `json:"text"`
	} `json:"malformed"`
}

type vector struct {
	Name        string      `json:"name"`
	Mailbox     string      `json:"mailbox,omitempty"`
	Process     string      `json:"process,omitempty"`
	Parent      string      `json:"parent"` // the text that this one narrows; empty for a root
	Restriction restriction `json:"restriction,omitzero"`
	Caveats     []struct {
		Type  byte   `json:"type"`
		Value string `json:"value"` // hexadecimal
	} `json:"caveats"`
	Bytes string `json:"bytes"` // hexadecimal
	Text  string `json:"text"`
}

// restriction is a step of narrowing, as the TypeScript client takes it.
type restriction struct {
	Rights   []string `json:"rights,omitempty"`
	Expires  int64    `json:"expires,omitempty"` // seconds since 1970
	MaxBytes *int     `json:"maxBytes,omitempty"`
	Types    []string `json:"types,omitempty"`
	Label    string   `json:"label,omitempty"`
	Reply    string   `json:"reply,omitempty"`
}

func (r restriction) caveats() (cs []Caveat) {
	if r.Rights != nil {
		var set Rights
		for _, name := range r.Rights {
			right, _ := ParseRight(name)
			set |= right
		}
		cs = append(cs, Only(set))
	}
	if r.Expires != 0 {
		cs = append(cs, Expires(time.Unix(r.Expires, 0)))
	}
	if r.MaxBytes != nil {
		cs = append(cs, MaxBytes(*r.MaxBytes))
	}
	if r.Types != nil {
		cs = append(cs, Types(r.Types...))
	}
	if r.Label != "" {
		cs = append(cs, Label(r.Label))
	}
	if r.Reply != "" {
		cs = append(cs, Reply(r.Reply))
	}
	return cs
}

const (
	vectorSecret = "0123456789abcdef0123456789abcdef"
	vectorFile   = "testdata/vectors.json"
)

func TestVectors(t *testing.T) {
	if *update {
		writeVectors(t)
	}
	data, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	ring := testRing(t, v.Secret)
	for _, want := range v.Tokens {
		t.Run(want.Name, func(t *testing.T) {
			var g Grant
			if err := ring.Verify(&g, want.Text); err != nil {
				t.Fatalf("Verify: %v", err)
			}
			if got := int(g.token.keyID()); got != v.KeyID {
				t.Errorf("key id = %d, want %d", got, v.KeyID)
			}
			if got := hex.EncodeToString(g.token.raw[:g.token.size]); got != want.Bytes {
				t.Errorf("bytes = %s, want %s", got, want.Bytes)
			}
			if want.Mailbox != "" && (g.Kind() != Mailbox || g.Mailbox().String() != want.Mailbox) || want.Process != "" && string(g.Name()) != want.Process {
				t.Errorf("target = %s, want %s%s", describe(&g.token), want.Mailbox, want.Process)
			}
			d, err := Inspect(want.Text)
			if err != nil || len(d.Caveats) != len(want.Caveats) {
				t.Fatalf("Inspect: %d caveats, %v; want %d", len(d.Caveats), err, len(want.Caveats))
			}
			for i, c := range want.Caveats {
				if value, _ := hex.DecodeString(c.Value); byte(d.Caveats[i].typ) != c.Type || !bytes.Equal(d.Caveats[i].value, value) {
					t.Errorf("caveat %d = %x %x, want %x %s", i, d.Caveats[i].typ, d.Caveats[i].value, c.Type, c.Value)
				}
			}
			if want.Parent == "" {
				return
			}
			if got, err := attenuate(want.Parent, want.Restriction.caveats()); err != nil || got != want.Text {
				t.Errorf("attenuate = %s, %v; want %s", got, err, want.Text)
			}
		})
	}
	for _, m := range v.Malformed {
		t.Run("malformed/"+m.Name, func(t *testing.T) {
			var g Grant
			if err := ring.Verify(&g, m.Text); !errors.Is(err, ErrMalformed) {
				t.Errorf("Verify = %v, want ErrMalformed", err)
			}
		})
	}
}

// writeVectors makes the file anew, after a change of the format that is meant.
func writeVectors(t *testing.T) {
	ring := testRing(t, vectorSecret)
	id := uuid.MustParse("0f8fad5b-d9cb-469f-a165-70867728950e")
	v := vectors{Secret: vectorSecret, KeyID: int(ring.signer)}
	zero, kib := 0, 1024
	add := func(name, parent, text string, r restriction) string {
		if parent != "" {
			var err error
			if text, err = attenuate(parent, r.caveats()); err != nil {
				t.Fatal(err)
			}
		}
		var tok token
		if err := tok.parse(text); err != nil {
			t.Fatal(err)
		}
		entry := vector{Name: name, Parent: parent, Restriction: r, Text: text, Bytes: hex.EncodeToString(tok.raw[:tok.size])}
		if tok.kind() == Mailbox {
			entry.Mailbox = tok.mailbox().String()
		} else {
			entry.Process = string(tok.name())
		}
		for c, next := tok.caveat(tok.caveats); c != nil; c, next = tok.caveat(next) {
			entry.Caveats = append(entry.Caveats, struct {
				Type  byte   `json:"type"`
				Value string `json:"value"`
			}{c[0], hex.EncodeToString(c[2:])})
		}
		v.Tokens = append(v.Tokens, entry)
		return text
	}
	key := add("mailbox key", "", ring.MailboxKey(id).Reveal(), restriction{})
	addr := add("mailbox address", key, "", restriction{Rights: []string{"send", "call", "monitor", "link"}})
	add("read-only key", key, "", restriction{Rights: []string{"read"}})
	add("send only", addr, "", restriction{Rights: []string{"send"}})
	add("expires", addr, "", restriction{Expires: 1893456000})
	add("max bytes", addr, "", restriction{MaxBytes: &kib})
	add("max bytes 0", addr, "", restriction{MaxBytes: &zero})
	add("types", addr, "", restriction{Types: []string{"ping", "größe", ""}})
	labelled := add("label", addr, "", restriction{Label: "for Ömer"})
	add("label on a label", labelled, "", restriction{Label: "his phone"})
	add("everything", addr, "", restriction{Rights: []string{"send", "call"}, Expires: 1 << 40, MaxBytes: &kib, Types: []string{"a"}, Label: "x"})
	ref := "kOq4x8n2TfCzqv0bLZ3p1w"
	add("reply", addr, "", restriction{Reply: ref})
	add("reply address", addr, "", restriction{Rights: []string{"send"}, Expires: 1893456000, Reply: ref})
	process, err := ring.Process("chat/lobby")
	if err != nil {
		t.Fatal(err)
	}
	var rooted token
	ring.mint(&rooted, hashers.Get().(*hasher), append([]byte{version, ring.signer, byte(Process), 10}, "chat/lobby"...))
	root := rooted.text()
	add("process root", "", root, restriction{})
	add("process address", root, "", restriction{Rights: []string{"send", "call", "monitor", "link"}})
	if v.Tokens[len(v.Tokens)-1].Text != process.String() {
		t.Fatal("Process does not mint root plus rights")
	}

	raw := func(edit func(b []byte) []byte) string {
		var tok token
		if err := tok.parse(addr); err != nil {
			t.Fatal(err)
		}
		return addressPrefix + base64url.EncodeToString(edit(bytes.Clone(tok.raw[:tok.size])))
	}
	withCaveat := func(c ...byte) string {
		return raw(func(b []byte) []byte { return append(append(bytes.Clone(b[:22]), c...), b[22:]...) })
	}
	bad := func(name, text string) {
		v.Malformed = append(v.Malformed, struct {
			Name string `json:"name"`
			Text string `json:"text"`
		}{name, text})
	}
	bad("empty", "")
	bad("no prefix", addr[len(addressPrefix):])
	bad("prefix only", addressPrefix)
	bad("key's prefix on an address", keyPrefix+addr[len(addressPrefix):])
	bad("address's prefix on a key", addressPrefix+key[len(keyPrefix):])
	bad("padded", addr+"=")
	bad("standard alphabet", addressPrefix+"+/"+addr[6:])
	bad("line end inside", addr[:20]+"\n"+addr[20:])
	whole, err := attenuate(addr, []Caveat{Label("xx")}) // of 42 bytes, which leave no bits over
	if err != nil {
		t.Fatal(err)
	}
	bad("line end between whole bytes", whole[:20]+"\n"+whole[20:])
	bad("carriage return behind whole bytes", whole+"\r")
	bad("space behind", addr+" ")
	bad("bits left over", addr[:len(addr)-1]+"_")
	bad("too long", addr+string(bytes.Repeat([]byte("A"), 512)))
	bad("too short", addr[:20])
	bad("version 2", raw(func(b []byte) []byte { b[0] = 2; return b }))
	bad("kind 9", raw(func(b []byte) []byte { b[2] = 9; return b }))
	bad("name beyond the end", raw(func(b []byte) []byte { b[2], b[3] = 2, 200; return b }))
	bad("name empty", raw(func(b []byte) []byte { b[2], b[3] = 2, 0; return b }))
	bad("unknown caveat", withCaveat(0x7f, 1, 0))
	bad("caveat beyond the end", withCaveat(0x05, 200, 'x'))
	bad("rights of 3 bytes", withCaveat(0x01, 3, 1, 1, 1))
	bad("rights with a needless byte", withCaveat(0x01, 2, 1, 0))
	bad("unknown right", withCaveat(0x01, 1, 0x20))
	bad("expires with a leading zero", withCaveat(0x02, 2, 0, 1))
	bad("expires of 7 bytes", withCaveat(0x02, 7, 1, 1, 1, 1, 1, 1, 1))
	bad("max bytes empty", withCaveat(0x03, 0))
	bad("types empty", withCaveat(0x04, 0))
	bad("types cut off", withCaveat(0x04, 2, 5, 'a'))
	bad("types not UTF-8", withCaveat(0x04, 2, 1, 0xff))
	bad("label empty", withCaveat(0x05, 0))
	bad("label with a control character", withCaveat(0x05, 1, '\n'))
	bad("label not UTF-8", withCaveat(0x05, 1, 0xff))
	bad("reply empty", withCaveat(0x09, 0))
	bad("reply with a space", withCaveat(0x09, 3, 'a', ' ', 'b'))
	bad("reply not ASCII", withCaveat(0x09, 2, 0xc3, 0xa9))
	bad("reply of 129 bytes", withCaveat(append([]byte{0x09, 129}, bytes.Repeat([]byte("x"), 129)...)...))
	bad("revocation id of 1 byte", withCaveat(0x08, 1, 1))
	var many []byte
	for range MaxCaveats {
		many = append(many, 0x05, 1, 'x')
	}
	bad("17 caveats", withCaveat(many...))

	out, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(vectorFile, append(out, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

func testRing(t testing.TB, secrets ...string) *Ring {
	t.Helper()
	var bs [][]byte
	for _, s := range secrets {
		bs = append(bs, []byte(s))
	}
	r, err := NewRing(bs...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
