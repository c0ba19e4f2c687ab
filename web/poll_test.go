package web

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/server"
)

func (s *site) poll(o opened, query string) answered {
	s.t.Helper()
	return s.do("GET", "/_gb/mailbox?"+query, "", "Accept", "application/json", "Authorization", "Bearer "+o.Key)
}

// polling polls in the background, and returns once the mailbox has the poll as its reader.
func (s *site) polling(o opened, query string) <-chan answered {
	s.t.Helper()
	got := make(chan answered, 1)
	go func() {
		a, err := s.try("GET", "/_gb/mailbox?"+query, "", "Accept", "application/json", "Authorization", "Bearer "+o.Key)
		if err != nil {
			s.t.Errorf("poll: %v", err)
		}
		got <- a
	}()
	return got
}

func expectPoll(t testing.TB, got answered, want string) {
	t.Helper()
	if got.status != 200 || got.body != want || got.header.Get("Content-Type") != "application/json" || got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("poll: %d %s %v, want %s", got.status, got.body, got.header, want)
	}
}

// polled is the answer with these bodies after a message, of which some are missing.
func polled(o opened, after, gap uint64, bodies ...string) string {
	at := after + gap
	var messages []string
	for _, b := range bodies {
		at++
		messages = append(messages, fmt.Sprintf(`{"cursor":"%s","body":%s}`, cursorOf(o, at), b))
	}
	return fmt.Sprintf(`{"cursor":"%s","gap":%d,"messages":[%s]}`, cursorOf(o, at), gap, strings.Join(messages, ","))
}

func TestPoll(t *testing.T) {
	for _, kind := range []string{"http/1.1", "h2"} {
		t.Run(kind, func(t *testing.T) {
			s := serve(t, setup{kind: kind})
			o := s.open()
			expectPoll(t, s.poll(o, "wait=0s"), polled(o, 0, 0))
			expectPoll(t, s.poll(o, "wait=10ms"), polled(o, 0, 0))
			s.mustSend(o.Address, "1", `{"a": 2}`)
			expectPoll(t, s.poll(o, "wait=15s"), polled(o, 0, 0, "1", `{"a": 2}`))
			expectPoll(t, s.poll(o, "wait=15s&ack=manual&cursor="+cursorOf(o, 1)), polled(o, 1, 0, `{"a": 2}`))
			expectPoll(t, s.poll(o, "wait=15s"), polled(o, 0, 0, "1", `{"a": 2}`))
			waiting := s.polling(o, "wait=15s&cursor="+cursorOf(o, 2))
			until(t, "the cursor of the poll acknowledged", func() bool { return s.office.Stats().Bytes == 0 })
			s.mustSend(o.Address, "3") // wakes it
			expectPoll(t, <-waiting, polled(o, 2, 0, "3"))
		})
	}
}

func TestPollWaits(t *testing.T) {
	s := serve(t, setup{})
	o := s.open()
	for _, wait := range []string{"61s", "-1s", "25", "x", "60001ms", "1m1s"} {
		expectProblem(t, "wait="+wait, s.poll(o, "wait="+wait), 400, "malformed-request")
	}
	begin := time.Now()
	s.poll(o, "wait=150ms")
	if took := time.Since(begin); took < 150*time.Millisecond {
		t.Errorf("answered after %v, want 150ms", took)
	}
	for text, want := range map[string]time.Duration{"": 25 * time.Second, "60s": time.Minute, "0s": 0, "500ms": 500 * time.Millisecond} {
		if got, err := parseWait(text); got != want || err != nil {
			t.Errorf("parseWait(%q) = %v, %v", text, got, err)
		}
	}
}

func TestPollIsBounded(t *testing.T) {
	s := serve(t, setup{})
	o := s.open()
	big := quoted(15_000)
	for range 6 {
		s.mustSend(o.Address, big)
	}
	for from, want := range map[uint64]int{0: 4, 4: 2} {
		a := s.poll(o, fmt.Sprintf("ack=manual&cursor=%s", cursorOf(o, from)))
		if got := strings.Count(a.body, `"body":`); got != want || len(a.body) > 65<<10 {
			t.Errorf("from %d: %d messages in %d bytes, want %d", from, got, len(a.body), want)
		}
	}
}

// One message that is above the bound of an answer is an answer by itself.
func TestPollTakesOneOfAnySize(t *testing.T) {
	s := serve(t, setup{server: server.Options{Limits: mailbox.Limits{Body: 600 << 10}}})
	o := s.open()
	big := quoted(500 << 10)
	s.mustSend(o.Address, big, "2")
	expectPoll(t, s.poll(o, ""), polled(o, 0, 0, big))
	expectPoll(t, s.poll(o, "cursor="+cursorOf(o, 1)), polled(o, 1, 0, "2"))
}

func TestPollEnds(t *testing.T) {
	s := serve(t, setup{})
	waiting := func() (opened, <-chan answered) {
		o := s.open()
		s.mustSend(o.Address, "1")
		w := s.polling(o, "wait=15s&cursor="+cursorOf(o, 1))
		until(t, "it polls", func() bool { return s.office.Stats().Bytes == 0 })
		return o, w
	}
	o, w := waiting()
	e := s.stream("/_gb/mailbox", "Authorization", "Bearer "+o.Key)
	expectProblem(t, "taken over by a stream", <-w, 410, "taken-over")
	e.init()
	s.poll(o, "wait=0s")
	e.expect(`bye {"reason":"taken-over"}`)

	o, w = waiting()
	s.do("DELETE", "/_gb/mailbox", "", "Authorization", "Bearer "+o.Key)
	expectProblem(t, "closed", <-w, 410, "closed")

	_, w = waiting()
	if err := s.gb.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	expectProblem(t, "shut down", <-w, 503, "shutting-down")
}

// A message that came just before the shutdown is answered, not the shutdown.
func TestPollAnswersWhatCameBeforeTheEnd(t *testing.T) {
	for range 20 {
		s := serve(t, setup{})
		o := s.open()
		p := &poller{wake: make(chan struct{}, 1), end: make(chan error, 1)}
		g := s.grant(o.Key)
		sub, err := s.office.Subscribe(g, server.Subscribing{}, p)
		if err != nil {
			t.Fatal(err)
		}
		r, _ := http.NewRequestWithContext(ctx, "GET", "/", nil)
		got := make(chan error, 1)
		go func() {
			_, err := p.read(r, sub, time.Minute)
			got <- err
		}()
		if _, err := s.office.Post(o.Address, &server.Letter{Body: []byte("1")}); err != nil {
			t.Fatal(err)
		}
		p.End(server.ErrShuttingDown) // before it was woken
		if err := <-got; err != nil {
			t.Fatalf("read = %v, want the message", err)
		}
	}
}

// A client that goes away while it polls is nothing to log.
func TestPollerGoes(t *testing.T) {
	s := serve(t, setup{server: server.Options{Limits: mailbox.Limits{Asleep: 50 * time.Millisecond}}})
	o := s.open()
	s.mustSend(o.Address, "1")
	leaving, cancel := context.WithCancel(ctx)
	r, _ := http.NewRequestWithContext(leaving, "GET", s.srv.URL+"/_gb/mailbox?cursor="+cursorOf(o, 1), nil)
	setHeaders(r, []string{"Accept", "application/json", "Authorization", "Bearer " + o.Key})
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		if resp, err := s.srv.Client().Do(r); err == nil {
			resp.Body.Close()
		}
	}()
	until(t, "it polls", func() bool { return s.office.Stats().Bytes == 0 })
	cancel()
	<-gone
	until(t, "the mailbox expires", func() bool { return s.office.Stats().Mailboxes == 0 })
	if strings.Contains(s.log.String(), "request failed") {
		t.Errorf("log: %s", s.log)
	}
}
