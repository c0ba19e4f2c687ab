package client_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/client"
	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/server"
	"github.com/genbrowser/genbrowser/web/problem"
)

// conversation is a SendMany that is held open: what is put into messages is sent.
type conversation struct {
	t        *testing.T
	messages chan client.Outgoing
	answer   func() (int, error, bool)
}

func converse(t *testing.T, ctx context.Context, c *client.Client) *conversation {
	v := &conversation{t: t, messages: make(chan client.Outgoing)}
	next, stop := iter.Pull2(c.SendMany(ctx, func(yield func(client.Outgoing) bool) {
		for m := range v.messages {
			if !yield(m) {
				return
			}
		}
	}))
	v.answer = next
	t.Cleanup(func() {
		v.end()
		stop()
	})
	return v
}

func (v *conversation) end() {
	if v.messages != nil {
		close(v.messages)
		v.messages = nil
	}
}

// say sends in the background, for a message is taken only while answers are read.
func (v *conversation) say(m client.Outgoing) {
	messages := v.messages
	go func() { messages <- m }()
}

func (v *conversation) want(number int, kind error) {
	v.t.Helper()
	i, err, ok := v.answer()
	if !ok || i != number || !errors.Is(err, kind) || (kind == nil) != (err == nil) {
		v.t.Fatalf("got %d, %v, %v, want %d, %v", i, err, ok, number, kind)
	}
}

func (v *conversation) wantEnd() {
	v.t.Helper()
	if i, err, ok := v.answer(); ok {
		v.t.Fatalf("got %d, %v, want the end", i, err)
	}
}

func TestSendManyAnswersEachLineAsItComes(t *testing.T) {
	for name, o := range map[string]siteOptions{"HTTP/1.1": {}, "HTTP/2": {http2: true}} {
		t.Run(name, func(t *testing.T) {
			s := start(t, o)
			c := connect(t, s.URL, client.Options{HTTP: s.Client()})
			box := open(t, c)
			inbox := read(t, limit(t), box)
			v := converse(t, limit(t), c)
			for n := range 20 { // each waits for its answer, and its message arrives, before the next is sent
				v.say(client.Outgoing{To: box.Address(), Body: n})
				v.want(n, nil)
				inbox.want(fmt.Sprint(n))
			}
			v.end()
			v.wantEnd()
		})
	}
}

func TestSendManyTellsWhichWereRefused(t *testing.T) {
	s := start(t, siteOptions{server: server.Options{Limits: mailbox.Limits{Backlog: 2}}})
	c := connect(t, s.URL, client.Options{})
	box := open(t, c)
	narrow, err := box.Address().Attenuate(address.MaxBytes(1))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i, err := range c.SendMany(limit(t), slices.Values([]client.Outgoing{
		{To: box.Address(), Body: 1, ID: "a"},
		{To: narrow, Body: 10},
		{To: box.Address(), Body: "again", ID: "a"}, // accepted, and not delivered
		{To: box.Address(), Body: 2, Kind: "call"},
		{To: box.Address(), Body: 2, TTL: -1},
		{Body: 2},
		{To: box.Address(), Body: 2},
		{To: box.Address(), Body: 3},
	})) {
		var p *problem.Problem
		if errors.As(err, &p) {
			got = append(got, fmt.Sprint(i, " ", p.Kind.Code))
		} else {
			got = append(got, fmt.Sprint(i, " ", err))
		}
	}
	want := []string{"0 <nil>", "1 too-large", "2 <nil>", "3 malformed-envelope", "4 malformed-envelope", "5 malformed-envelope", "6 <nil>", "7 full"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestSendManyOfNothing(t *testing.T) {
	s := start(t, siteOptions{})
	for i, err := range connect(t, s.URL, client.Options{}).SendMany(limit(t), slices.Values([]client.Outgoing(nil))) {
		t.Errorf("got %d, %v", i, err)
	}
}

func TestSendManyInvalidBodyIsTheLast(t *testing.T) {
	s := start(t, siteOptions{})
	c := connect(t, s.URL, client.Options{})
	box := open(t, c)
	v := converse(t, limit(t), c)
	v.say(client.Outgoing{To: box.Address(), Body: 1})
	v.want(0, nil)
	v.say(client.Outgoing{To: box.Address(), Body: func() {}})
	i, err, ok := v.answer()
	if !ok || i != 1 || err == nil || errors.Is(err, client.ErrUnanswered) || !strings.Contains(err.Error(), "message 1: json") {
		t.Errorf("got %d, %v, %v", i, err, ok)
	}
	v.wantEnd()
	read(t, limit(t), box).want("1")
}

// raw is a server that answers one POST by hand.
func raw(t *testing.T, serve func(lines *bufio.Scanner, c net.Conn)) *client.Client {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		r, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil || r.Header.Get("Content-Type") != "application/x-ndjson" {
			t.Errorf("request %v, %v", r, err)
			return
		}
		serve(bufio.NewScanner(r.Body), c)
	}()
	return connect(t, "http://"+l.Addr().String(), client.Options{})
}

const ndjson = "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"

func chunk(text string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(text), text) }

func TestSendManyThatBreaks(t *testing.T) {
	const ok = `{"status":202}` + "\n"
	for name, test := range map[string]struct {
		answer   string
		answered int
		also     error
	}{
		"at once":            {"", 0, nil},
		"refused as a whole": {refuse(503, "", `{"type":"urn:gen-browser:overloaded"}`), 0, problem.Overloaded},
		"after two":          {ndjson + chunk(ok+ok), 2, io.ErrUnexpectedEOF},
		"within the third":   {ndjson + chunk(ok+ok) + chunk(ok[:5]), 2, nil},
		"with a clean end":   {ndjson + chunk(ok+ok) + "0\r\n\r\n", 2, io.ErrUnexpectedEOF},
		"with nonsense":      {ndjson + chunk(ok+ok+"<html>\n"), 2, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c := raw(t, func(lines *bufio.Scanner, conn net.Conn) {
				for range 3 {
					lines.Scan()
				}
				io.WriteString(conn, test.answer)
				conn.(*net.TCPConn).CloseWrite()
				io.Copy(io.Discard, conn) // or its system may say reset instead of the end
			})
			to, err := ring(t).Process("x")
			if err != nil {
				t.Fatal(err)
			}
			answers := 0
			var last error
			for i, err := range c.SendMany(limit(t), slices.Values([]client.Outgoing{{To: to}, {To: to}, {To: to}})) {
				if i != answers || last != nil {
					t.Errorf("got %d, %v after %d answers", i, err, answers)
				}
				if err == nil {
					answers++
				}
				last = err
			}
			if answers != test.answered || !errors.Is(last, client.ErrUnanswered) || test.also != nil && !errors.Is(last, test.also) {
				t.Errorf("%d answers, then %v; want %d, then %v", answers, last, test.answered, client.ErrUnanswered)
			}
			if want := fmt.Sprintf("message %d:", test.answered); !strings.Contains(last.Error(), want) {
				t.Errorf("%v does not name the %s", last, want)
			}
		})
	}
}

func TestSendManyRefusedAsAWhole(t *testing.T) {
	s := start(t, siteOptions{})
	c := connect(t, s.URL, client.Options{Prefix: "/elsewhere"})
	for i, err := range c.SendMany(limit(t), slices.Values([]client.Outgoing{{}})) {
		if i != 0 || !errors.Is(err, client.ErrUnanswered) || !errors.Is(err, problem.NotFound) {
			t.Errorf("got %d, %v", i, err)
		}
	}
}

// The messages' goroutine, the request and the connection must be gone; TestMain looks for them.
func TestSendManyLeftEarly(t *testing.T) {
	s := start(t, siteOptions{})
	c := connect(t, s.URL, client.Options{})
	box := open(t, c)
	taken, ended := 0, false
	endless := func(yield func(client.Outgoing) bool) {
		for yield(client.Outgoing{To: box.Address(), Body: 1}) {
			taken++
		}
		ended = true
	}
	for i, err := range c.SendMany(limit(t), endless) {
		if err != nil {
			t.Fatal(err)
		}
		if i == 5 {
			break
		}
	}
	if !ended || taken < 6 { // without a lock: the loop ends after the goroutine did
		t.Errorf("took %d messages, ended: %v", taken, ended)
	}
}

func TestSendManyEndsWithItsContext(t *testing.T) {
	for name, o := range map[string]siteOptions{"HTTP/1.1": {}, "HTTP/2": {http2: true}} {
		t.Run(name, func(t *testing.T) {
			s := start(t, o)
			c := connect(t, s.URL, client.Options{HTTP: s.Client()})
			box := open(t, c)
			ctx, cancel := context.WithCancel(limit(t))
			v := converse(t, ctx, c)
			v.say(client.Outgoing{To: box.Address()})
			v.want(0, nil)
			cancel()
			i, err, _ := v.answer()
			if i != 1 || !errors.Is(err, client.ErrUnanswered) || !errors.Is(err, context.Canceled) {
				t.Errorf("got %d, %v", i, err)
			}
		})
	}
}

func TestSendManyWhileTheServerShutsDown(t *testing.T) {
	s := start(t, siteOptions{})
	c := connect(t, s.URL, client.Options{})
	box := open(t, c)
	v := converse(t, limit(t), c)
	for n := range 3 {
		v.say(client.Outgoing{To: box.Address(), Body: n})
		v.want(n, nil)
	}
	s.shutDown(t)
	v.want(3, client.ErrUnanswered)
	v.end()
	v.wantEnd()
}
