package client_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/genbrowser/genbrowser/client"
)

// script is a server that sends the very bytes that a test wants sent. It lives in the test's bubble, where time
// passes as soon as everybody waits, and which fails the test if a goroutine is left.
type script struct {
	t      *testing.T
	client *client.Client
	box    *client.Mailbox // resumed after script.after, or from the start
	ctx    context.Context
	conns  *sync.WaitGroup

	mu     sync.Mutex
	began  time.Time
	reads  []time.Duration // when each GET of the mailbox came
	after  []string        // its Last-Event-ID
	acks   []string        // bodies of acknowledgements
	answer func(n int) string
}

// play runs test in a bubble. Each GET of the mailbox, the first being 1, is answered by serve, which writes the
// whole answer; the connection ends when it returns.
func play(t *testing.T, o client.Options, cursor string, serve func(n int, c net.Conn), test func(s *script)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &script{t: t, conns: new(sync.WaitGroup), began: time.Now(), answer: func(int) string { return "HTTP/1.1 204 No Content\r\n\r\n" }}
		o.HTTP = &http.Client{Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(context.Context, string, string) (net.Conn, error) {
				here, there := net.Pipe()
				s.conns.Go(func() { s.serve(there, serve) })
				return here, nil
			},
		}}
		c, err := client.New("http://server.test", o)
		if err != nil {
			t.Fatal(err)
		}
		s.client = c
		s.box = c.Resume(ring(t).MailboxKey(uuid.New()), cursor)
		t.Cleanup(func() { // last of all
			synctest.Wait() // a dial that nobody waits for any more may be under way
			s.conns.Wait()
		})
		ctx, cancel := context.WithTimeout(context.Background(), 24*time.Hour)
		t.Cleanup(cancel)
		s.ctx = ctx
		test(s)
	})
}

func (s *script) serve(c net.Conn, serve func(int, net.Conn)) {
	defer c.Close()
	r, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return
	}
	body, _ := io.ReadAll(r.Body)
	if r.URL.Path != "/_gb/mailbox" || r.Method != http.MethodGet {
		s.mu.Lock()
		s.acks = append(s.acks, string(body))
		n := len(s.acks)
		s.mu.Unlock()
		io.WriteString(c, s.answer(n))
		return
	}
	if got := r.URL.RawQuery; got != "ack=manual" {
		s.t.Errorf("query = %q", got)
	}
	if got := r.Header.Get("Authorization"); got != "Bearer "+s.box.Key().Reveal() {
		s.t.Errorf("Authorization = %q", got)
	}
	s.mu.Lock()
	s.reads = append(s.reads, time.Since(s.began))
	s.after = append(s.after, r.Header.Get("Last-Event-ID"))
	n := len(s.reads)
	s.mu.Unlock()
	serve(n, c)
}

// read begins to read the mailbox, until the test ends.
func (s *script) read() *inbox {
	return read(s.t, s.ctx, s.box)
}

func (s *script) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.reads)
}

// pauses returns how long it took from each connection to the next.
func (s *script) pauses() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	var pauses []time.Duration
	for i := 1; i < len(s.reads); i++ {
		pauses = append(pauses, s.reads[i]-s.reads[i-1])
	}
	return pauses
}

func (s *script) wantAfter(want ...string) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(s.after, want) {
		s.t.Errorf("resumed after %q, want %q", s.after, want)
	}
}

// What scripts are made of.
const (
	head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
	hi   = head + "retry: 1000\nevent: init\nid: 0000000e.0\n" +
		`data: {"cursor":"0000000e.0","config":{"a":1},"heartbeat":15000,"limits":{"body":100,"backlog":8,"backlogBytes":1000},"resumed":false,"gap":0}` + "\n\n"
)

// message is the nth message's event, with n as its body.
func message(n int) string { return fmt.Sprintf("id: 0000000e.%d\ndata: %d\n\n", n, n) }

func messages(from, to int) string {
	var b strings.Builder
	for n := from; n <= to; n++ {
		b.WriteString(message(n))
	}
	return b.String()
}

func say(c net.Conn, text string) { io.WriteString(c, text) }

// hold says nothing until the client goes.
func hold(c net.Conn) { io.Copy(io.Discard, c) }

func refuse(status int, header, body string) string {
	return fmt.Sprintf("HTTP/1.1 %d %s\r\nContent-Type: application/problem+json\r\nConnection: close\r\n%s\r\n%s",
		status, http.StatusText(status), header, body)
}
