package web

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/server"
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
			if n := s.metric(`genbrowser_messages_refused_total{reason="too-many-messages"}`); n != "3" {
				t.Errorf("%s are counted as refused, want 3", n)
			}
		})
	}
}

// A body that is longer than may come at once is too long at any time, and is not asked to come later.
func TestQuotaBelowTooLarge(t *testing.T) {
	s := serve(t, setup{web: Options{SendBytes: 0.001, ClientAddress: byHeader}})
	line := fmt.Sprintf(`{"to":%q,"body":%s}`, s.open().Address, quoted(65537))
	many := s.do("POST", "/_gb/send", line, "Content-Type", "application/x-ndjson", "Client", "a")
	if got := summary(t, many.body); got != "413 too-large" {
		t.Errorf("a line above the limit and the burst: %s", many.body)
	}
}

func TestStreamsPerClient(t *testing.T) {
	s := serve(t, setup{web: Options{StreamsPerClient: 2, ClientAddress: byHeader}})
	first := s.stream("/_gb/mailbox?new", "Client", "a")
	first.init()
	s.stream("/_gb/mailbox?new", "Client", "a").init()
	_, a := s.tryStream("/_gb/mailbox?new", "Client", "a")
	expectProblem(t, "a third stream", a, 429, "too-many-streams")
	if n := s.metric("genbrowser_mailboxes"); n != "2" {
		t.Errorf("%s mailboxes, of which nobody knows one; want 2", n)
	}
	s.stream("/_gb/mailbox?new", "Client", "b").init()
	first.close()
	until(t, "there is room for another one", func() bool {
		e, _ := s.tryStream("/_gb/mailbox?new", "Client", "a")
		return e != nil
	})
}

// TestStreamPlaceAfterPanic: a stream whose Open hook panics gives its place back.
func TestStreamPlaceAfterPanic(t *testing.T) {
	opens := 0
	s := serve(t, setup{web: Options{StreamsPerClient: 1, Open: func(*http.Request) (any, error) {
		if opens++; opens == 1 {
			panic("a fault of the hook")
		}
		return nil, nil
	}}})
	if _, err := s.try("GET", "/_gb/mailbox?new", ""); err == nil {
		t.Fatal("the hook did not panic")
	}
	s.stream("/_gb/mailbox?new").init()
}

// TestStreamsAtOnce: of streams that begin at the same time, those above the limit open no mailbox.
func TestStreamsAtOnce(t *testing.T) {
	s := serve(t, setup{web: Options{StreamsPerClient: 2, ClientAddress: byHeader}})
	var starting sync.WaitGroup
	for range 16 {
		starting.Go(func() { s.tryStream("/_gb/mailbox?new", "Client", "a") })
	}
	starting.Wait()
	if n := s.metric("genbrowser_mailboxes"); n != "2" {
		t.Errorf("%s mailboxes, want 2", n)
	}
	closed := s.open()
	s.do("DELETE", "/_gb/mailbox", "", "Authorization", "Bearer "+closed.Key)
	for range 2 {
		_, a := s.tryStream("/_gb/mailbox", "Client", "b", "Authorization", "Bearer "+closed.Key)
		expectProblem(t, "a stream of no mailbox", a, 410, "closed")
	}
	for range 2 { // what did not begin has no place
		s.stream("/_gb/mailbox?new", "Client", "b").init()
	}
}

// TestHeldPerClient: an upload, a call and a long-poll that wait are all that a client may have that may have three.
func TestHeldPerClient(t *testing.T) {
	s := serve(t, setup{web: Options{HeldPerClient: 3, ClientAddress: byHeader}})
	most := s.office.Limits().Body + lineOverhead // of an upload that is not held
	box := s.open()
	key := "Bearer " + box.Key
	pipe, upload := io.Pipe()
	held := []*http.Request{
		httptest.NewRequest("POST", s.srv.URL+"/_gb/send", pipe),
		httptest.NewRequest("POST", s.srv.URL+"/_gb/call/"+s.open().Address, strings.NewReader("1")),
		httptest.NewRequest("GET", s.srv.URL+"/_gb/mailbox?wait=20s", nil),
	}
	within, cancel := context.WithCancel(ctx)
	var waiting sync.WaitGroup
	for i, headers := range [][]string{{"Content-Type", "application/x-ndjson"}, {"Content-Type", "application/json"}, {"Accept", "application/json", "Authorization", key}} {
		r := held[i].WithContext(within)
		r.RequestURI = ""
		setHeaders(r, append(headers, "Client", "a"))
		waiting.Go(func() {
			if resp, err := s.srv.Client().Do(r); err == nil {
				if text, err := io.ReadAll(resp.Body); err == nil && within.Err() == nil {
					t.Errorf("%s: %d %s", r.URL, resp.StatusCode, text)
				}
				resp.Body.Close()
			} else if within.Err() == nil {
				t.Errorf("%s: %v", r.URL, err)
			}
		})
	}
	waiting.Go(func() { io.WriteString(upload, "\n") }) // net/http's client waits for the first byte
	places := func() int {
		s.gb.held.mu.Lock()
		defer s.gb.held.mu.Unlock()
		return s.gb.held.of["a"]
	}
	until(t, "all wait", func() bool { return places() == 3 })
	for what, a := range map[string]answered{
		"an upload":   s.do("POST", "/_gb/send", strings.Repeat("\n", most+1), "Content-Type", "application/x-ndjson", "Client", "a"),
		"a call":      s.do("POST", "/_gb/call/"+box.Address, "1", "Client", "a"),
		"a long-poll": s.do("GET", "/_gb/mailbox?wait=0", "", "Accept", "application/json", "Authorization", key, "Client", "a"),
	} {
		expectProblem(t, what, a, 429, "too-many-requests")
		if a.header.Get("Retry-After") != "1" || !strings.Contains(a.body, "at most 3") {
			t.Errorf("%s: Retry-After %q, %s", what, a.header.Get("Retry-After"), a.body)
		}
	}
	if a := s.do("POST", "/_gb/send", "\n", "Content-Type", "application/x-ndjson", "Client", "b"); a.status != 200 {
		t.Errorf("an upload of another client: %d %s", a.status, a.body)
	}
	if a := s.do("POST", "/_gb/send", strings.Repeat("\n", most), "Content-Type", "application/x-ndjson", "Client", "a"); a.status != 200 {
		t.Errorf("an upload that is as short as a send: %d %s", a.status, a.body)
	}
	cancel()
	upload.Close()
	waiting.Wait()
	until(t, "all places are free", func() bool { return places() == 0 })
	if a := s.do("POST", "/_gb/send", "\n", "Content-Type", "application/x-ndjson", "Client", "a"); a.status != 200 {
		t.Errorf("an upload once there is room: %d %s", a.status, a.body)
	}
}

// TestQuotaOfNobody: who has no name is limited as well, all of them together.
func TestQuotaOfNobody(t *testing.T) {
	s := serve(t, setup{web: Options{SendRate: 0.001, SendBurst: 1, ClientAddress: byHeader}})
	line := fmt.Sprintf(`{"to":%q,"body":1}`+"\n", s.open().Address)
	many := s.do("POST", "/_gb/send", line+line, "Content-Type", "application/x-ndjson")
	answers := strings.Split(strings.TrimSpace(many.body), "\n")
	if got := summary(t, answers[0]) + ", " + summary(t, answers[1]); got != "202, 429 too-many-messages" {
		t.Errorf("two lines: %s", got)
	}
}

// TestHalfALink: what takes back a monitor does not take back half a link, which would count for nobody.
func TestHalfALink(t *testing.T) {
	s := serve(t, setup{web: Options{MonitorsPerClient: 1, ClientAddress: byHeader}})
	a, b := s.open(), s.open()
	line := func(kind, ref string) string {
		text := fmt.Sprintf(`{"to":%q,"kind":%q,"ref":%q,"reply":%q,"body":null}`, b.Address, kind, ref, replyAddress(t, a, ref))
		return summary(t, strings.TrimSpace(s.do("POST", "/_gb/send", text, "Content-Type", "application/x-ndjson", "Client", "a").body))
	}
	for _, step := range [][3]string{
		{"link", "1", "202"}, {"demonitor", "1", "202"}, {"link", "2", "429 too-many-monitors"},
		{"unlink", "1", "202"}, {"link", "2", "202"},
	} {
		if got := line(step[0], step[1]); got != step[2] {
			t.Errorf("%s %s: %s, want %s", step[0], step[1], got, step[2])
		}
	}
}

// TestTakeoverAtTheLimit: who may have no more streams ends nobody else's, and can come back to its own.
func TestTakeoverAtTheLimit(t *testing.T) {
	s := serve(t, setup{web: Options{StreamsPerClient: 2, ClientAddress: byHeader}})
	theirs := s.stream("/_gb/mailbox?new", "Client", "b")
	box := theirs.init()
	mine := s.stream("/_gb/mailbox?new", "Client", "a").init()
	s.stream("/_gb/mailbox?new", "Client", "a").init()
	_, a := s.tryStream("/_gb/mailbox", "Client", "a", "Authorization", "Bearer "+box.Key)
	expectProblem(t, "another's mailbox", a, 429, "too-many-streams")
	if a := s.send(box.Address, `"still here"`); a.status != 202 {
		t.Fatal(a)
	}
	if ev, err := theirs.read(); err != nil || ev.name != "" {
		t.Errorf("the other's stream: %+v, %v; want the message", ev, err)
	}
	for range 3 {
		s.stream("/_gb/mailbox", "Client", "a", "Authorization", "Bearer "+mine.Key).init()
		until(t, "the stream before is gone", func() bool { return s.metric("genbrowser_streams") == "3" })
	}
}

func TestQuotaOptions(t *testing.T) {
	s := serve(t, setup{})
	for _, o := range []Options{{SendRate: -1}, {SendBurst: -1}, {SendBytes: -1}, {SendBytesBurst: -1}, {StreamsPerClient: -1}, {HeldPerClient: -1}, {MailboxesPerClient: -1}, {MonitorsPerClient: -1}} {
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

func TestMailboxesPerClient(t *testing.T) {
	s := serve(t, setup{web: Options{MailboxesPerClient: 2, ClientAddress: byHeader}})
	var first opened
	for i := range 2 {
		a := s.do("POST", "/_gb/mailbox", "", "Client", "a")
		if err := json.Unmarshal([]byte(a.body), &first); err != nil || a.status != 201 {
			t.Fatalf("mailbox %d: %d %s", i, a.status, a.body)
		}
	}
	third := s.do("POST", "/_gb/mailbox", "", "Client", "a")
	expectProblem(t, "a third mailbox", third, 429, "too-many-mailboxes")
	if third.header.Get("Retry-After") == "" || !strings.Contains(third.body, "at most 2") {
		t.Errorf("a third mailbox: Retry-After %q, %s", third.header.Get("Retry-After"), third.body)
	}
	_, a := s.tryStream("/_gb/mailbox?new", "Client", "a")
	expectProblem(t, "a third one by a stream", a, 429, "too-many-mailboxes")
	if n := s.metric(`genbrowser_mailboxes_refused_total{reason="too-many-mailboxes"}`); n != "2" {
		t.Errorf("%s are counted as refused, want 2", n)
	}
	s.stream("/_gb/mailbox?new", "Client", "b").init()
	s.stream("/_gb/mailbox", "Client", "a", "Authorization", "Bearer "+first.Key).init() // one of its own
	if a := s.do("DELETE", "/_gb/mailbox", "", "Authorization", "Bearer "+first.Key); a.status != 204 {
		t.Fatalf("close: %d", a.status)
	}
	s.stream("/_gb/mailbox?new", "Client", "a").init()
	expectProblem(t, "one more after that", s.do("POST", "/_gb/mailbox", "", "Client", "a"), 429, "too-many-mailboxes")
}

// TestMonitorsPerClient goes to the limit with every way in which a monitor or link comes to its end.
func TestMonitorsPerClient(t *testing.T) {
	s := serve(t, setup{web: Options{MonitorsPerClient: 2, ClientAddress: byHeader}})
	watcher, refs := s.open(), 0
	line := func(client, kind, to, reply, ref string) string {
		t.Helper()
		text := fmt.Sprintf(`{"to":%q,"kind":%q,"ref":%q,"reply":%q,"body":null}`, to, kind, ref, reply)
		a := s.do("POST", "/_gb/send", text, "Content-Type", "application/x-ndjson", "Client", client)
		return summary(t, strings.TrimSpace(a.body))
	}
	watch := func(client, kind string, of, by opened) (got, ref string) {
		t.Helper()
		refs++
		ref = fmt.Sprint("r", refs)
		return line(client, kind, of.Address, replyAddress(t, by, ref), ref), ref
	}
	expect := func(want, client, kind string, of opened) string {
		t.Helper()
		got, ref := watch(client, kind, of, watcher)
		if got != want {
			t.Fatalf("%s of %s: %s, want %s", kind, client, got, want)
		}
		return ref
	}
	room := func(what string, of opened) {
		t.Helper()
		until(t, what+" makes room", func() bool { got, _ := watch("a", "monitor", of, watcher); return got == "202" })
		expect("429 too-many-monitors", "a", "monitor", of)
	}
	closed := func(o opened) {
		t.Helper()
		if a := s.do("DELETE", "/_gb/mailbox", "", "Authorization", "Bearer "+o.Key); a.status != 204 {
			t.Fatalf("close: %d", a.status)
		}
	}
	stays, ends := s.open(), s.open()
	ref := expect("202", "a", "monitor", stays)
	if got := line("a", "monitor", stays.Address, replyAddress(t, watcher, ref), ref); got != "202" {
		t.Errorf("the same again: %s", got)
	}
	expect("202", "a", "link", ends)
	expect("429 too-many-monitors", "a", "monitor", stays)
	expect("429 too-many-monitors", "a", "link", stays)
	expect("202", "b", "monitor", stays)
	if got := line("a", "demonitor", stays.Address, replyAddress(t, watcher, ref), ref); got != "202" {
		t.Fatalf("demonitor: %s", got)
	}
	expect("202", "a", "monitor", stays) // at once
	closed(ends)
	room("the end of what is linked", stays)

	// one whose watcher ends, and one of a process that ends
	s = serve(t, setup{web: Options{MonitorsPerClient: 1, ClientAddress: byHeader}})
	stays, watcher = s.open(), s.open()
	gone := s.open()
	if got, _ := watch("a", "monitor", stays, gone); got != "202" {
		t.Fatal(got)
	}
	expect("429 too-many-monitors", "a", "monitor", stays)
	closed(gone)
	room("the end of the watcher", stays)
	process, err := s.office.Handle("p", server.HandlerFunc(func(context.Context, server.Message) error { return nil }))
	if err != nil {
		t.Fatal(err)
	}
	expect("202", "b", "monitor", opened{Address: process.String()})
	expect("429 too-many-monitors", "b", "monitor", stays)
	s.office.Release("p")
	until(t, "the end of the process makes room", func() bool { got, _ := watch("b", "monitor", stays, watcher); return got == "202" })

	// what is refused for another reason does not count
	for i := range 3 {
		ref := fmt.Sprint("x", i)
		if got := line("c", "monitor", strings.Replace(stays.Address, "gba_", "gba_A", 1), replyAddress(t, watcher, ref), ref); got == "202" || got == "429 too-many-monitors" {
			t.Errorf("a monitor of nonsense: %s", got)
		}
		if got := line("c", "monitor", attenuated(t, stays.Address, address.Only(address.Send)), replyAddress(t, watcher, ref), ref); got != "403 missing-right" {
			t.Errorf("a monitor that is not allowed: %s", got)
		}
	}
	expect("202", "c", "monitor", stays)
	if n := s.metric(`genbrowser_messages_refused_total{reason="too-many-monitors"}`); n == "0" || n == "none" {
		t.Errorf("%q are counted as refused", n)
	}
}

// TestQuotasByIdentity connects from one address with a certificate, and without.
func TestQuotasByIdentity(t *testing.T) {
	cert := selfSigned(t)
	pool := x509.NewCertPool()
	pool.AddCert(cert.Leaf)
	s := serve(t, setup{kind: "h2", web: Options{MailboxesPerClient: 1}, http: func(srv *http.Server) { srv.ConnContext = ConnContext }})
	s.srv.TLS.ClientAuth, s.srv.TLS.ClientCAs = tls.VerifyClientCertIfGiven, pool
	tr := s.srv.Client().Transport.(*http.Transport).Clone()
	defer tr.CloseIdleConnections()
	tr.TLSClientConfig.Certificates = []tls.Certificate{cert}
	post := func(c *http.Client, headers ...string) int {
		t.Helper()
		r, err := http.NewRequest("POST", s.srv.URL+"/_gb/mailbox", nil)
		if err != nil {
			t.Fatal(err)
		}
		setHeaders(r, headers)
		resp, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	proved, nobody := &http.Client{Transport: tr}, s.srv.Client()
	for _, tt := range []struct {
		what string
		got  int
		want int
	}{
		{"who proved it", post(proved), 201},
		{"who proved it, again", post(proved), 429},
		{"nobody, from the same address", post(nobody), 201},
		{"nobody, again", post(nobody), 429},
		{"a proxy, which is nobody", post(proved, "Via", "1.1 x"), 429},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %d, want %d", tt.what, tt.got, tt.want)
		}
	}
	if got := s.gb.address(httptest.NewRequest("GET", "/", nil).WithContext(ConnContext(ctx, from{at: "192.0.2.1:1"}))); got != "192.0.2.1" {
		t.Errorf("who proves nothing is %q", got)
	}
	user := &connection{}
	user.proved.Do(func() { user.sender = &server.Sender{Remote: true, Credentials: &server.Credentials{UID: 7}} })
	if got := s.gb.address(httptest.NewRequest("GET", "/", nil).WithContext(context.WithValue(ctx, peerKey{}, user))); got != "uid:7" {
		t.Errorf("a user at a socket is %q", got)
	}
}
