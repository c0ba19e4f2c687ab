package main_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/client"
)

// flood sends requests and reads no answers, until the connection takes no more for a while or is cut. It reports
// whether it was cut.
func flood(t testing.TB, c net.Conn, request string, patience time.Duration) bool {
	t.Helper()
	requests := strings.Repeat(request, 100)
	for {
		c.SetWriteDeadline(time.Now().Add(patience))
		if _, err := io.WriteString(c, requests); err != nil {
			return !errors.Is(err, os.ErrDeadlineExceeded)
		}
	}
}

func dialTo(t testing.TB, url string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// A client that takes no answers is dropped, whatever it asks for.
func TestTakesNoAnswers(t *testing.T) {
	s := simple(t, "--slow-reader", "300ms")
	for _, request := range []string{
		"GET /_gb/client.js HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST /_gb/send/nobody HTTP/1.1\r\nHost: x\r\nOrigin: http://x\r\nContent-Length: 1\r\n\r\n1",
	} {
		if !flood(t, dialTo(t, s.urls[0]), request, 20*time.Second) {
			t.Errorf("%.30q: it was never dropped", request)
		}
	}
}

// One that takes no answers does not hold up the end either.
func TestStopsThoughAnswersAreNotTaken(t *testing.T) {
	for _, lane := range []string{"--fast-lane", "--no-fast-lane"} {
		t.Run(lane, func(t *testing.T) {
			s := simple(t, lane, "--shutdown-grace", "1s")
			c := dialTo(t, s.urls[0])
			if flood(t, c, "POST /_gb/send/nobody HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1", time.Second) {
				t.Fatal("it was cut")
			}
			began := time.Now()
			s.Process.Signal(os.Interrupt)
			for range s.stdout {
			}
			for range s.stderr {
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("it took %v to end, with a grace of 1s", took)
			}
		})
	}
}

// Who has nothing to say or to be told for long is no slow reader: neither an upload nor a stream.
func TestIdleIsNotSlow(t *testing.T) {
	const slow = time.Second
	s := simple(t, "--slow-reader", slow.String())
	for version, protocols := range map[string]func(*http.Protocols){
		"HTTP/1.1": func(p *http.Protocols) { p.SetHTTP1(true) },
		"HTTP/2":   func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) },
	} {
		t.Run(version, func(t *testing.T) {
			transport := &http.Transport{Protocols: new(http.Protocols)}
			protocols(transport.Protocols)
			defer transport.CloseIdleConnections()
			c, err := client.New(s.urls[0], client.Options{HTTP: &http.Client{Transport: transport}})
			if err != nil {
				t.Fatal(err)
			}
			resp, err := (&http.Client{Transport: transport}).Get(s.urls[0] + "/_gb/mailbox?new")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			events := bufio.NewScanner(resp.Body)
			until := func(prefix string) string {
				for events.Scan() {
					if rest, is := strings.CutPrefix(events.Text(), prefix); is {
						return rest
					}
				}
				t.Fatalf("the stream ended before %q: %v", prefix, events.Err())
				return ""
			}
			var init struct{ Address address.Address }
			if err := json.Unmarshal([]byte(until("data: ")), &init); err != nil {
				t.Fatal(err)
			}
			answered := 0
			for i, err := range c.SendMany(t.Context(), func(yield func(client.Outgoing) bool) {
				<-time.After(3 * slow) // others would be dropped
				yield(client.Outgoing{To: init.Address, Body: 1})
			}) {
				if answered++; err != nil {
					t.Errorf("message %d: %v", i, err)
				}
			}
			if answered != 1 {
				t.Errorf("%d answers, want 1", answered)
			}
			until("data: 1")
		})
	}
}
