package web

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
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

// TestUploadEndIsNoReset: so it is with an upload over HTTP/1, whatever still comes of it. One whose length was said gets no end of its
// answer.
func TestUploadEndIsNoReset(t *testing.T) {
	const lines = 4000 // whose answers are more than a client takes that does not read
	for _, kind := range []string{"http/1.1", "plain", "fast", "tls"} {
		for length, end := range map[string]string{"Transfer-Encoding: chunked": lastChunk, "Content-Length: 10000000": ""} {
			t.Run(kind+" "+length, func(t *testing.T) {
				ended := make(chan struct{})
				s := serve(t, setup{kind: kind, http: func(srv *http.Server) { srv.ConnState = whenItEnds(ended) }})
				o := s.open()
				body := strings.Repeat("{}\n", lines-1) + fmt.Sprintf(`{"to":"%s","body":1}`+"\n", o.Address)
				if end != "" {
					body = fmt.Sprintf("%x\r\n%s\r\n", len(body), body)
				}
				c := s.dial()
				if kind == "tls" {
					c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
				}
				fmt.Fprintf(c, "POST /_gb/send HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\n%s\r\n\r\n%s", length, body)
				until(t, "the last line is taken", func() bool { return s.office.Metrics().Accepted == 1 })
				shut := make(chan error, 1)
				go func() { shut <- s.gb.Shutdown(ctx) }()
				<-ended
				io.WriteString(c, body)
				answers, err := io.ReadAll(c)
				if n := bytes.Count(answers, []byte(`"status":`)); n != lines || err != nil {
					t.Errorf("%d of %d answers, and then: %v", n, lines, err)
				}
				if got := bytes.HasSuffix(answers, []byte("\r\n"+lastChunk)); got != (end != "") {
					t.Errorf("the answer ends with %q, want %q", answers[max(0, len(answers)-20):], end)
				}
				c.Close()
				if err := <-shut; err != nil {
					t.Errorf("Shutdown = %v", err)
				}
			})
		}
	}
}

// whenItEnds notes when net/http ends the connection of an upload, or leaves it to the handler.
func whenItEnds(ended chan<- struct{}) func(net.Conn, http.ConnState) {
	once := sync.OnceFunc(func() { close(ended) })
	return func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed || state == http.StateHijacked {
			once()
		}
	}
}

// TestUploadEndIsEncoded: what stands around the handler and encodes answers has its end of one that a shutdown ends.
func TestUploadEndIsEncoded(t *testing.T) {
	s := serve(t, setup{wrap: func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/_gb/send" {
				h.ServeHTTP(w, r)
				return
			}
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			defer z.Close()
			h.ServeHTTP(gzipped{w, z}, r)
		})
	}})
	u := s.sendMany()
	u.write("{}\n")
	u.expect("400 malformed-envelope")
	if err := s.gb.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(u.br); err != nil || len(rest) > 0 {
		t.Errorf("after the answer: %q, %v; want its end", rest, err)
	}
}

// gzipped is a response that is compressed.
type gzipped struct {
	http.ResponseWriter
	z *gzip.Writer
}

func (g gzipped) Write(b []byte) (int, error) { return g.z.Write(b) }
func (g gzipped) Unwrap() http.ResponseWriter { return g.ResponseWriter }
func (g gzipped) FlushError() error {
	return errors.Join(g.z.Flush(), http.NewResponseController(g.ResponseWriter).Flush())
}

// TestUploadRefusalIsNoReset: who sends on gets to know why its upload is refused.
func TestUploadRefusalIsNoReset(t *testing.T) {
	const ndjson = "application/x-ndjson"
	for _, kind := range []string{"http/1.1", "plain", "fast"} {
		s := serve(t, setup{kind: kind, web: Options{HeldPerClient: 1}})
		refused := func(typ, length, want string) {
			t.Helper()
			c := s.dial()
			head := "POST /_gb/send HTTP/1.1\r\nHost: x\r\nContent-Type: " + typ + "\r\n" + length + "\r\n\r\n"
			go io.WriteString(c, head+"100000\r\n"+strings.Repeat("{}\n", 200_000))
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(resp.Body)
			if resp.Status != want || !resp.Close || err != nil {
				t.Errorf("%s, %s, %s: %s, closes %v, %s, %v; want %s and the end", kind, typ, length, resp.Status, resp.Close, text, err, want)
			}
			c.(*net.TCPConn).CloseWrite()
			if _, err := io.Copy(io.Discard, c); err != nil {
				t.Errorf("%s, %s, %s: the connection ends with %v", kind, typ, length, err)
			}
		}
		lengths := []string{"Transfer-Encoding: chunked", "Content-Length: 100000000"}
		for _, length := range lengths {
			refused("image/png", length, "415 Unsupported Media Type")
		}
		held := s.sendMany()
		held.write("{}\n")
		held.expect("400 malformed-envelope")
		for _, length := range lengths {
			refused(ndjson, length, "429 Too Many Requests")
		}
		ended := make(chan error, 1)
		go func() { ended <- s.gb.Shutdown(ctx) }()
		until(t, "it shuts down", s.office.ShuttingDown)
		for _, length := range lengths {
			refused(ndjson, length, "503 Service Unavailable")
		}
		if err := <-ended; err != nil {
			t.Errorf("Shutdown = %v", err)
		}
	}
}

// TestRefusedUploadIsReadOn: what still comes of one that is refused is read for a while, or who first writes all of it would get a
// reset for an answer.
func TestRefusedUploadIsReadOn(t *testing.T) {
	for _, fast := range []bool{false, true} {
		overPipes(t, fast, &http.Server{}, func(t *testing.T, p *piped) {
			c := p.dial(t)
			p.write(c, "POST /_gb/send HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n\n\r\n")
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil || resp.StatusCode != http.StatusUnsupportedMediaType {
				t.Fatal(resp, err)
			}
			chunk := fmt.Sprintf("%x\r\n%s\r\n", 8<<10, make([]byte, 8<<10)) // net/http itself reads on for 32 of them
			read, began := time.Duration(0), time.Now()
			for err == nil && read < time.Minute {
				time.Sleep(time.Millisecond)
				if _, err = io.WriteString(c, chunk); err == nil {
					read = time.Since(began)
				}
			}
			if read < lingerFor-10*time.Millisecond || read > 2*lingerFor {
				t.Errorf("fast lane %v: it is read for %v, want %v", fast, read, lingerFor)
			}
		})
	}
}

// TestUploadEndsWithItsSender: one that sends on, and one that stays, keep a shutdown for no longer than they have to take their
// answers; one that ends does not.
func TestUploadEndsWithItsSender(t *testing.T) {
	for name, tt := range map[string]struct {
		then func(c net.Conn) // what it does once its answer ends
		most time.Duration
	}{
		"ends":     {func(c net.Conn) { c.Close() }, 0},
		"stays":    {func(net.Conn) {}, lingerFor},
		"sends on": {func(c net.Conn) { io.Copy(c, endless{}) }, lingerFor},
	} {
		t.Run(name, func(t *testing.T) {
			overPipes(t, false, &http.Server{}, func(t *testing.T, p *piped) {
				c := p.dial(t)
				p.write(c, "POST /_gb/send HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n\n\r\n")
				var sender sync.WaitGroup
				sender.Go(func() {
					resp, err := http.ReadResponse(bufio.NewReader(c), nil)
					if err == nil {
						_, err = io.Copy(io.Discard, resp.Body)
					}
					if err != nil {
						t.Errorf("the answer ends with %v", err)
					}
					tt.then(c)
				})
				synctest.Wait()
				began := time.Now()
				if err := p.gb.Shutdown(t.Context()); err != nil {
					t.Errorf("Shutdown = %v", err)
				}
				if took := time.Since(began); took != tt.most {
					t.Errorf("the shutdown took %v, want %v", took, tt.most)
				}
				sender.Wait()
			})
		})
	}
}

// endless is read for ever, a little at a time.
type endless struct{}

func (endless) Read(b []byte) (int, error) {
	time.Sleep(time.Millisecond)
	return copy(b, "{}\n"), nil
}
