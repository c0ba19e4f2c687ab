package problem

import (
	"encoding/json"
	"errors"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// PROTOCOL.md lists every kind with its status, and no other.
func TestKindsAreThoseOfTheProtocol(t *testing.T) {
	text, err := os.ReadFile("../../PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, row := range regexp.MustCompile(`(?m)^\| (\d{3}) \| ([a-z0-9-]+) \|`).FindAllStringSubmatch(string(text), -1) {
		status, _ := strconv.Atoi(row[1])
		listed[row[2]] = true
		if k := byCode[row[2]]; k == nil || k.Status != status {
			t.Errorf("PROTOCOL.md has %d %s, the code %+v", status, row[2], k)
		}
	}
	for code := range byCode {
		if !listed[code] {
			t.Errorf("PROTOCOL.md lacks %s", code)
		}
	}
}

func TestRoundTrip(t *testing.T) {
	for code, k := range byCode {
		p := &Problem{Kind: k, Detail: "why", RetryAfter: 1500 * time.Millisecond}
		b, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		got := Parse(k.Status, b)
		if !errors.Is(got, k) || got.Detail != "why" || got.RetryAfter != 2*time.Second {
			t.Errorf("%s: %s gives %+v", code, b, got)
		}
	}
}

// What is told of a detail is short, whatever it echoes.
func TestLongDetail(t *testing.T) {
	for detail, want := range map[string]string{
		strings.Repeat("a", 1024):               strings.Repeat("a", 1024),
		strings.Repeat("a", 1025):               strings.Repeat("a", 1021) + "…",
		"a" + strings.Repeat("é", 1<<20):        "a" + strings.Repeat("é", 510) + "…",
		"ab" + strings.Repeat("é", 1<<20):       "ab" + strings.Repeat("é", 509) + "…",
		strings.Repeat("\x80", maxDetail+1):     "…",
		strings.Repeat("\U0001f600", maxDetail): strings.Repeat("\U0001f600", 255) + "…",
	} {
		if got := (&Problem{Kind: Refused, Detail: detail}).Members().Detail; got != want {
			t.Errorf("%d bytes: %d, %.40q, want %d", len(detail), len(got), got, len(want))
		}
	}
}

func TestParseOfWhatIsNoProblem(t *testing.T) {
	for body, want := range map[string]string{
		"":                                   "502 Bad Gateway",
		"<html>":                             "502 Bad Gateway",
		`{"type":1}`:                         "502 Bad Gateway",
		`{"type":"x"}`:                       "502 Bad Gateway",
		`{"title":"t"}`:                      "t",
		`{"type":"full","title":"not ours"}`: "not ours",
		`{"type":"urn:gen-browser:newer","title":"newer"}`: "newer",
	} {
		p := Parse(502, []byte(body))
		if p.Kind.Status != 502 || p.Kind.Title != want || errors.Is(p, Full) {
			t.Errorf("Parse(%q) = %+v", body, p.Kind)
		}
	}
}
