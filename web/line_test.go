package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/server"
)

// FuzzParseLine compares the parser with encoding/json, which is told to be as strict.
func FuzzParseLine(f *testing.F) {
	for _, seed := range []string{
		`{"to":"a","body":1}`, `{"to":"a","body":1,"id":"x","kind":"call","ref":"1","reply":"b","ttl":7,"trace":"t"}`,
		`{"to":"a","body":{"to":1},"body":2}`, `{"to":"\u0061","body":"\ud800"}`, ` { "to" : "a" , "body" : [ ] } `,
		`{"to":1,"body":1}`, `{"to":"a"}`, `{}`, `{"to":"a","body":1,}`, `{"to":"a","body":1}{}`, `{"To":"a","body":1}`,
		`{"to":"a","body":1,"ttl":01}`, `{"to":"a","body":1,"ttl":1e2}`, `{"to":"a","body":1,"kind":"x"}`, `{"to":"é","body":nul}`,
		`{"to":"a","body":1,"late":true}`, `{"to":"a","body":1,"late":false}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var got line
		err := parseLine(&got, b, 10_001) // deeper than encoding/json goes
		want, wantErr := referenceLine(b)
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("parseLine(%q) = %v, encoding/json says %v", b, err, wantErr)
		}
		if err != nil {
			return
		}
		if got.to != want.To || !bytes.Equal(got.letter.Body, want.Body) || got.letter.Name != want.ID || got.letter.Ref != want.Ref ||
			got.letter.Reply != want.Reply || got.letter.Trace != want.Trace || got.letter.TTL != time.Duration(want.TTL)*time.Second || got.late != want.Late ||
			want.Kind != nil && got.letter.Kind.String() != *want.Kind {
			t.Fatalf("parseLine(%q) = %+v, encoding/json says %+v", b, got, want)
		}
	})
}

// Lines are taken apart no deeper than bodies may be, for each level takes room on the stack.
func TestDeepLines(t *testing.T) {
	s := serve(t, setup{server: server.Options{Limits: mailbox.Limits{Depth: 7}}})
	to := `{"to":"` + s.open().Address + `","body":`
	for line, want := range map[string]string{
		to + nested(7) + "}":         `{"status":202}`,
		to + nested(8) + "}":         "malformed-json",
		to + `1,"id":` + nested(7):   "want a string",
		to + `1,"id":` + nested(8):   `member \"id\" is nested more than 7 deep`,
		to + `1,"id":` + nested(1e4): `member \"id\" is nested more than 7 deep`,
	} {
		if a := s.do("POST", "/_gb/send", line, "Content-Type", "application/x-ndjson"); !strings.Contains(a.body, want) {
			t.Errorf("%.100s: %s, want %s", line, a.body, want)
		}
	}
}

type reference struct {
	To    string          `json:"to"`
	Body  json.RawMessage `json:"body"`
	ID    string          `json:"id"`
	Kind  *string         `json:"kind"`
	Ref   string          `json:"ref"`
	Reply string          `json:"reply"`
	TTL   uint32          `json:"ttl"`
	Trace string          `json:"trace"`
	Late  bool            `json:"late"`
}

func referenceLine(b []byte) (m reference, err error) {
	if !json.Valid(b) || !utf8.Valid(b) {
		return m, fmt.Errorf("not JSON in UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		return m, fmt.Errorf("no object")
	}
	fields := reflect.ValueOf(&m).Elem()
	var seen []string
	for dec.More() {
		before := dec.InputOffset()
		tok, err := dec.Token()
		if err != nil {
			return m, err
		}
		name := tok.(string)
		if bytes.IndexByte(b[before:dec.InputOffset()], '\\') >= 0 || slices.Contains(seen, name) {
			return m, fmt.Errorf("member %q is escaped, or comes twice", name)
		}
		seen = append(seen, name)
		field := fields.FieldByNameFunc(func(f string) bool { return f != "" && strings.ToLower(f) == name })
		if !field.IsValid() {
			return m, fmt.Errorf("unknown member %q", name)
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return m, err
		}
		if name == "body" {
			m.Body = value
			continue
		}
		if err := json.Unmarshal(value, field.Addr().Interface()); err != nil {
			return m, err
		}
		if string(value) == "null" || field.IsZero() || name == "ttl" && m.TTL >= 1<<31 {
			return m, fmt.Errorf("%s is empty", name)
		}
		if name == "kind" && !slices.Contains([]string{"message", "call", "reply", "failure", "monitor", "demonitor", "link", "unlink", "exit"}, *m.Kind) {
			return m, fmt.Errorf("unknown kind")
		}
	}
	if m.To == "" || m.Body == nil {
		return m, fmt.Errorf("a member is missing")
	}
	return m, nil
}
