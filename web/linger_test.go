package web

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/server"
)

// TestFastLaneEndIsNoReset: who sends faster than it reads gets the answers to all that was accepted before a shutdown, though the
// server leaves requests of its unserved.
func TestFastLaneEndIsNoReset(t *testing.T) {
	s := serve(t, setup{kind: "fast", server: server.Options{Limits: mailbox.Limits{Backlog: 1 << 20, BacklogBytes: 1 << 30}}})
	o := s.open()
	c := s.dial()
	requests := []byte(strings.Repeat(fmt.Sprintf("POST /_gb/send/%s HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1", o.Address), 100))
	for err := error(nil); err == nil; _, err = c.Write(requests) { // until both sides wait for each other
		c.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
	}
	ended := make(chan error, 1)
	go func() { ended <- s.gb.Shutdown(ctx) }()
	until(t, "it shuts down", s.office.ShuttingDown)
	answers, err := io.ReadAll(c)
	if err != nil {
		t.Errorf("the answers end with: %v", err)
	}
	c.Close()
	if n, accepted := bytes.Count(answers, []byte("HTTP/1.1 202")), s.office.Metrics().Accepted; n == 0 || int64(n) != int64(accepted) {
		t.Errorf("%d of %d that were accepted were told", n, accepted)
	}
	if err := <-ended; err != nil {
		t.Errorf("Shutdown = %v", err)
	}
}

// TestFastLaneEndsWithItsClients: a client that goes on sending, and one that stays, keep a shutdown for a moment only.
func TestFastLaneEndsWithItsClients(t *testing.T) {
	s := serve(t, setup{kind: "fast"})
	o := s.open()
	request := fmt.Sprintf("POST /_gb/send/%s HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1", o.Address)
	stays, floods := s.dial(), s.dial()
	flooding := make(chan struct{})
	go func() {
		defer close(flooding)
		for {
			if _, err := io.WriteString(floods, request); err != nil {
				return
			}
		}
	}()
	go io.Copy(io.Discard, floods)
	until(t, "messages come", func() bool { return s.office.Metrics().Accepted > 0 })
	shut := make(chan error, 1)
	go func() { shut <- s.gb.Shutdown(ctx) }()
	until(t, "it shuts down", s.office.ShuttingDown)
	io.WriteString(stays, request)
	if answer, err := io.ReadAll(stays); err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 503 ") {
		t.Errorf("who stays got %q, %v", answer, err)
	}
	if err := <-shut; err != nil {
		t.Errorf("Shutdown = %v", err)
	}
	<-flooding // its connection was closed
}
