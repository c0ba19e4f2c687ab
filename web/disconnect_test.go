package web

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/server"
)

// byeOf returns what a bye says, with a retry of -1 if it says none.
func byeOf(t *testing.T, ev event) (reason string, retry int64) {
	t.Helper()
	bye := struct {
		Reason string
		Retry  int64
	}{Retry: -1}
	if err := json.Unmarshal([]byte(ev.data), &bye); err != nil || ev.name != "bye" {
		t.Fatalf("got %v, want bye (%v)", ev, err)
	}
	return bye.Reason, bye.Retry
}

func TestDisconnect(t *testing.T) {
	onEveryConnection(t, func(t *testing.T, s *site) {
		e, other := s.stream("/_gb/mailbox?new"), s.stream("/_gb/mailbox?new")
		o := e.init()
		other.init()
		s.mustSend(o.Address, "1")
		e.expect("1")
		path := "/_gb/clients/" + s.grant(o.Key).Mailbox().String()
		if a := s.do("DELETE", path+"?retry=30s", ""); a.status != 204 {
			t.Fatalf("DELETE: %d %s", a.status, a.body)
		}
		if reason, retry := byeOf(t, e.next()); reason != "disconnected" || retry < 30_000 || retry > 37_500 {
			t.Errorf("the client is told %s, %d", reason, retry)
		}
		e.expectEnd()
		until(t, "the stream is forgotten", func() bool { return s.gb.streams.count() == 1 })
		expectProblem(t, "once more", s.do("DELETE", path, ""), 404, "not-connected")

		// the mailbox goes on, and so does who has its key
		s.mustSend(o.Address, "2")
		e = s.stream("/_gb/mailbox", "Authorization", "Bearer "+o.Key, "Last-Event-ID", cursorOf(o.opened, 1))
		e.init()
		e.expect("2")
		if a := s.do("DELETE", path, ""); a.status != 204 {
			t.Fatalf("DELETE: %d %s", a.status, a.body)
		}
		if reason, retry := byeOf(t, e.next()); reason != "disconnected" || retry != -1 {
			t.Errorf("the client is told %s, %d", reason, retry)
		}
		e.expectEnd()
		until(t, "the other one stays", func() bool { return s.gb.streams.count() == 1 })
	})
}

func TestDisconnectRefused(t *testing.T) {
	s := serve(t, setup{web: Options{Operator: func(r *http.Request) bool { return r.Header.Get("Client") == "boss" }}})
	e := s.stream("/_gb/mailbox?new")
	o := e.init()
	path := "/_gb/clients/" + s.grant(o.Key).Mailbox().String()
	expectProblem(t, "somebody", s.do("DELETE", path, ""), 403, "operators-only")
	expectProblem(t, "a page of another site", s.do("DELETE", path, "", "Client", "boss", "Origin", "https://evil.example"), 403, "operators-only")
	for _, retry := range []string{"x", "-1s", "0s", "25h"} {
		expectProblem(t, retry, s.do("DELETE", path+"?retry="+retry, "", "Client", "boss"), 400, "malformed-request")
	}
	expectProblem(t, "no id", s.do("DELETE", "/_gb/clients/x", "", "Client", "boss"), 400, "malformed-request")
	expectProblem(t, "nobody", s.do("DELETE", "/_gb/clients/"+uuid.NewString(), "", "Client", "boss"), 404, "not-connected")
	expectProblem(t, "GET", s.do("GET", path, "", "Client", "boss"), 405, "method-not-allowed")
	s.mustSend(o.Address, `"still here"`)
	e.expect(`"still here"`)
}

// TestDisconnectSlowReader holds that the bye comes behind what was begun, and nothing after it.
func TestDisconnectSlowReader(t *testing.T) {
	s := serve(t, setup{server: server.Options{Limits: mailbox.Limits{Backlog: 1000}}, web: Options{SendBuffer: 4 << 10}})
	o := s.open()
	c, br := s.rawStream("Authorization: Bearer " + o.Key + "\r\n")
	c.SetDeadline(time.Now().Add(patience))
	draining := func() bool {
		for _, st := range s.gb.streams.reading(s.grant(o.Key).Mailbox()) {
			st.mu.Lock()
			defer st.mu.Unlock()
			return st.draining
		}
		return false
	}
	for n := 0; !draining(); n++ {
		if n == 1000 {
			t.Fatal("the wire takes everything")
		}
		s.mustSend(o.Address, fmt.Sprintf(`"%d %s"`, n, strings.Repeat("x", 2000)))
	}
	if !s.gb.Disconnect(s.grant(o.Key).Mailbox(), time.Second) {
		t.Fatal("it is not connected")
	}
	s.mustSend(o.Address, `"late"`)
	last := event{}
	for {
		ev, err := readEvent(br)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if last.name == "bye" {
			t.Errorf("%v after the bye", ev)
		}
		last = ev
	}
	if reason, _ := byeOf(t, last); reason != "disconnected" {
		t.Errorf("the last that came is %v", last)
	}
}

// TestAddressOfAMailbox sends to a client that an operator knows by its id only.
func TestAddressOfAMailbox(t *testing.T) {
	s := serve(t, setup{})
	e := s.stream("/_gb/mailbox?new")
	o := e.init()
	a := s.do("GET", "/_gb/clients", "")
	var listed struct{ Clients []connected }
	if err := json.Unmarshal([]byte(a.body), &listed); err != nil || len(listed.Clients) != 1 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	to := s.office.Address(listed.Clients[0].Mailbox)
	if to.String() != o.Address {
		t.Fatalf("the address is %v, want %s", to, o.Address)
	}
	if err := s.office.Send(ctx, to, "from the operator"); err != nil {
		t.Fatal(err)
	}
	e.expect(`"from the operator"`)
}
