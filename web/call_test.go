package web

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/server"
	"github.com/genbrowser/genbrowser/web/problem"
)

// replyAddress is what the owner of a mailbox makes for one answer.
func replyAddress(t testing.TB, o opened, ref string) string {
	t.Helper()
	return attenuated(t, o.Address, address.Only(address.Send|address.Link), address.Expires(time.Now().Add(time.Minute)), address.Reply(ref))
}

// line sends one line of many, and returns its answer: a status, and the problem's code if it is one.
func (s *site) line(format string, args ...any) string {
	s.t.Helper()
	a := s.do("POST", "/_gb/send", fmt.Sprintf(format, args...), "Content-Type", "application/x-ndjson")
	if a.status != 200 {
		s.t.Fatalf("%d %s", a.status, a.body)
	}
	return summary(s.t, strings.TrimSuffix(a.body, "\n"))
}

func (s *site) expectLine(want, format string, args ...any) {
	s.t.Helper()
	if got := s.line(format, args...); got != want {
		s.t.Errorf("%s: %s, want %s", fmt.Sprintf(format, args...), got, want)
	}
}

// envelope is an event of that name.
type envelope struct {
	Kind, Ref, Reply string
	Body             json.RawMessage
}

func (e *events) envelope() envelope {
	e.t.Helper()
	ev := e.next()
	var env envelope
	if err := json.Unmarshal([]byte(ev.data), &env); err != nil || ev.name != "envelope" {
		e.t.Fatalf("got %v, want an envelope (%v)", ev, err)
	}
	return env
}

// calling sends POST /call and returns where its answer will come.
func (s *site) calling(to, query, body string) <-chan answered {
	answer := make(chan answered, 1)
	go func() {
		a, err := s.try("POST", "/_gb/call/"+to+query, body)
		if err != nil {
			a.body = err.Error()
		}
		answer <- a
	}()
	return answer
}

func TestCall(t *testing.T) {
	s := serve(t, setup{})
	e := s.stream("/_gb/mailbox?new")
	callee := e.init()
	answer := s.calling(callee.Address, "", `{"n": 1}`)
	call := e.envelope()
	if call.Kind != "call" || string(call.Body) != `{"n": 1}` {
		t.Fatalf("got %+v", call)
	}
	sent := func(want, kind, ref, to string) {
		t.Helper()
		s.expectLine(want, `{"to":%q,"kind":%q,"ref":%q,"body":{"n":2}}`, to, kind, ref)
	}
	sent("403 not-a-reply-address", "reply", "another", call.Reply)
	sent("403 not-a-reply-address", "message", call.Ref, call.Reply)
	expectProblem(t, "a plain message to a reply address", s.send(call.Reply, "1"), 403, "not-a-reply-address")
	expectProblem(t, "a call to a reply address", s.do("POST", "/_gb/call/"+call.Reply, "1"), 403, "missing-right")
	sent("202", "reply", call.Ref, call.Reply)
	if a := <-answer; a.status != 200 || a.body != `{"n":2}` || a.header.Get("Content-Type") != "application/json" {
		t.Errorf("the call's answer is %d %s", a.status, a.body)
	}
	sent("409 replied", "reply", call.Ref, call.Reply)

	// a failure is the answer as well, whatever it says
	for body, want := range map[string]string{
		`{"type":"urn:gen-browser:refused","title":"no","status":422,"detail":"bad"}`: "422 refused",
		`{"type":"urn:mine","title":"mine","status":418}`:                             "418",
		`{"type":"urn:mine","title":"mine","status":200}`:                             "502 call-failed",
		`"no object"`: "502 call-failed",
		`{"type":"urn:gen-browser:shutting-down","title":"the callee is","status":503}`: "503 shutting-down",
	} {
		answer = s.calling(callee.Address, "", "1")
		call = e.envelope()
		s.expectLine("202", `{"to":%q,"kind":"failure","ref":%q,"body":%s}`, call.Reply, call.Ref, body)
		a := <-answer
		status, code, _ := strings.Cut(want, " ")
		if fmt.Sprint(a.status) != status || code != "" && a.problem() != code {
			t.Errorf("failure %s: %d %s, want %s", body, a.status, a.body, want)
		}
		refused := s.metric(`genbrowser_messages_refused_total{reason="`+code+`"}`) + s.metric(`genbrowser_requests_refused_total{reason="`+code+`"}`)
		if a.header.Get("Connection") != "" || refused != "00" && refused != "nonenone" {
			t.Errorf("failure %s ends the caller's connection (%q), or counts as the server's", body, a.header.Get("Connection"))
		}
	}
}

// TestCallAtShutdown: a call that the callee may have got is not said to be refused, or it would be sent again.
func TestCallAtShutdown(t *testing.T) {
	s := serve(t, setup{})
	e := s.stream("/_gb/mailbox?new")
	answer := s.calling(e.init().Address, "", "1")
	e.envelope()
	go s.gb.Shutdown(ctx)
	expectProblem(t, "a call that was accepted", <-answer, 504, "call-timeout")
}

func TestCallFails(t *testing.T) {
	s := serve(t, setup{})
	callee := s.open()
	expectProblem(t, "no reply", s.do("POST", "/_gb/call/"+callee.Address+"?timeout=30ms", "1"), 504, "call-timeout")
	for _, timeout := range []string{"0s", "-1s", "61s", "x", "5"} {
		expectProblem(t, timeout, s.do("POST", "/_gb/call/"+callee.Address+"?timeout="+timeout, "1"), 400, "malformed-request")
	}
	expectProblem(t, "no address", s.do("POST", "/_gb/call/x", "1"), 400, "malformed-address")
	if a := s.do("POST", "/_gb/call/"+callee.Key, "1"); a.problem() != "malformed-address" || !strings.Contains(a.body, keyInURL) || strings.Contains(a.body, callee.Key) {
		t.Errorf("a key: %d %s", a.status, a.body)
	}
	expectProblem(t, "no body", s.do("POST", "/_gb/call/"+callee.Address, ""), 400, "empty-body")
	expectProblem(t, "no JSON", s.do("POST", "/_gb/call/"+callee.Address, "x"), 400, "malformed-json")
	expectProblem(t, "GET", s.do("GET", "/_gb/call/"+callee.Address, ""), 405, "method-not-allowed")
	sendOnly := attenuated(t, callee.Address, address.Only(address.Send))
	expectProblem(t, "no right", s.do("POST", "/_gb/call/"+sendOnly, "1"), 403, "missing-right")

	// the callee ends while the call waits: unread, or read and not answered
	for _, read := range []bool{false, true} {
		e := s.stream("/_gb/mailbox?new")
		o := e.init()
		answer := s.calling(o.Address, "", "1")
		call := e.envelope()
		if read {
			ack := fmt.Sprintf("%s.1", strings.Split(o.Cursor, ".")[0])
			if a := s.ack(o.Key, ack); a.status != 204 {
				t.Fatalf("ack: %d %s", a.status, a.body)
			}
		}
		s.do("DELETE", "/_gb/mailbox", "", "Authorization", "Bearer "+o.Key)
		expectProblem(t, "the callee closed", <-answer, 410, "closed")
		s.expectLine("409 replied", `{"to":%q,"kind":"reply","ref":%q,"body":1}`, call.Reply, call.Ref)
	}
	late := s.stream("/_gb/mailbox?new")
	o := late.init()
	s.do("POST", "/_gb/call/"+o.Address+"?timeout=20ms", "1")
	call := late.envelope()
	s.expectLine("409 replied", `{"to":%q,"kind":"reply","ref":%q,"body":1}`, call.Reply, call.Ref)
}

// TestReplyReachesTheMailbox holds that the answer to a client's own call comes to its mailbox once, though it has no
// stream at the time.
func TestReplyReachesTheMailbox(t *testing.T) {
	s := serve(t, setup{})
	caller, callee := s.open(), s.open()
	reply := replyAddress(t, caller, "r1")
	s.expectLine("202", `{"to":%q,"kind":"call","ref":"r1","reply":%q,"body":1}`, callee.Address, reply)
	s.expectLine("x 202", `{"to":%q,"kind":"reply","ref":"r1","body":2,"id":"x"}`, reply)
	s.expectLine("409 replied", `{"to":%q,"kind":"failure","ref":"r1","body":{}}`, reply)
	expired := attenuated(t, caller.Address, address.Only(address.Send), address.Expires(time.Now().Add(-time.Second)), address.Reply("r2"))
	s.expectLine("403 capability-expired", `{"to":%q,"kind":"reply","ref":"r2","body":2}`, expired)
	e := s.stream("/_gb/mailbox", "Authorization", "Bearer "+caller.Key)
	e.init()
	e.expect(`envelope {"kind":"reply","ref":"r1","body":2}`)
}

func TestMonitor(t *testing.T) {
	s := serve(t, setup{server: server.Options{Limits: mailbox.Limits{Asleep: 300 * time.Millisecond}}})
	e := s.stream("/_gb/mailbox?new")
	watcher := e.init().opened
	monitor := func(kind, ref, target string) {
		t.Helper()
		s.expectLine("202", `{"to":%q,"kind":%q,"ref":%q,"reply":%q,"body":null}`, target, kind, ref, replyAddress(t, watcher, ref))
	}
	closed := s.stream("/_gb/mailbox?new").init().opened // which does not expire
	reply := replyAddress(t, watcher, "c")
	for range 2 { // the second one changes nothing
		s.expectLine("202", `{"to":%q,"kind":"monitor","ref":"c","reply":%q,"body":null}`, closed.Address, reply)
	}
	back := replyAddress(t, watcher, "back")
	s.expectLine("202", `{"to":%q,"kind":"monitor","ref":"back","reply":%q,"body":null}`, closed.Address, back)
	for range 2 {
		s.expectLine("202", `{"to":%q,"kind":"demonitor","ref":"back","reply":%q,"body":null}`, closed.Address, back)
	}
	s.do("DELETE", "/_gb/mailbox", "", "Authorization", "Bearer "+closed.Key)
	e.expect(`envelope {"kind":"down","ref":"c","body":{"reason":"closed"}}`)
	monitor("monitor", "late", closed.Address)
	e.expect(`envelope {"kind":"down","ref":"late","body":{"reason":"closed"}}`)
	monitor("demonitor", "never", closed.Address)

	monitor("monitor", "x", s.open().Address)
	e.expect(`envelope {"kind":"down","ref":"x","body":{"reason":"expired"}}`)

	never, err := testRing(t, "the secret of the tests").MailboxKey([16]byte{9}).Address()
	if err != nil {
		t.Fatal(err)
	}
	monitor("monitor", "n", never.String())
	e.expect(`envelope {"kind":"down","ref":"n","body":{"reason":"gone"}}`)

	sendOnly := attenuated(t, watcher.Address, address.Only(address.Send))
	s.expectLine("403 missing-right", `{"to":%q,"kind":"monitor","ref":"r","reply":%q,"body":null}`, sendOnly, replyAddress(t, watcher, "r"))
	s.expectLine("403 not-a-reply-address", `{"to":%q,"kind":"monitor","ref":"r","reply":%q,"body":null}`, watcher.Address, replyAddress(t, watcher, "other"))
	monitor("monitor", "last", s.open().Address)
	e.expect(`envelope {"kind":"down","ref":"last","body":{"reason":"expired"}}`)
}

// TestMonitorsAreBounded adds as many as one mailbox takes, and one more.
func TestMonitorsAreBounded(t *testing.T) {
	s := serve(t, setup{})
	watcher, target := s.open(), s.open()
	var lines strings.Builder
	for i := range 1001 {
		ref := fmt.Sprint(i)
		fmt.Fprintf(&lines, `{"to":%q,"kind":"monitor","ref":%q,"reply":%q,"body":null}`+"\n", target.Address, ref, replyAddress(t, watcher, ref))
	}
	a := s.do("POST", "/_gb/send", lines.String(), "Content-Type", "application/x-ndjson")
	all := strings.Split(strings.TrimSuffix(a.body, "\n"), "\n")
	if n := strings.Count(a.body, `{"status":202}`); n != 1000 || summary(t, all[1000]) != "429 full" {
		t.Errorf("%d are taken, and the last answer is %s; want 1000, and 429 full", n, all[len(all)-1])
	}
}

func TestLink(t *testing.T) {
	s := serve(t, setup{})
	for _, ends := range []string{"the one that was linked to", "the one that linked", "unlinked"} {
		t.Run(ends, func(t *testing.T) {
			ea, eb := s.stream("/_gb/mailbox?new"), s.stream("/_gb/mailbox?new")
			a, b := ea.init().opened, eb.init().opened
			reply := replyAddress(t, a, "l")
			s.expectLine("202", `{"to":%q,"kind":"link","ref":"l","reply":%q,"body":null}`, b.Address, reply)
			switch ends {
			case "the one that was linked to":
				s.do("DELETE", "/_gb/mailbox", "", "Authorization", "Bearer "+b.Key)
				ea.expect(`envelope {"kind":"exited","ref":"l","body":{"reason":"closed"}}`)
			case "the one that linked":
				s.do("DELETE", "/_gb/mailbox", "", "Authorization", "Bearer "+a.Key)
				eb.expect(`envelope {"kind":"exited","ref":"l","body":{"reason":"closed"}}`)
			case "unlinked":
				s.expectLine("202", `{"to":%q,"kind":"unlink","ref":"l","reply":%q,"body":null}`, b.Address, reply)
				s.do("DELETE", "/_gb/mailbox", "", "Authorization", "Bearer "+b.Key)
				s.expectLine("202", `{"to":%q,"kind":"monitor","ref":"m","reply":%q,"body":null}`, b.Address, replyAddress(t, a, "m"))
				ea.expect(`envelope {"kind":"down","ref":"m","body":{"reason":"closed"}}`)
			}
		})
	}
}

func TestExit(t *testing.T) {
	s := serve(t, setup{})
	ew, et := s.stream("/_gb/mailbox?new"), s.stream("/_gb/mailbox?new")
	watcher, target := ew.init().opened, et.init().opened
	s.expectLine("202", `{"to":%q,"kind":"monitor","ref":"m","reply":%q,"body":null}`, target.Address, replyAddress(t, watcher, "m"))
	s.expectLine("403 missing-right", `{"to":%q,"kind":"exit","body":"why"}`, target.Address)
	key, err := address.ParseKey(target.Key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := key.AddressFor(address.Exit | address.Read); err == nil {
		t.Error("an address has an owner's right")
	}
	mayExit, err := key.AddressFor(address.Exit)
	if err != nil {
		t.Fatal(err)
	}
	may := mayExit.String()
	s.expectLine("400 malformed-envelope", `{"to":%q,"kind":"exit","body":%s}`, may, quoted(1025))
	s.expectLine("202", `{"to":%q,"kind":"exit","body":"why"}`, may)
	et.expect(`bye {"reason":"closed"}`)
	et.expectEnd()
	ew.expect(`envelope {"kind":"down","ref":"m","body":{"reason":"exit","detail":"why"}}`)
	s.expectLine("410 closed", `{"to":%q,"kind":"exit","body":"again"}`, may)
	expectProblem(t, "a message to it", s.send(target.Address, "1"), 410, "closed")
}

func TestProcessOverTheWire(t *testing.T) {
	s := serve(t, setup{})
	handled := make(chan server.Message, 10)
	to, err := s.office.Handle("shop/till", server.HandlerFunc(func(_ context.Context, m server.Message) error {
		handled <- m
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	expectProblem(t, "not exported", s.do("GET", "/_gb/whereis/shop/till", ""), 404, "not-exported")
	if err := s.office.Export("shop/till"); err != nil {
		t.Fatal(err)
	}
	if a := s.do("GET", "/_gb/whereis/shop/till", ""); a.status != 200 || a.body != `{"address":"`+to.String()+`"}` {
		t.Errorf("whereis: %d %s", a.status, a.body)
	}
	e := s.stream("/_gb/mailbox?new")
	watcher := e.init().opened
	for _, kind := range []string{"monitor", "link"} {
		s.expectLine("202", `{"to":%q,"kind":%q,"ref":%q,"reply":%q,"body":null}`, to, kind, kind, replyAddress(t, watcher, kind))
	}
	s.expectLine("403 missing-right", `{"to":%q,"kind":"exit","body":"why"}`, to)
	s.do("DELETE", "/_gb/mailbox", "", "Authorization", "Bearer "+watcher.Key)
	if m := <-handled; m.Kind != mailbox.KindExited || m.Ref != "link" || string(m.Body) != `{"reason":"closed"}` {
		t.Errorf("the process was told %+v of its link's end", m)
	}
	s.office.Unexport("shop/till")
	expectProblem(t, "not exported any more", s.do("GET", "/_gb/whereis/shop/till", ""), 404, "not-exported")
	if s.office.Export("~callers/x") == nil {
		t.Error("a name of the server's own was exported")
	}
}

// TestFailuresAreProblems compares the two tables.
func TestFailuresAreProblems(t *testing.T) {
	for _, err := range []error{server.ErrClosed, server.ErrExited, server.ErrExpired, server.ErrGone, server.ErrRefused, server.ErrCallFailed, server.ErrCallTimeout} {
		f, p := server.FailureOf(err), toProblem(err)
		if f.Type != p.Kind.Type() || f.Title != p.Kind.Title || f.Status != p.Kind.Status {
			t.Errorf("%v is the failure %+v, and the problem %+v", err, f, p.Kind)
		}
	}
	if p := toProblem(fmt.Errorf("x: %w", server.FailureOf(server.ErrRefused))); p.Kind != problem.Refused {
		t.Errorf("a failure in an error is %v", p)
	}
}

// TestExports holds that a name which a request may not find is refused as one that is not exported.
func TestExports(t *testing.T) {
	s := serve(t, setup{web: Options{Exports: func(r *http.Request, name string) bool { return r.Header.Get("Client") == "shop" || name == "ping" }}})
	for _, name := range []string{"ping", "till"} {
		if _, err := s.office.Handle(name, server.HandlerFunc(func(context.Context, server.Message) error { return nil })); err != nil {
			t.Fatal(err)
		}
		if err := s.office.Export(name); err != nil {
			t.Fatal(err)
		}
	}
	for name, client := range map[string]string{"ping": "", "till": "shop"} {
		if a := s.do("GET", "/_gb/whereis/"+name, "", "Client", client); a.status != 200 {
			t.Errorf("whereis %s for %q: %d %s", name, client, a.status, a.body)
		}
	}
	hidden, none := s.do("GET", "/_gb/whereis/till", ""), s.do("GET", "/_gb/whereis/none", "")
	hidden.header.Del("Date")
	none.header.Del("Date")
	expectProblem(t, "a hidden name", hidden, 404, "not-exported")
	if hidden.body != strings.ReplaceAll(none.body, "none", "till") || !reflect.DeepEqual(hidden.header, none.header) {
		t.Errorf("a hidden name is told apart: %v %s, and %v %s", hidden.header, hidden.body, none.header, none.body)
	}
	if a := s.do("HEAD", "/_gb/whereis/till", ""); a.status != 404 {
		t.Errorf("HEAD tells %d of a hidden name", a.status)
	}
}
