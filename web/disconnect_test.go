package web

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
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
		s.gb.streams.mu.Lock()
		defer s.gb.streams.mu.Unlock()
		for st := range s.gb.streams.all { // it is the only one
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
	if err := s.office.Disconnect(s.grant(o.Key).Mailbox(), time.Second); err != nil {
		t.Fatal(err)
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

// TestDisconnectPoll ends a long-poll that waits, and only one that waits.
func TestDisconnectPoll(t *testing.T) {
	s := serve(t, setup{})
	o := s.open()
	path := "/_gb/clients/" + s.grant(o.Key).Mailbox().String()
	expectProblem(t, "before", s.do("DELETE", path, ""), 404, "not-connected")
	waiting := func(seq uint64) <-chan answered {
		s.mustSend(o.Address, "1")
		w := s.polling(o, "wait=15s&cursor="+cursorOf(o, seq))
		until(t, "it polls", func() bool { return s.office.Stats().Bytes == 0 })
		return w
	}
	w := waiting(1)
	if a := s.do("DELETE", path, ""); a.status != 204 {
		t.Fatalf("DELETE: %d %s", a.status, a.body)
	}
	a := <-w
	expectProblem(t, "sent away for good", a, 403, "disconnected")
	if a.header.Get("Retry-After") != "" {
		t.Errorf("%v", a.header)
	}
	w = waiting(2)
	if a := s.do("DELETE", path+"?retry=20s", ""); a.status != 204 {
		t.Fatalf("DELETE: %d %s", a.status, a.body)
	}
	a = <-w
	expectProblem(t, "sent away for a while", a, 503, "sent-away")
	if after, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || after < 20 || after > 25 {
		t.Errorf("Retry-After: %s", a.header.Get("Retry-After"))
	}
	expectProblem(t, "after", s.do("DELETE", path, ""), 404, "not-connected")

	s.mustSend(o.Address, "3")
	expectPoll(t, s.poll(o, "cursor="+cursorOf(o, 2)), polled(o, 2, 0, "3"))
}

// TestDisconnectAcrossNodes: the request may come to any node, wherever the client is connected and the mailbox is kept.
func TestDisconnectAcrossNodes(t *testing.T) {
	nodes := clustered(t, 2)
	o := nodes[0].open()
	path := "/_gb/clients/" + nodes[0].grant(o.Key).Mailbox().String()
	read := 0
	for i, at := range nodes {
		for j, by := range nodes {
			what := fmt.Sprintf("connected at node %d, ended at node %d", i, j)
			e := at.stream("/_gb/mailbox", "Authorization", "Bearer "+o.Key, "Last-Event-ID", cursorOf(o, uint64(read)))
			e.init()
			by.mustSend(o.Address, "1")
			e.expect("1")
			if a := by.do("DELETE", path+"?retry=30s", ""); a.status != 204 {
				t.Fatalf("%s: %d %s", what, a.status, a.body)
			}
			if reason, retry := byeOf(t, e.next()); reason != "disconnected" || retry < 30_000 || retry > 37_500 {
				t.Errorf("%s: the client is told %s, %d", what, reason, retry)
			}
			e.expectEnd()
			expectProblem(t, what+", again", by.do("DELETE", path, ""), 404, "not-connected")

			by.mustSend(o.Address, "2")
			expectPoll(t, at.poll(o, "wait=15s&cursor="+cursorOf(o, uint64(read+1))), polled(o, uint64(read+1), 0, "2"))
			read += 2
			until(t, what+": the poll is over", func() bool { return by.do("DELETE", path, "").status == 404 })
			w := at.polling(o, "wait=15s&cursor="+cursorOf(o, uint64(read)))
			until(t, what+": the poll waits", func() bool { return by.do("DELETE", path, "").status == 204 })
			expectProblem(t, what, <-w, 403, "disconnected")
		}
	}
}

// TestClientsOfANode: a node lists its own, and says which one it is.
func TestClientsOfANode(t *testing.T) {
	nodes := clustered(t, 2)
	o := nodes[1].stream("/_gb/mailbox?new").init()
	for i, n := range nodes {
		self := n.clusterStatus().Nodes[0]
		var got listing
		a := n.do("GET", "/_gb/clients", "")
		if err := json.Unmarshal([]byte(a.body), &got); err != nil || got.Node == nil || *got.Node != (nodeName{self.ID, self.Name}) || got.Streams != i {
			t.Fatalf("node %d, %+v: %d %s", i, self, a.status, a.body)
		}
		if i == 1 && got.Clients[0].Mailbox != n.grant(o.Key).Mailbox() {
			t.Errorf("node %d: %s", i, a.body)
		}
	}
	alone := serve(t, setup{})
	if a := alone.do("GET", "/_gb/clients", ""); a.body != `{"streams":0,"clients":[]}` {
		t.Errorf("alone: %s", a.body)
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
