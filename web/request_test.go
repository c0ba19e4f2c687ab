package web

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/server"
)

func TestCursors(t *testing.T) {
	s := serve(t, setup{})
	o, other := s.open(), s.open()
	s.mustSend(o.Address, "1", "2")
	auth := "Bearer " + o.Key
	epoch, _, _ := strings.Cut(o.Cursor, ".")
	for _, tt := range []struct {
		name   string
		cursor string
		status int
		code   string
	}{
		{"no dot", "12345678", 400, "malformed-cursor"},
		{"words", "x.y", 400, "malformed-cursor"},
		{"short epoch", "1234567.1", 400, "malformed-cursor"},
		{"upper case", "ABCDEF12.1", 400, "malformed-cursor"},
		{"leading zero", epoch + ".01", 400, "malformed-cursor"},
		{"sign", epoch + ".+1", 400, "malformed-cursor"},
		{"beyond 64 bits", epoch + ".99999999999999999999", 400, "malformed-cursor"},
		{"no sequence", epoch + ".", 400, "malformed-cursor"},
		{"another epoch", other.Cursor[:8] + ".0", 409, "unknown-cursor"},
		{"ahead", epoch + ".3", 416, "cursor-ahead"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, a := s.tryStream("/_gb/mailbox", "Authorization", auth, "Last-Event-ID", tt.cursor)
			expectProblem(t, "Last-Event-ID", a, tt.status, tt.code)
			_, a = s.tryStream("/_gb/mailbox?cursor="+strings.ReplaceAll(tt.cursor, "+", "%2B"), "Authorization", auth)
			expectProblem(t, "?cursor=", a, tt.status, tt.code)
			expectProblem(t, "long-poll", s.poll(o, "wait=0s&cursor="+strings.ReplaceAll(tt.cursor, "+", "%2B")), tt.status, tt.code)
			expectProblem(t, "ack", s.ack(o.Key, tt.cursor), tt.status, tt.code)
			_, a = s.tryStream("/_gb/mailbox", "Last-Event-ID", o.Key+"."+tt.cursor)
			expectProblem(t, "self-contained", a, tt.status, tt.code)
		})
	}
	expectProblem(t, "sequence of 20 digits is ahead", s.ack(o.Key, epoch+".18446744073709551615"), 416, "cursor-ahead")

	_, a := s.tryStream("/_gb/mailbox", "Last-Event-ID", o.Cursor)
	expectProblem(t, "Last-Event-ID without key", a, 401, "missing-key")
	_, a = s.tryStream("/_gb/mailbox?new&cursor=" + o.Cursor)
	expectProblem(t, "?cursor= without key", a, 401, "missing-key")
	_, a = s.tryStream("/_gb/mailbox?cursor=" + o.Key + "." + o.Cursor)
	expectProblem(t, "key in the URL", a, 400, "malformed-cursor")
	_, a = s.tryStream("/_gb/mailbox", "Authorization", auth, "Last-Event-ID", other.Key+"."+other.Cursor)
	expectProblem(t, "another key", a, 400, "malformed-cursor")
	_, a = s.tryStream("/_gb/mailbox?new", "Authorization", auth)
	expectProblem(t, "?new with a key", a, 400, "malformed-request")
	_, a = s.tryStream("/_gb/mailbox?ack=never", "Authorization", auth)
	expectProblem(t, "?ack=never", a, 400, "malformed-request")
	_, a = s.tryStream("/_gb/mailbox?a=%zz")
	expectProblem(t, "malformed query", a, 400, "malformed-request")

	e := s.stream("/_gb/mailbox", "Authorization", auth, "Last-Event-ID", o.Key+"."+o.Cursor) // the same key twice
	if b := e.init(); b.event.id != o.Cursor {
		t.Errorf("id %q, want a short one", b.event.id)
	}
}

func TestAccept(t *testing.T) {
	for accept, want := range map[string]string{
		"": "text/event-stream", "*/*": "text/event-stream", "text/*": "text/event-stream",
		"text/event-stream": "text/event-stream", "Text/Event-Stream; charset=utf-8": "text/event-stream",
		"application/json": "application/json", "application/*": "application/json",
		"text/html, application/json;q=0.9, */*;q=0.1": "application/json",
		"text/event-stream;q=0, application/json":      "application/json",
		"text/html": "", "text/html;q=x;, image/png": "", ",": "",
	} {
		var values []string
		if accept != "" {
			values = []string{accept}
		}
		if got := wanted(values); got != want {
			t.Errorf("wanted(%q) = %q, want %q", accept, got, want)
		}
	}
	s := serve(t, setup{})
	expectProblem(t, "text/html", s.do("GET", "/_gb/mailbox", "", "Accept", "text/html"), 406, "not-acceptable")
}

func TestAuthorization(t *testing.T) {
	s := serve(t, setup{})
	o := s.open()
	stranger, err := address.NewRing([]byte(address.NewSecret()))
	if err != nil {
		t.Fatal(err)
	}
	foreign := stranger.MailboxKey(s.grant(o.Key).Mailbox()).Reveal()
	readOnly := attenuated(t, o.Key, address.Only(address.Read))
	ackOnly := attenuated(t, o.Key, address.Only(address.Ack))
	expired := attenuated(t, o.Key, address.Expires(time.Now().Add(-time.Hour)))
	tampered := o.Key[:len(o.Key)-2] + flip(o.Key[len(o.Key)-2:])
	for _, tt := range []struct {
		name, authorization string
		status              int
		code                string
	}{
		{"none", "", 401, "missing-key"},
		{"another scheme", "Basic Z2I6Z2I=", 401, "missing-key"},
		{"no credentials", "Bearer ", 401, "missing-key"},
		{"no key", "Bearer abc", 400, "malformed-address"},
		{"an address", "Bearer " + o.Address, 403, "missing-right"},
		{"a foreign key", "Bearer " + foreign, 403, "invalid-capability"},
		{"a tampered key", "Bearer " + tampered, 403, "invalid-capability"},
		{"a wrong prefix", "Bearer gba_" + o.Key[4:], 400, "malformed-address"},
		{"expired", "Bearer " + expired, 403, "capability-expired"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			expectProblem(t, "ack", s.do("POST", "/_gb/ack", `{"cursor":"`+o.Cursor+`"}`, "Authorization", tt.authorization), tt.status, tt.code)
			expectProblem(t, "close", s.do("DELETE", "/_gb/mailbox", "", "Authorization", tt.authorization), tt.status, tt.code)
			expectProblem(t, "poll", s.do("GET", "/_gb/mailbox?wait=0s", "", "Accept", "application/json", "Authorization", tt.authorization), tt.status, tt.code)
			e, a := s.tryStream("/_gb/mailbox", "Authorization", tt.authorization)
			if tt.code != "missing-key" {
				expectProblem(t, "stream", a, tt.status, tt.code)
			} else if e == nil { // with no key a stream opens a mailbox
				t.Errorf("stream: %d %s", a.status, a.body)
			} else if b := e.init(); b.Key == "" || b.Key == o.Key {
				t.Errorf("init = %+v, want a new mailbox", b)
			}
		})
	}
	expectProblem(t, "ack with read", s.ack(readOnly, o.Cursor), 403, "missing-right")
	expectProblem(t, "close with read", s.do("DELETE", "/_gb/mailbox", "", "Authorization", "Bearer "+readOnly), 403, "missing-right")
	_, a := s.tryStream("/_gb/mailbox", "Authorization", "Bearer "+ackOnly)
	expectProblem(t, "stream with ack", a, 403, "missing-right")
	if a := s.do("POST", "/_gb/ack", `{"cursor":"`+o.Cursor+`"}`, "Authorization", "bearer  "+ackOnly); a.status != 204 {
		t.Errorf("ack: %d %s", a.status, a.body)
	}
	for _, body := range []string{"", "x", "{}", `{"cursor":null}`, `{"cursor":1}`, `[]`} {
		expectProblem(t, "ack "+body, s.do("POST", "/_gb/ack", body, "Authorization", "Bearer "+o.Key), 400, "malformed-json")
	}
}

// flip changes the text so that its bits differ within what base64 keeps.
func flip(text string) string {
	if text[0] == 'A' {
		return "B" + text[1:]
	}
	return "A" + text[1:]
}

func TestAddresses(t *testing.T) {
	s := serve(t, setup{})
	o := s.open()
	stranger, err := address.NewRing([]byte(address.NewSecret()))
	if err != nil {
		t.Fatal(err)
	}
	process, err := testRing(t, "the secret of the tests").Process("nobody")
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := stranger.MailboxKey(s.grant(o.Key).Mailbox()).Address()
	if err != nil {
		t.Fatal(err)
	}
	never, err := testRing(t, "the secret of the tests").MailboxKey([16]byte{7}).Address()
	if err != nil {
		t.Fatal(err)
	}
	closed := s.open()
	s.do("DELETE", "/_gb/mailbox", "", "Authorization", "Bearer "+closed.Key)
	body := `{"type":"a"}`
	for _, tt := range []struct {
		name, to string
		status   int
		code     string
	}{
		{"empty", "", 400, "malformed-address"},
		{"words", "nobody", 400, "malformed-address"},
		{"prefix alone", "gba_", 400, "malformed-address"},
		{"other prefix", "gbk_" + o.Address[4:], 400, "malformed-address"},
		{"padding", o.Address + "=", 400, "malformed-address"},
		{"more behind", o.Address + "/x", 400, "malformed-address"},
		{"cut", o.Address[:len(o.Address)-4], 400, "malformed-address"},
		{"too long", "gba_" + strings.Repeat("A", 600), 400, "malformed-address"},
		{"tampered tag", o.Address[:len(o.Address)-2] + flip(o.Address[len(o.Address)-2:]), 403, "invalid-capability"},
		{"other secret", foreign.String(), 403, "invalid-capability"},
		{"no send right", attenuated(t, o.Address, address.Only(address.Call)), 403, "missing-right"},
		{"expired", attenuated(t, o.Address, address.Expires(time.Now().Add(-time.Second))), 403, "capability-expired"},
		{"type not allowed", attenuated(t, o.Address, address.Types("b", "c")), 403, "type-not-allowed"},
		{"type allowed", attenuated(t, o.Address, address.Types("a")), 202, ""},
		{"over max bytes", attenuated(t, o.Address, address.MaxBytes(len(body)-1)), 413, "too-large"},
		{"max bytes", attenuated(t, o.Address, address.MaxBytes(len(body))), 202, ""},
		{"a key", o.Key, 400, "malformed-address"},
		{"an encoded key", "%67bk%5f" + o.Key[4:], 400, "malformed-address"},
		{"closed", closed.Address, 410, "closed"},
		{"never was", never.String(), 410, "gone"},
		{"no such process", process.String(), 410, "gone"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := s.send(tt.to, body)
			if tt.status == 202 {
				if a.status != 202 || a.body != "" {
					t.Errorf("%d %q, want 202", a.status, a.body)
				}
				return
			}
			expectProblem(t, "send", a, tt.status, tt.code)
			if strings.Contains(a.body, "gba_A") || strings.Contains(a.body, "gbk_A") {
				t.Errorf("the answer repeats a capability: %s", a.body)
			}
		})
	}
}

// The caveats that this version does not honour can be made by anybody who can count bytes.
func TestUnsupportedCaveat(t *testing.T) {
	s := serve(t, setup{})
	for name, text := range unsupported(t) {
		expectProblem(t, name, s.send(text, "1"), 403, "unsupported-caveat")
	}
}

func TestBodies(t *testing.T) {
	s := serve(t, setup{})
	o := s.open()
	for _, tt := range []struct {
		name, body string
		headers    []string
		status     int
		code       string
	}{
		{"empty", "", nil, 400, "empty-body"},
		{"white space", " \r\n\t", nil, 400, "empty-body"},
		{"not JSON", "{a:1}", nil, 400, "malformed-json"},
		{"two values", "1 2", nil, 400, "malformed-json"},
		{"cut", `{"a":`, nil, 400, "malformed-json"},
		{"NaN", "NaN", nil, 400, "malformed-json"},
		{"byte order mark", "\ufeff1", nil, 400, "malformed-json"},
		{"control character", "\"\x01\"", nil, 400, "malformed-json"},
		{"line end in a string", "\"\n\"", nil, 400, "malformed-json"},
		{"invalid UTF-8", "\"\xff\"", nil, 400, "invalid-utf8"},
		{"surrogate in UTF-8", "\"\xed\xa0\x80\"", nil, 400, "invalid-utf8"},
		{"deepest", nested(512), nil, 202, ""},
		{"too deep", nested(513), nil, 400, "malformed-json"},
		{"largest", quoted(64 << 10), nil, 202, ""},
		{"too large", quoted(64<<10 + 1), nil, 413, "too-large"},
		{"null", "null", nil, 202, ""},
		{"false", "false", nil, 202, ""},
		{"text/plain", "1", []string{"Content-Type", "text/plain;charset=UTF-8"}, 202, ""},
		{"JSON in a charset", "1", []string{"Content-Type", "Application/JSON; charset=utf-8"}, 202, ""},
		{"form", "1", []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "unsupported-media-type"},
		{"malformed type", "1", []string{"Content-Type", "/;"}, 415, "unsupported-media-type"},
		{"idempotency key", "1", []string{"Idempotency-Key", "a b"}, 400, "malformed-request"},
		{"long idempotency key", "1", []string{"Idempotency-Key", strings.Repeat("x", 129)}, 400, "malformed-request"},
		{"trace", "1", []string{"Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, 202, ""},
		{"malformed trace", "1", []string{"Traceparent", "x"}, 400, "malformed-request"},
		{"TTL 1", "1", []string{"TTL", "1"}, 202, ""},
		{"TTL 7 days", "1", []string{"TTL", "604800"}, 202, ""},
		{"TTL over 7 days", "1", []string{"TTL", "604801"}, 400, "malformed-request"},
		{"TTL 0", "1", []string{"TTL", "0"}, 400, "malformed-request"},
		{"TTL 1.5", "1", []string{"TTL", "1.5"}, 400, "malformed-request"},
		{"TTL -1", "1", []string{"TTL", "-1"}, 400, "malformed-request"},
		{"TTL +1", "1", []string{"TTL", "+1"}, 400, "malformed-request"},
		{"TTL of 20 digits", "1", []string{"TTL", strings.Repeat("9", 20)}, 400, "malformed-request"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := s.send(o.Address, tt.body, tt.headers...)
			if tt.status == 202 {
				if a.status != 202 {
					t.Errorf("%d %s, want 202", a.status, a.body)
				}
				return
			}
			expectProblem(t, tt.name, a, tt.status, tt.code)
		})
	}
}

// A dead target is told from one that never was, and a released process from both.
func TestDeadTargets(t *testing.T) {
	s := serve(t, setup{server: server.Options{Limits: mailbox.Limits{Asleep: 20 * time.Millisecond}}})
	o := s.open()
	until(t, "the mailbox expires", func() bool { return s.office.Stats().Mailboxes == 0 })
	expectProblem(t, "send", s.send(o.Address, "1"), 410, "expired")
	expectProblem(t, "poll", s.poll(o, "wait=0s"), 410, "expired")
	expectProblem(t, "ack", s.ack(o.Key, o.Cursor), 410, "expired")
	_, a := s.tryStream("/_gb/mailbox", "Authorization", "Bearer "+o.Key)
	expectProblem(t, "stream", a, 410, "expired")

	p, err := s.office.Handle("p", server.HandlerFunc(func(context.Context, server.Message) error { return nil }))
	if err != nil {
		t.Fatal(err)
	}
	s.mustSend(p.String(), "1")
	s.office.Release("p")
	expectProblem(t, "a released process", s.send(p.String(), "1"), 410, "gone")
}

type order struct{ Amount int }

func (o *order) Validate() error {
	if o.Amount <= 0 {
		return errors.New("amount: want more than 0")
	}
	return nil
}

func TestProcesses(t *testing.T) {
	s := serve(t, setup{server: server.Options{Queue: 1}})
	hold, got := make(chan struct{}), make(chan int, 2)
	p, err := s.office.Handle("orders", server.Typed(func(_ context.Context, o order, _ server.Message) error {
		<-hold
		got <- o.Amount
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	a := s.send(p.String(), `{"Amount":0}`)
	expectProblem(t, "validation", a, 422, "refused")
	if !strings.Contains(a.body, "amount: want more than 0") {
		t.Errorf("the answer does not say why: %s", a.body)
	}
	s.mustSend(p.String(), `{"Amount":1}`)
	a = s.send(p.String(), `{"Amount":2}`)
	expectProblem(t, "a full queue", a, 429, "full")
	if a.header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After %q", a.header.Get("Retry-After"))
	}
	close(hold)
	if n := <-got; n != 1 {
		t.Errorf("got %d", n)
	}
}

// A client that has only its key, such as a long-poll after a reload, is told all about its mailbox.
func TestDescribe(t *testing.T) {
	s := serve(t, setup{web: Options{OpenBurst: 1, OpenRate: 0.01}})
	o := s.open()
	s.mustSend(o.Address, "1", "2")
	s.ack(o.Key, cursorOf(o, 1))
	a := s.do("POST", "/_gb/mailbox", "", "Authorization", "Bearer "+o.Key) // beyond the limit of opens, for it opens nothing
	var got opened
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.status != 200 || a.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %s (%v)", a.status, a.body, err)
	}
	if got.Address != o.Address || got.Key != "" || got.Cursor != cursorOf(o, 1) || string(got.Config) != "{}" || got.Limits != o.Limits {
		t.Errorf("got %+v", got)
	}
	if n := s.office.Stats().Mailboxes; n != 1 {
		t.Errorf("%d mailboxes", n)
	}
	expectProblem(t, "an address", s.do("POST", "/_gb/mailbox", "", "Authorization", "Bearer "+o.Address), 403, "missing-right")
	s.do("DELETE", "/_gb/mailbox", "", "Authorization", "Bearer "+o.Key)
	expectProblem(t, "closed", s.do("POST", "/_gb/mailbox", "", "Authorization", "Bearer "+o.Key), 410, "closed")
}
