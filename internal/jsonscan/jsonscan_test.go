package jsonscan

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

var corpus = []string{
	``, ` `, `null`, `true`, `false`, `nul`, `nullx`, `0`, `-0`, `01`, `-`, `1.`, `1.5e+3`, `1e`, `.5`, `+1`, `1E400`, `""`, `"`, `"a`, "\"a\nb\"",
	"\"\x7f\"", "\"\x1f\"", `"\u00e9"`, `"\u00zz"`, `"\x"`, `"\ud800"`, `"é€😀"`, "\"\xff\"", "\"\xed\xa0\x80\"", "\"\xc0\x80\"",
	"\xff", "[\xff]", `{}`, `[]`, `[1,]`, `[,1]`, `{"a":1,}`, `{"a"}`, `{"a":}`, `{a:1}`, `{"a":1}{}`, " \t\r\n{ \"a\" : [ 1 , { } ] } \n",
	`[1 2]`, `{"a":1 "b":2}`, `]`, `}`, `[}`, `{]`, `"12345678"`, `"1234567\"9"`, "\"1234567\x00\"", `"12345678é"`, "\uFEFFnull", `"` + strings.Repeat("abcdefgh", 9) + `\"x"`,
}

func reference(b []byte) bool { return json.Valid(b) && utf8.Valid(b) }

func TestAgreesWithEncodingJSON(t *testing.T) {
	for _, s := range corpus {
		if got := Valid([]byte(s), 9999) == nil; got != reference([]byte(s)) {
			t.Errorf("Valid(%q) = %v", s, got)
		}
	}
	for c := range 256 { // every byte at every place of a word of 8
		for at := range 17 {
			b := []byte(`"abcdefghabcdefgh"`)
			b[1:][at%16] = byte(c)
			if got := Valid(b, 1) == nil; got != reference(b) {
				t.Errorf("Valid(%q) = %v", b, got)
			}
		}
	}
}

func TestErrors(t *testing.T) {
	for s, want := range map[string]error{
		"": ErrEmpty, " \n": ErrEmpty, "{": ErrSyntax, "\"\xff\"": ErrUTF8, "\xff": ErrUTF8, "[1,\xff]": ErrUTF8, `"a" "b"`: ErrSyntax,
	} {
		if got := Valid([]byte(s), 9); got != want {
			t.Errorf("Valid(%q) = %v, want %v", s, got, want)
		}
	}
}

func TestDepth(t *testing.T) {
	for _, pair := range []string{"[]", "{}"} {
		open, shut := pair[:1], pair[1:]
		if open == "{" {
			open, shut = `{"a":`, "}"
		}
		nested := func(n int) []byte {
			return []byte(strings.Repeat(open, n) + "1" + strings.Repeat(shut, n))
		}
		if err := Valid(nested(512), 512); err != nil {
			t.Errorf("depth 512 of %s: %v", pair, err)
		}
		if err := Valid(nested(513), 512); err != ErrDepth {
			t.Errorf("depth 513 of %s: %v", pair, err)
		}
	}
	if err := Valid([]byte(`1`), 0); err != nil {
		t.Errorf("depth 0: %v", err)
	}
}

func FuzzValid(f *testing.F) {
	for _, s := range corpus {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if got := Valid(b, 9999) == nil; got != reference(b) {
			t.Errorf("Valid(%q) = %v, want %v", b, got, !got)
		}
	})
}
