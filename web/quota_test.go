package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// byHeader tells clients apart as a proxy would.
func byHeader(r *http.Request) string { return r.Header.Get("Client") }

// TestSendQuotas sends as much as a client may, and one more, by each way to send.
func TestSendQuotas(t *testing.T) {
	for name, o := range map[string]Options{
		"messages": {SendRate: 0.001, SendBurst: 3},
		"bytes":    {SendBytes: 0.001, SendBytesBurst: 3 * 65536},
	} {
		t.Run(name, func(t *testing.T) {
			o.ClientAddress = byHeader
			s := serve(t, setup{web: o})
			to, body := s.open().Address, "1"
			if name == "bytes" {
				body = quoted(65536)
			}
			for i := range 3 {
				if a := s.send(to, body, "Client", "a"); a.status != 202 {
					t.Fatalf("message %d: %d %s", i, a.status, a.body)
				}
			}
			a := s.send(to, body, "Client", "a")
			expectProblem(t, "one more", a, 429, "too-many-messages")
			if a.header.Get("Retry-After") == "" || !strings.Contains(a.body, "at most") {
				t.Errorf("one more: Retry-After %q, %s", a.header.Get("Retry-After"), a.body)
			}
			expectProblem(t, "a call", s.do("POST", "/_gb/call/"+to, body, "Client", "a"), 429, "too-many-messages")

			line := fmt.Sprintf(`{"to":%q,"body":%s}`+"\n", to, body)
			many := s.do("POST", "/_gb/send", strings.Repeat(line, 4), "Content-Type", "application/x-ndjson", "Client", "b")
			answers := strings.Split(strings.TrimSpace(many.body), "\n")
			if got := summary(t, answers[2]) + ", " + summary(t, answers[3]); got != "202, 429 too-many-messages" {
				t.Errorf("the third and the fourth line: %s", got)
			}
			if n := metric(t, s, `genbrowser_messages_refused_total{reason="too-many-messages"}`); n != "3" {
				t.Errorf("%s are counted as refused, want 3", n)
			}
		})
	}
}

// metric returns the value of a number of /metrics.
func metric(t *testing.T, s *site, name string) string {
	t.Helper()
	for line := range strings.Lines(s.do("GET", "/metrics", "").body) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func TestStreamsPerClient(t *testing.T) {
	s := serve(t, setup{web: Options{StreamsPerClient: 2, ClientAddress: byHeader}})
	first := s.stream("/_gb/mailbox?new", "Client", "a")
	first.init()
	s.stream("/_gb/mailbox?new", "Client", "a").init()
	_, a := s.tryStream("/_gb/mailbox?new", "Client", "a")
	expectProblem(t, "a third stream", a, 429, "too-many-streams")
	s.stream("/_gb/mailbox?new", "Client", "b").init()
	first.close()
	until(t, "there is room for another one", func() bool {
		e, _ := s.tryStream("/_gb/mailbox?new", "Client", "a")
		return e != nil
	})
}

func TestQuotaOptions(t *testing.T) {
	s := serve(t, setup{})
	for _, o := range []Options{{SendRate: -1}, {SendBurst: -1}, {SendBytes: -1}, {SendBytesBurst: -1}, {StreamsPerClient: -1}} {
		o.Server = s.office
		if _, err := New(o); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
	if l := quota(5, 0, 1); l.burst != 50 {
		t.Errorf("the burst of 5 a second is %d, want 50", l.burst)
	}
	if l := quota(5, 0, 100); l.burst != 100 {
		t.Errorf("the burst is %d, less than the 100 that must fit", l.burst)
	}
}

func TestClients(t *testing.T) {
	s := serve(t, setup{web: Options{ClientAddress: byHeader, Operator: func(r *http.Request) bool { return r.Header.Get("Client") == "boss" }}})
	began := time.Now()
	one := s.stream("/_gb/mailbox?new", "Client", "192.0.2.1").init()
	s.stream("/_gb/mailbox?new", "Client", "192.0.2.2").init()
	expectProblem(t, "somebody", s.do("GET", "/_gb/clients", "", "Client", "192.0.2.1"), 403, "operators-only")
	for _, limit := range []string{"x", "-1", "10001"} {
		expectProblem(t, limit, s.do("GET", "/_gb/clients?limit="+limit, "", "Client", "boss"), 400, "malformed-request")
	}
	for limit, want := range map[string]int{"": 2, "?limit=1": 1, "?limit=0": 0} {
		a := s.do("GET", "/_gb/clients"+limit, "", "Client", "boss")
		var got struct {
			Streams int
			Clients []connected
		}
		if err := json.Unmarshal([]byte(a.body), &got); err != nil || got.Streams != 2 || len(got.Clients) != want {
			t.Fatalf("%q: %d %s", limit, a.status, a.body)
		}
		if want == 0 {
			continue
		}
		c := got.Clients[0]
		if c.Mailbox != s.grant(one.Key).Mailbox() || c.Client != "192.0.2.1" || c.Since.Before(began.Add(-time.Second)) || strings.Contains(a.body, "gb") {
			t.Errorf("%q: %s", limit, a.body)
		}
	}
}
