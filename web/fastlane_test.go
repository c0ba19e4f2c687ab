package web

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/address"
)

// usual is a send as clients make it, to the address that stands for ADDR.
const usual = "POST /_gb/send/ADDR HTTP/1.1\r\nHost: localhost:8080\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\n\"one\""

// usually returns the usual send with one text in place of another.
func usually(old, new string) string {
	if !strings.Contains(usual, old) {
		panic(old)
	}
	return strings.Replace(usual, old, new, 1)
}

// oddities are sends that are not usual, and what stands on connections beside them.
var oddities = []string{
	usual,
	usual + usual,
	usually("Host: localhost:8080", "host: x"),
	usually("Host", "HOST"),
	usually("Content-Length", "content-length"),
	usually("Content-Type: application/json\r\n", ""),
	usually("application/json", "text/plain"),
	usually("application/json", "text/html"),
	usually("application/json", "application/json; charset=utf-8"),
	usually("Host", "User-Agent: curl/8.5.0\r\nAccept: */*\r\nHost"),
	usually("Host", "Connection: keep-alive\r\nHost"),
	usually("Host", "Connection: close\r\nHost"),
	usually("Host", "Connection: upgrade\r\nUpgrade: h2c\r\nHost"),
	usually("Host", "Origin: https://example.com\r\nHost"),
	usually("Host", "Idempotency-Key: one\r\nHost") + usually("Host", "Idempotency-Key: one\r\nHost"),
	usually("Host", "Idempotency-Key: no good\r\nHost"),
	usually("Host", "TTL: 7\r\nHost"),
	usually("Host", "TTL: -7\r\nHost"),
	usually("Host", "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nHost"),
	usually("Host", "Traceparent: x\r\nHost"),
	usually("Host", "Expect: 100-continue\r\nHost"),
	// how long it is
	usually("5\r\n\r\n\"one\"", "005\r\n\r\n\"one\""),
	usually("5\r\n\r\n\"one\"", "+5\r\n\r\n\"one\""),
	usually("5\r\n\r\n\"one\"", "-5\r\n\r\n\"one\""),
	usually("5\r\n\r\n\"one\"", "0x5\r\n\r\n\"one\""),
	usually("5\r\n\r\n\"one\"", "5 \r\n\r\n\"one\""),
	usually("5\r\n\r\n\"one\"", " 5\r\n\r\n\"one\""),
	usually("5\r\n\r\n\"one\"", "5,5\r\n\r\n\"one\""),
	usually("5\r\n\r\n\"one\"", "5\r\nContent-Length: 5\r\n\r\n\"one\""),
	usually("5\r\n\r\n\"one\"", "5\r\nContent-Length: 6\r\n\r\n\"one\""),
	usually("5\r\n\r\n\"one\"", "4\r\n\r\n\"one\"") + usual,
	usually("5\r\n\r\n\"one\"", "6\r\n\r\n\"one\"") + usual,
	usually("5\r\n\r\n\"one\"", "0\r\n\r\n"),
	usually("5\r\n\r\n\"one\"", "99999999999999999999\r\n\r\n\"one\""),
	usually("5\r\n\r\n\"one\"", "\r\n\r\n\"one\""),
	usually("Content-Length: 5\r\n", ""),
	usually("Content-Length: 5\r\n\r\n\"one\"", "Transfer-Encoding: chunked\r\n\r\n5\r\n\"one\"\r\n0\r\n\r\n"),
	usually("\r\n\r\n\"one\"", "\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n\"one\"\r\n0\r\n\r\n"),
	usually("\r\n\r\n\"one\"", "\r\nTransfer-Encoding: identity\r\n\r\n\"one\""),
	usually("Content-Length: 5", "Content-Length : 5"),
	usually("Content-Length: 5", "Content-Length:5"),
	usually("Content-Length: 5", "Content-Length:15") + usual,
	usually("Content-Length: 5", "Content-Length:  5"),
	usually("Content-Length: 5", "Content-Length:\t5"),
	usually("Content-Length: 5", " Content-Length: 5"),
	usually("Content-Length: 5", "Content_Length: 5"),
	usually("Content-Length: 5", "X: y\r\n Content-Length: 5"),
	usually("Content-Type: application/json", "Content-Type: application/json\r\n ; charset=utf-8"),
	// lines and spaces
	strings.ReplaceAll(usual, "\r\n", "\n"),
	strings.ReplaceAll(usual, "\r\n", "\r"),
	usually("\r\nHost", "\nHost"),
	usually("\r\n\r\n", "\r\n\n"),
	usually("\r\n\r\n", "\n\r\n"),
	usually("\r\nHost", "\r\n\r\nHost"),
	usually("\r\nHost", "\rX\r\nHost"),
	"\r\n" + usual, "\r\n\r\n" + usual, "\n\n\n\n\n" + usual, "\r\n\r\n\r\n" + usual, "\r", "\r\n", "\n\n\n\n", "0", "0000",
	" " + usual,
	usually(" HTTP/1.1", "  HTTP/1.1"),
	usually(" HTTP/1.1", "\tHTTP/1.1"),
	usually(" HTTP/1.1", " HTTP/1.1 "),
	usually(" HTTP/1.1", " HTTP/1.0"),
	usually(" HTTP/1.1", " HTTP/1.2"),
	usually(" HTTP/1.1", " http/1.1"),
	usually(" HTTP/1.1", ""),
	usually("POST ", "POST  "),
	usually("POST", "post"),
	usually("POST", "PUT"),
	// where it goes
	usually("/_gb/send/ADDR", "/_gb/send/"),
	usually("/_gb/send/ADDR", "/_gb/send/nobody"),
	usually("/_gb/send/ADDR", "/_gb/send/ADDRx"),
	usually("/_gb/send/ADDR", "/_gb/send/SECRET"),
	usually("/_gb/send/ADDR", "/_gb/send/gbk_"),
	usually("/_gb/send/ADDR", "/_gb/send/ADDR?x=y"),
	usually("/_gb/send/ADDR", "/_gb/send/ADDR#x"),
	usually("/_gb/send/ADDR", "/_gb/send//ADDR"),
	usually("/_gb/send/ADDR", "/_gb/./send/ADDR"),
	usually("/_gb/send/ADDR", "/_gb/send/%67ba_x"),
	usually("/_gb/send/ADDR", "http://localhost:8080/_gb/send/ADDR"),
	usually("/_gb/send/ADDR", "/_gb/send/"+strings.Repeat("x", 600)),
	usually("Host: localhost:8080\r\n", ""),
	usually("Host: localhost:8080\r\n", "Host: a\r\nHost: b\r\n"),
	usually("localhost:8080", "a b"),
	usually("localhost:8080", "a/b"),
	usually("localhost:8080", ""),
	usually("localhost:8080", "[::1]:80"),
	usually("Host", "Accept: "+strings.Repeat("x", 5000)+"\r\nHost"),
	usually("Host", "Accept: \x00\r\nHost"),
	usually("Host", "Accept: é\r\nHost"),
	usually("Host", "Accept: \x7f\r\nHost"),
	// what it says
	usually(`"one"`, `{one}`),
	usually(`"one"`, "[\r\n1]"),
	usually(`"one"`, "\"\xff\xff\xff\""),
	usually("5\r\n\r\n\"one\"", fmt.Sprintf("%d\r\n\r\n\"%s\"", 60_002, strings.Repeat("x", 60_000))),
	usually("5\r\n\r\n\"one\"", fmt.Sprintf("%d\r\n\r\n\"%s\"", 65_537, strings.Repeat("x", 65_535))),
	// what else there is
	"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
	"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nPOST ",
	"PRI * HTTP/2.0\r\n\r\n",
	"POST", "POST /_gb/send/ADDR HTTP/1.1\r\n", usual[:len(usual)-1], "\x16\x03\x01", "",
}

// The fast lane makes of everything what net/http makes of it, with a usual send before it and one behind it.
func TestFastLaneIsNetHTTP(t *testing.T) {
	w := newTwins(t, nil)
	for _, odd := range oddities {
		w.compare(t, odd)
		w.compare(t, usual+odd)
		w.compare(t, usual+odd+usual)
		w.compare(t, usual+odd+usual, len(usual), len(usual)+1, len(usual)+len(odd)-1)
	}
	for cut := range len(usual) {
		w.compare(t, usual+usual, cut, cut+len(usual)/2)
	}
	for cut := range len(http2Preface) {
		w.compare(t, usual+http2Preface+usual, len(usual)+cut)
		w.compare(t, usual+http2Preface[:cut]+usual)
	}
	var each []int
	for i := range 2*len(usual) + 100 {
		each = append(each, i)
	}
	w.compare(t, usual+usual, each...)
}

// TestFastLaneIsNetHTTPWithHTTP2: so it does for a server that speaks HTTP/2 without TLS. That one reads a connection's
// first bytes by themselves and resets it if they are no good, so that there is nothing to compare then.
func TestFastLaneIsNetHTTPWithHTTP2(t *testing.T) {
	w := newTwins(t, withHTTP2)
	for _, odd := range append(oddities, http2Preface) {
		w.compare(t, usual+odd)
		w.compare(t, usual+odd+usual)
	}
}

func FuzzFastLane(f *testing.F) {
	for _, odd := range oddities {
		f.Add(usual+odd+usual, uint16(len(usual)), uint16(len(usual)+len(odd)/2))
	}
	f.Add(usual+http2Preface, uint16(0), uint16(0))
	w := newTwins(f, nil)
	f.Fuzz(func(t *testing.T, input string, a, b uint16) {
		if strings.Contains(input, "/_gb/mailbox") || strings.Contains(input, "/metrics") || strings.Contains(input, "/.well-known") {
			t.Skip("what differs from site to site, or streams")
		}
		w.compare(t, input, int(min(a, b)), int(max(a, b)))
	})
}

// Whatever of a request has come, the parser never takes it for another one than it is once all of it is there.
func TestFastParserWaits(t *testing.T) {
	p := fastParser{begin: "POST /_gb/send/", maxBody: 64 << 10}
	for _, odd := range oddities {
		var whole, part fastRequest
		want, _ := p.parse(&whole, []byte(odd))
		for i := range len(odd) {
			v, need := p.parse(&part, []byte(odd[:i]))
			switch {
			case v == complete && (want != complete || !bytes.Equal(part.body, whole.body) || part.size != whole.size):
				t.Errorf("%q is complete, and then %d", odd[:i], want)
			case v == isForeign && want != isForeign:
				t.Errorf("%q is foreign, and then %d", odd[:i], want)
			case need > 0 && want == complete && need != whole.size:
				t.Errorf("%q needs %d bytes of %d", odd[:i], need, whole.size)
			}
		}
	}
}

// What is usual stays in the lane, and what is not leaves it.
func TestFastLaneHandsOver(t *testing.T) {
	s := serve(t, setup{kind: "fast"})
	lane := s.srv.Listener.(interface{ inLane() int })
	o := s.open()
	send := strings.ReplaceAll(usual, "ADDR", o.Address)
	before := lane.inLane()
	c := s.dial()
	br := bufio.NewReader(c)
	for range 3 {
		io.WriteString(c, send)
		if resp, err := http.ReadResponse(br, nil); err != nil || resp.StatusCode != http.StatusAccepted {
			t.Fatalf("%v %v", resp, err)
		}
	}
	if got := s.metric("genbrowser_fast_lane_sends_total"); got != "3" {
		t.Errorf("%s sends in the lane, want 3", got)
	}
	if got := lane.inLane(); got != before+1 {
		t.Errorf("%d connections in the lane, %d before", got, before)
	}
	io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"+send)
	for _, want := range []int{http.StatusOK, http.StatusAccepted} {
		resp, err := http.ReadResponse(br, nil)
		if err != nil || resp.StatusCode != want {
			t.Fatalf("%v %v, want %d", resp, err, want)
		}
		io.Copy(io.Discard, resp.Body)
	}
	if got := lane.inLane(); got != before {
		t.Errorf("%d connections in the lane, want %d", got, before)
	}
	// a stream on a connection that the lane returned
	io.WriteString(c, "GET /_gb/mailbox HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+o.Key+"\r\n\r\n")
	readHead(t, c)
	until(t, "the stream is there", func() bool { return s.gb.streams.count() == 1 })
	c.Close()
	until(t, "it is gone", func() bool { return s.gb.streams.count() == 0 })
}

// The lane keeps the server's time limits.
func TestFastLaneTimeouts(t *testing.T) {
	for name, begin := range map[string]string{
		"nothing": "", "a part of a head": usual[:30], "a part of a body": usual[:len(usual)-1], "a whole one": usual,
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, setup{kind: "fast", http: func(h *http.Server) { h.ReadTimeout, h.IdleTimeout = 500*time.Millisecond, 600*time.Millisecond }})
			begin = strings.ReplaceAll(begin, "ADDR", s.open().Address)
			c := s.dial()
			io.WriteString(c, begin)
			if _, err := io.Copy(io.Discard, c); err != nil {
				t.Errorf("the connection ended with %v", err)
			}
		})
	}
}

// A request that comes a byte at a time does not get more time with each byte.
func TestFastLaneSlowRequest(t *testing.T) {
	s := serve(t, setup{kind: "fast", http: func(h *http.Server) { h.ReadTimeout = 200 * time.Millisecond }})
	c := s.dial()
	began := time.Now()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	io.WriteString(c, "POST /_gb/send/")
	for time.Since(began) < patience/2 {
		<-tick.C
		if _, err := c.Write([]byte("x")); err != nil {
			return // it was cut
		}
	}
	t.Error("it was never cut")
}

// A shutdown answers what comes on connections that stay open, and ends them.
func TestFastLaneShutdown(t *testing.T) {
	s := serve(t, setup{kind: "fast"})
	send := strings.ReplaceAll(usual, "ADDR", s.open().Address)
	busy, idle := s.dial(), s.dial()
	br := bufio.NewReader(busy)
	io.WriteString(busy, send)
	if resp, err := http.ReadResponse(br, nil); err != nil || resp.StatusCode != http.StatusAccepted {
		t.Fatalf("%v %v", resp, err)
	}
	if err := s.gb.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	io.WriteString(busy, send+"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n") // which is not answered, as was said
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != http.StatusServiceUnavailable || !resp.Close || resp.Header.Get("Retry-After") == "" {
		t.Errorf("%v %v, want 503 and the end", resp, err)
	}
	io.Copy(io.Discard, resp.Body)
	if _, err := br.ReadByte(); err != io.EOF {
		t.Errorf("then %v", err)
	}
	s.srv.Listener.Close()
	if _, err := idle.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the idle one ends with %v", err)
	}
}

// wrapping is a listener as others make them, such as one with a limit: its connections are no more than [net.Conn].
type wrapping struct{ net.Listener }

func (l wrapping) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return struct{ net.Conn }{c}, err
}

// TestFastLaneOverOtherListeners: a stream that began in the lane works over whatever the listener accepts.
func TestFastLaneOverOtherListeners(t *testing.T) {
	s := serve(t, setup{kind: "fast, wrapped"})
	e := s.stream("/_gb/mailbox?new")
	box := e.init()
	s.mustSend(box.Address, "1")
	e.expect("1")
}

// With limits for each client, whom the lane does not know, there is no lane.
func TestFastLaneLeavesQuotas(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for name, o := range map[string]Options{"messages": {SendRate: 1}, "bytes": {SendBytes: 1}} {
		s := serve(t, setup{web: o})
		if _, lane := s.gb.FastLane(l, s.srv.Config).(*fastLane); lane {
			t.Errorf("with a quota of %s there is a fast lane", name)
		}
	}
}

// A lane whose answers are not taken ends the connection, as a full one does.
func TestFastLaneSlowReader(t *testing.T) {
	s := serve(t, setup{kind: "fast", web: Options{SlowReader: 100 * time.Millisecond}})
	c := s.dial()
	c.(*net.TCPConn).SetReadBuffer(1 << 10)
	send := strings.Repeat(usually("/_gb/send/ADDR", "/_gb/send/nobody"), 100)
	for {
		if _, err := io.WriteString(c, send); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("it was never cut")
		} else if err != nil {
			return // it was
		}
	}
}

// The lane honours an address's caveats as net/http's handler does.
func TestFastLaneHonoursCaveats(t *testing.T) {
	w := newTwins(t, nil)
	for _, caveat := range []address.Caveat{
		address.Expires(time.Unix(1, 0)), address.MaxBytes(3), address.Types("x"), address.Label("by"),
	} {
		for i := range w.to {
			s := []*site{w.fast, w.plain}[i]
			a, err := s.grantedAddress(w.to[i].Address).Attenuate(caveat)
			if err != nil {
				t.Fatal(err)
			}
			w.to[i].Address = a.String()
		}
		w.compare(t, usual)
	}
}

// TestFastRoom holds that a connection takes little room for what it was only told will come.
func TestFastRoom(t *testing.T) {
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	c := &fastConn{conn: here, quick: here, in: make([]byte, 0, fastBuffer), need: 8 << 20}
	go func() {
		for range 40 {
			there.Write(make([]byte, 1<<10))
		}
	}()
	for len(c.in) < 40<<10 {
		c.read()
		if most := max(fastGrowth, 2*len(c.in)); cap(c.in) > most {
			t.Fatalf("%d bytes for %d that came; want at most %d", cap(c.in), len(c.in), most)
		}
	}
}
