package web

import (
	"fmt"
	"strings"
	"testing"
)

// TestQuotaOfWhatIsWrong: what is refused counts as well, and once there was too much nothing else is said of it.
func TestQuotaOfWhatIsWrong(t *testing.T) {
	s := serve(t, setup{web: Options{SendRate: 0.001, SendBurst: 2, ClientAddress: byHeader}})
	to := s.open().Address
	for what, line := range map[string]string{
		"junk":             "junk",
		"no address":       `{"id":"a","to":"nobody","body":1}`,
		"nothing to send":  fmt.Sprintf(`{"id":"a","to":%q}`, to),
		"a wrong TTL":      fmt.Sprintf(`{"id":"a","to":%q,"body":1,"ttl":-1}`, to),
		"a long line":      `{"id":"a","body":` + quoted(70<<10) + `}`,
		"a very long line": `{"id":"a","body":` + quoted(300<<10) + `}`,
	} {
		many := s.do("POST", "/_gb/send", " \n"+strings.Repeat(line+"\n\n", 3), "Content-Type", "application/x-ndjson", "Client", what)
		answers := strings.Split(strings.TrimSpace(many.body), "\n")
		if len(answers) != 3 {
			t.Fatalf("%s: %d answers", what, len(answers))
		}
		want := "429 too-many-messages"
		if strings.Contains(line, `"id"`) {
			want = "a " + want
		}
		if second, third := summary(t, answers[1]), summary(t, answers[2]); strings.Contains(second, "too-many") || third != want {
			t.Errorf("%s: %s, and then %s; want %s", what, second, third, want)
		}
	}
	for what, wrong := range map[string][]string{
		"a picture": {"1", "Content-Type", "image/png"}, "a TTL": {"1", "TTL", "x"}, "no body": {""}, "no JSON": {"x"}, "a long body": {quoted(70 << 10)},
	} {
		for _, way := range []string{"/_gb/send/", "/_gb/call/"} {
			headers := append(wrong[1:len(wrong):len(wrong)], "Client", way+what)
			for range 2 {
				if a := s.do("POST", way+to, wrong[0], headers...); a.status == 429 || a.status < 400 {
					t.Errorf("%s%s: %d %s", way, what, a.status, a.body)
				}
			}
			expectProblem(t, way+what, s.do("POST", way+to, wrong[0], headers...), 429, "too-many-messages")
		}
	}
}

// TestQuotaOfWrongBytes: so do the bytes of a body that is refused.
func TestQuotaOfWrongBytes(t *testing.T) {
	s := serve(t, setup{web: Options{SendBytes: 0.001, ClientAddress: byHeader}}) // once the longest body
	line := fmt.Sprintf(`{"body":%s,"to":"nobody","wrong":1}`+"\n", quoted(60_000))
	many := s.do("POST", "/_gb/send", line+line, "Content-Type", "application/x-ndjson", "Client", "a")
	answers := strings.Split(strings.TrimSpace(many.body), "\n")
	if got := summary(t, answers[0]) + ", " + summary(t, answers[1]); got != "400 malformed-envelope, 429 too-many-messages" {
		t.Errorf("two lines: %s", got)
	}
}
