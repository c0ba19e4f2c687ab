package web

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/server"
)

// upstream is a request with many messages that is held open.
type upstream struct {
	s  *site
	w  *io.PipeWriter
	br *bufio.Reader
}

func (s *site) sendMany() *upstream {
	s.t.Helper()
	pr, pw := io.Pipe()
	r, err := http.NewRequestWithContext(ctx, "POST", s.srv.URL+"/_gb/send", pr)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-ndjson")
	u := &upstream{s: s, w: pw}
	answered := make(chan *http.Response, 1)
	go func() {
		resp, err := s.srv.Client().Do(r)
		if err != nil {
			s.t.Errorf("send many: %v", err)
		}
		answered <- resp
	}()
	u.write("\n") // net/http's client waits for the first byte
	s.t.Cleanup(func() {
		pw.Close()
		if u.br == nil {
			if resp := <-answered; resp != nil {
				resp.Body.Close()
			}
		}
	})
	u.br = bufio.NewReader(&late{answered: answered, t: s.t})
	return u
}

// late is the body of an answer whose head comes with the first line.
type late struct {
	answered chan *http.Response
	resp     *http.Response
	t        testing.TB
}

func (l *late) Read(b []byte) (int, error) {
	if l.resp == nil {
		if l.resp = <-l.answered; l.resp == nil {
			return 0, io.ErrUnexpectedEOF
		}
		if got := l.resp.Header.Get("Content-Type"); l.resp.StatusCode != 200 || got != "application/x-ndjson" {
			l.t.Errorf("send many: %d %s", l.resp.StatusCode, got)
		}
		if l.resp.Header.Get("X-Accel-Buffering") != "no" || l.resp.Header.Get("Cache-Control") != "no-store" {
			l.t.Errorf("send many: %v", l.resp.Header)
		}
		l.t.Cleanup(func() { l.resp.Body.Close() })
	}
	return l.resp.Body.Read(b)
}

func (u *upstream) write(text string) {
	u.s.t.Helper()
	if _, err := io.WriteString(u.w, text); err != nil {
		u.s.t.Fatal(err)
	}
}

// next reads an answer: "202", "a1 202", or with a problem's code.
func (u *upstream) next() string {
	u.s.t.Helper()
	line := make(chan string, 1)
	go func() {
		text, _ := u.br.ReadString('\n')
		line <- text
	}()
	select {
	case text := <-line:
		return summary(u.s.t, text)
	case <-time.After(patience):
		u.s.t.Fatal("no answer to a line")
		return ""
	}
}

func summary(t testing.TB, line string) string {
	t.Helper()
	var m struct {
		ID, Type string
		Status   int
	}
	if err := json.Unmarshal([]byte(line), &m); err != nil {
		t.Fatalf("answer %q: %v", line, err)
	}
	return strings.TrimSpace(fmt.Sprintf("%s %d %s", m.ID, m.Status, strings.TrimPrefix(m.Type, "urn:gen-browser:")))
}

func (u *upstream) expect(want ...string) {
	u.s.t.Helper()
	for _, w := range want {
		if got := u.next(); got != w {
			u.s.t.Errorf("answer %q, want %q", got, w)
		}
	}
}

func TestSendManyAsTheyCome(t *testing.T) {
	for _, kind := range []string{"http/1.1", "h2"} {
		t.Run(kind, func(t *testing.T) {
			s := serve(t, setup{kind: kind})
			e := s.stream("/_gb/mailbox?new")
			o := e.init()
			u := s.sendMany()
			for i := range 5 { // each is answered, and arrives, before the next is written
				u.write(fmt.Sprintf(`{"to":"%s","body":%d,"id":"a%d"}`+"\n", o.Address, i, i))
				u.expect(fmt.Sprintf("a%d 202", i))
				e.expect(fmt.Sprint(i))
			}
			// several at once, and one in pieces
			line := fmt.Sprintf(`{"to":"%s","body":"piece"}`, o.Address)
			u.write(line + "\n" + line + "\r\n \t\n\r\n" + line[:20])
			u.expect("202", "202")
			u.write(line[20:] + "\n")
			u.expect("202")
			u.write(line)
			u.w.Close() // the last line has no end
			u.expect("202")
			if rest, err := io.ReadAll(u.br); err != nil || len(rest) > 0 {
				t.Errorf("behind the last answer: %q, %v", rest, err)
			}
			e.expect(`"piece"`, `"piece"`, `"piece"`, `"piece"`)
		})
	}
}

func TestSendManyErrors(t *testing.T) {
	s := serve(t, setup{server: server.Options{Limits: mailbox.Limits{Backlog: 20}}})
	o, p := s.open(), s.open()
	full := s.open()
	for range 20 {
		s.mustSend(full.Address, "1")
	}
	reply := `"reply":"` + p.Address + `"`
	sendOnly := attenuated(t, o.Address, address.Only(address.Send))
	big := func(n int) string {
		frame := fmt.Sprintf(`{"to":"%s","body":""}`, o.Address)
		return fmt.Sprintf(`{"to":"%s","body":"%s"}`, o.Address, strings.Repeat("x", n-len(frame)))
	}
	type row struct{ line, want string }
	to := func(rest string) string { return `{"to":"` + o.Address + `",` + rest + `}` }
	rows := []row{
		{to(`"body":1`), "202"},
		{to(`"body":1,"id":"a"`), "a 202"},
		{to(`"body":2,"id":"a"`), "a 202"}, // not delivered again
		{to(`"body":1,"id":"quo\"te"`), `quo"te 202`},
		{` ` + to(` "body" : [1 , 2] `) + ` `, "202"},
		{to(`"body":1,"kind":"message","ttl":60,"trace":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"`), "202"},
		{to(`"body":1,"kind":"call","ref":"7",` + reply), "202"},
		{to(`"body":1,"kind":"reply","ref":"7"`), "403 not-a-reply-address"},
		{to(`"body":1,"kind":"failure","ref":"7"`), "403 not-a-reply-address"},
		{to(`"body":1,"kind":"down","ref":"7"`), "400 malformed-envelope"},
		{to(`"body":1,"kind":"exited","ref":"7"`), "400 malformed-envelope"},
		{to(`"body":1,"kind":"exit"`), "403 missing-right"},
		{to(`"body":1,"kind":"monitor","ref":"7"`), "400 malformed-envelope"},
		{to(`"body":1,"kind":"monitor","ref":"7",` + reply), "403 not-a-reply-address"},
		{to(`"body":1,"kind":"demonitor",` + reply), "400 malformed-envelope"},
		{to(`"body":1,"kind":"link","ref":"7"`), "400 malformed-envelope"},
		{to(`"body":1,"kind":"unlink","ref":"7","reply":"gba_x"`), "400 malformed-envelope"},
		{"", ""}, {"   ", ""}, {"\t\r", ""}, // blank
		{to(`"body":1,"x":1`), "400 malformed-envelope"},
		{to(`"body":1,"late":true`), "202"},
		{to(`"body":1,"late":false`), "400 malformed-envelope"},
		{to(`"body":1,"late":"true"`), "400 malformed-envelope"},
		{to(`"id":"b","body":1,"Body":1`), "b 400 malformed-envelope"},
		{to(`"body":1,"` + strings.Repeat("x", 50_000) + `":1`), "400 malformed-envelope"},
		{to(`"body":1,"body":1`), "400 malformed-envelope"},
		{to(`"body":1,"to":"x"`), "400 malformed-envelope"},
		{`{"id":"c","body":1}`, "c 400 malformed-envelope"},
		{to(`"id":"d"`), "d 400 malformed-envelope"},
		{"{}", "400 malformed-envelope"},
		{"{", "400 malformed-envelope"},
		{"[]", "400 malformed-envelope"},
		{"1", "400 malformed-envelope"},
		{to(`"body":1`) + "x", "400 malformed-envelope"},
		{to(`"body":1`) + to(`"body":1`), "400 malformed-envelope"},
		{to(`"body":1,`), "400 malformed-envelope"},
		{to(`"body":tru`), "400 malformed-envelope"},
		{to("\"body\":\"\xff\""), "400 malformed-envelope"},
		{to(`"body":1,"id":""`), "400 malformed-envelope"},
		{to(`"body":1,"id":1`), "400 malformed-envelope"},
		{to(`"body":1,"id":null`), "400 malformed-envelope"},
		{to(`"body":1,"id":"a b"`), "a b 400 malformed-envelope"},
		{to(`"body":1,"id":"` + strings.Repeat("x", 129) + `"`), strings.Repeat("x", 129) + " 400 malformed-envelope"},
		{to(`"body":1,"kind":"x"`), "400 malformed-envelope"},
		{to(`"body":1,"kind":"call"`), "400 malformed-envelope"},
		{to(`"body":1,"kind":"call","ref":"1"`), "400 malformed-envelope"},
		{to(`"body":1,"kind":"call",` + reply), "400 malformed-envelope"},
		{to(`"body":1,"kind":"reply"`), "400 malformed-envelope"},
		{to(`"body":1,"reply":"x"`), "400 malformed-envelope"},
		{to(`"body":1,"ref":"é"`), "400 malformed-envelope"},
		{to(`"body":1,"ttl":0`), "400 malformed-envelope"},
		{to(`"body":1,"ttl":-1`), "400 malformed-envelope"},
		{to(`"body":1,"ttl":1.5`), "400 malformed-envelope"},
		{to(`"body":1,"ttl":"1"`), "400 malformed-envelope"},
		{to(`"body":1,"ttl":604801`), "400 malformed-envelope"},
		{to(`"body":1,"trace":"x"`), "400 malformed-envelope"},
		{`{"to":"x","body":1,"id":"e"}`, "e 400 malformed-address"},
		{`{"to":"` + sendOnly + `","body":1,"kind":"call","ref":"7",` + reply + `}`, "403 missing-right"},
		{to(`"body":` + nested(513)), "400 malformed-json"},
		{to(`"body":` + nested(512)), "202"},
		{to(`"body":` + quoted(64<<10+1)), "413 too-large"},
		{big(64<<10 + lineOverhead), "413 too-large"}, // its body is
		{big(64<<10 + lineOverhead + 1), "413 too-large"},
		{strings.Repeat("x", 300<<10), "413 too-large"},
		{strings.Repeat(" ", 300<<10), "413 too-large"},
		{`{"id":"g","body":` + quoted(70<<10), "g 413 too-large"}, // a line's end is not looked at
		{`{"id":"h","body":` + quoted(300<<10), "h 413 too-large"},
		{`{"body":` + quoted(70<<10) + `,"id":"i"}`, "i 413 too-large"},
		{`{"body":` + quoted(300<<10) + `,"id":"j"}`, "413 too-large"},
		{to(`"body":` + quoted(64<<10)), "202"}, // the one behind is fine again
		{`{"to":"` + full.Address + `","body":1,"id":"f"}`, "f 429 full"},
	}
	var body strings.Builder
	var want []string
	for _, r := range rows {
		body.WriteString(r.line + "\n")
		if r.want != "" {
			want = append(want, r.want)
		}
	}
	for _, typ := range []string{"application/x-ndjson", "application/jsonl; charset=utf-8", "text/plain;charset=UTF-8", "application/ndjson"} {
		a := s.do("POST", "/_gb/send", body.String(), "Content-Type", typ)
		if typ != "application/x-ndjson" { // the mailbox is full by now
			if a.status != 200 {
				t.Errorf("%s: %d", typ, a.status)
			}
			continue
		}
		lines := strings.Split(strings.TrimSuffix(a.body, "\n"), "\n")
		for i, w := range want {
			if i >= len(lines) {
				t.Fatalf("%d answers, want %d", len(lines), len(want))
			}
			if got := summary(t, lines[i]); got != w {
				t.Errorf("answer %d: %.100s, want %.100s\n%.200s", i, got, w, lines[i])
			}
			if len(lines[i]) > 1000 {
				t.Errorf("answer %d has %d bytes", i, len(lines[i]))
			}
		}
		if len(lines) != len(want) {
			t.Errorf("%d answers, want %d", len(lines), len(want))
		}
		if last := lines[len(lines)-1]; !strings.Contains(last, `"retryAfter":1`) {
			t.Errorf("full without retryAfter: %s", last)
		}
	}
	for _, typ := range []string{"", "application/json", "x"} {
		expectProblem(t, typ, s.do("POST", "/_gb/send", "{}", "Content-Type", typ), 415, "unsupported-media-type")
	}
}

func TestEnvelopes(t *testing.T) {
	s := serve(t, setup{})
	e := s.stream("/_gb/mailbox?new&ack=manual")
	o := e.init()
	labelled := attenuated(t, o.Address, address.Label("a"), address.Label(`"b" é`))
	trace := "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	a := s.do("POST", "/_gb/send", fmt.Sprintf(`{"to":"%s","kind":"call","ref":"7","reply":"%s","body":{"x": 1},"trace":"%s"}
{"to":"%s","kind":"reply","ref":"7","body":null}
{"to":"%s","ref":"8","body":1}`, o.Address, o.Address, trace, replyAddress(t, o.opened, "7"), o.Address), "Content-Type", "application/jsonl")
	if a.status != 200 || strings.Count(a.body, `{"status":202}`) != 3 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	s.send(labelled, "[]")
	s.send(o.Address, "2", "Traceparent", trace)
	want := []string{
		`envelope {"kind":"call","ref":"7","reply":"` + o.Address + `","trace":"` + trace + `","body":{"x": 1}}`,
		`envelope {"kind":"reply","ref":"7","body":null}`,
		`envelope {"ref":"8","body":1}`,
		`envelope {"via":["a","\"b\" é"],"body":[]}`,
		`envelope {"trace":"` + trace + `","body":2}`,
	}
	e.expect(want...)
	p := s.poll(o.opened, "wait=0s&ack=manual&cursor="+o.Cursor)
	var polled struct{ Messages []json.RawMessage }
	if err := json.Unmarshal([]byte(p.body), &polled); err != nil || len(polled.Messages) != len(want) {
		t.Fatalf("poll: %s (%v)", p.body, err)
	}
	for i, m := range polled.Messages { // the same, and their cursors
		w := strings.Replace(strings.TrimPrefix(want[i], "envelope "), "{", `{"cursor":"`+cursorOf(o.opened, uint64(i+1))+`",`, 1)
		if string(m) != w {
			t.Errorf("poll: %s, want %s", m, w)
		}
	}
}

// A sender that does not read its answers is dropped, rather than kept for ever.
func TestSendManyNotReadingAnswers(t *testing.T) {
	s := serve(t, setup{web: Options{SlowReader: 200 * time.Millisecond}})
	c := s.dial()
	lines := strings.Repeat("{}\n", 10_000)
	fmt.Fprintf(c, "POST /_gb/send HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: 1000000000\r\n\r\n")
	for { // nobody reads; writing fails once the server gave up
		if _, err := io.WriteString(c, lines); err != nil {
			if strings.Contains(err.Error(), "timeout") {
				t.Errorf("the server still waits: %v", err)
			}
			return
		}
	}
}

func TestSendManyEndsAtShutdown(t *testing.T) {
	for _, kind := range []string{"http/1.1", "h2"} {
		t.Run(kind, func(t *testing.T) {
			s := serve(t, setup{kind: kind})
			o := s.open()
			u := s.sendMany()
			u.write(fmt.Sprintf(`{"to":"%s","body":1}`+"\n", o.Address))
			u.expect("202")
			if err := s.gb.Shutdown(ctx); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { _, err := io.Copy(io.Discard, u.br); ended <- err }()
			select {
			case <-ended:
			case <-time.After(patience):
				t.Error("it does not end")
			}
			a := s.do("POST", "/_gb/send", "{}\n", "Content-Type", "application/x-ndjson")
			expectProblem(t, "a later one", a, 503, "shutting-down")
			if a.header.Get("Retry-After") == "" {
				t.Error("503 without Retry-After")
			}
		})
	}
}

// One that comes while the server shuts down, and holds its request open, is answered and let go all the same.
func TestSendManyEndlessWhileShuttingDown(t *testing.T) {
	s := serve(t, setup{})
	if err := s.gb.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	c := s.dial()
	c.SetReadDeadline(time.Now().Add(patience))
	fmt.Fprint(c, "POST /_gb/send HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n\n\r\n")
	all, err := io.ReadAll(c)
	if err != nil || !strings.HasPrefix(string(all), "HTTP/1.1 503 ") {
		t.Errorf("%.40q, %v; want 503 and the end", all, err)
	}
}

// One that said how long it is, and is under way when the server shuts down, may come to its end: its lines are answered.
func TestSendManyCountedAtShutdown(t *testing.T) {
	for _, kind := range []string{"http/1.1", "unhijackable", "fast"} {
		t.Run(kind, func(t *testing.T) {
			s := serve(t, setup{kind: kind})
			c, line := s.counted("")
			if err := s.gb.Shutdown(ctx); err != nil {
				t.Fatal(err)
			}
			fmt.Fprint(c, line, "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			all, err := io.ReadAll(c)
			answers := regexp.MustCompile(`(?m)^HTTP/1.1 \d+|^Content-Length|"status":\d+`).FindAllString(string(all), -1)
			want := []string{"HTTP/1.1 200", "Content-Length", `"status":202`, `"status":503`, "HTTP/1.1 200", "Content-Length"}
			if err != nil || !slices.Equal(answers, want) {
				t.Errorf("%q, %v: %q; want %q", answers, err, all, want)
			}
		})
	}
}

// What is left of such a request when its time is over, be it that it looks like another one, is not taken for one.
func TestSendManyCutIsNoRequest(t *testing.T) {
	for _, kind := range []string{"http/1.1", "unhijackable", "fast"} {
		t.Run(kind, func(t *testing.T) {
			s := serve(t, setup{kind: kind})
			smuggled := "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
			c, _ := s.counted(smuggled)
			if err := s.gb.Shutdown(ctx); err != nil {
				t.Fatal(err)
			}
			r := bufio.NewReader(c)
			answer := ""
			for !strings.HasPrefix(answer, `{"status":202}`) {
				line, err := r.ReadString('\n')
				if err != nil {
					t.Fatalf("%q, %v; want the answer to the line that was taken", answer, err)
				}
				answer = line
			}
			fmt.Fprint(c, smuggled)
			rest, _ := io.ReadAll(r) // the connection may be reset
			if bytes.Contains(rest, []byte("HTTP/1.1")) || bytes.Contains(rest, []byte("0\r\n\r\n")) {
				t.Errorf("%q after an answer that was cut; want the end of the connection, and not of the answer", rest)
			}
		})
	}
}

// counted begins a request whose length is that of two messages, or of one and of what is given instead of the second,
// which it returns once the first one was taken.
func (s *site) counted(instead string) (c net.Conn, rest string) {
	s.t.Helper()
	o := s.open()
	first := fmt.Sprintf(`{"to":"%s","body":1}`+"\n", o.Address)
	if rest = instead; rest == "" {
		rest = first
	}
	c = s.dial()
	c.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(c, "POST /_gb/send HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: %d\r\n\r\n%s", len(first)+len(rest), first)
	until(s.t, "the first line is taken", func() bool { return s.office.Stats().Bytes > 0 })
	return c, rest
}

// An upload that says nothing for longer than a write may take is kept.
func TestSendManyMayBeIdle(t *testing.T) {
	for _, kind := range []string{"http/1.1", "h2"} {
		t.Run(kind, func(t *testing.T) {
			s := serve(t, setup{kind: kind, web: Options{SlowReader: 50 * time.Millisecond}})
			o := s.open()
			u := s.sendMany()
			for range 2 {
				u.write(fmt.Sprintf(`{"to":"%s","body":1}`+"\n", o.Address))
				u.expect("202")
				<-time.After(200 * time.Millisecond)
			}
		})
	}
}

// Who sends many lines at once finds a mailbox no fuller than its reader, who takes what comes, leaves it. (Over TLS, another
// goroutine writes, which may not be done so soon.)
func TestManyLinesToOneReader(t *testing.T) {
	for _, kind := range []string{"http/1.1", "plain", "fast"} {
		s := serve(t, setup{kind: kind, server: server.Options{Limits: mailbox.Limits{Backlog: 10}}})
		e := s.stream("/_gb/mailbox?new")
		o := e.init()
		var lines strings.Builder
		for i := range 100 {
			fmt.Fprintf(&lines, `{"to":"%s","body":%d}`+"\n", o.Address, i)
		}
		if a := s.do("POST", "/_gb/send?brief", lines.String(), "Content-Type", "application/x-ndjson"); a.status != http.StatusNoContent {
			t.Fatalf("%s: %d %s", kind, a.status, a.body)
		}
		for i := range 100 {
			if ev := e.next(); ev.data != fmt.Sprint(i) {
				t.Fatalf("%s: message %d is %s", kind, i, ev.data)
			}
		}
	}
}
