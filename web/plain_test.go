package web

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// looked is a listener that counts the looks of net/http for clients that go: reads of one byte.
type looked struct {
	net.Listener
	looks *atomic.Int64
}

type lookedConn struct {
	net.Conn
	looks *atomic.Int64
}

func (l looked) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return lookedConn{c, l.looks}, err
}

func (c lookedConn) Read(b []byte) (int, error) {
	if len(b) == 1 {
		c.looks.Add(1)
	}
	return c.Conn.Read(b)
}

// requests writes requests to a connection and reads their answers.
type requests struct {
	t    *testing.T
	conn net.Conn
	from *bufio.Reader
}

func (r requests) begin(path, typ, body string) {
	fmt.Fprintf(r.conn, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", path, typ, len(body), body)
}

func (r requests) expect(status int, path, typ, body string) {
	r.t.Helper()
	r.begin(path, typ, body)
	r.expectAnswer(status, path)
}

func (r requests) expectAnswer(status int, path string) {
	r.t.Helper()
	resp, err := http.ReadResponse(r.from, nil)
	if err != nil || resp.StatusCode != status {
		r.t.Fatalf("%s: %v, %v, want %d", path, resp, err, status)
	}
	io.Copy(io.Discard, resp.Body)
}

// readsAhead reads the body of a request that asks for it before h does, and waits until net/http looks for its client.
func readsAhead(t *testing.T, looks *atomic.Int64, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery == "ahead" {
			before := looks.Load()
			b, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(b))
			until(t, "net/http looks for the client", func() bool { return looks.Load() > before })
		}
		h.ServeHTTP(w, r)
	})
}

// TestSendsAreNotWatched: on connections of NewListener net/http looks for clients of calls that go, and not for those of
// sends.
func TestSendsAreNotWatched(t *testing.T) {
	s := serve(t, setup{web: Options{HeldPerClient: 1}})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var looks atomic.Int64
	srv := &http.Server{Handler: readsAhead(t, &looks, s.gb), ConnContext: ConnContext}
	go srv.Serve(NewListener(looked{l, &looks}))
	t.Cleanup(func() { srv.Close() })
	box := s.open()
	send, call := "/_gb/send/"+box.Address, "/_gb/call/"+box.Address+"?timeout=60s"
	const json = "application/json"
	calls := func() int {
		s.gb.held.mu.Lock()
		defer s.gb.held.mu.Unlock()
		return len(s.gb.held.of)
	}
	for name, before := range map[string]func(requests){
		"at once":         func(requests) {},
		"after a send":    func(r requests) { r.expect(http.StatusAccepted, send, json, "1") },
		"after a refusal": func(r requests) { r.expect(http.StatusUnsupportedMediaType, send, "image/png", "1") },
		"after nothing":   func(r requests) { r.expect(http.StatusBadRequest, send, json, "") },
		"after a long one": func(r requests) {
			r.expect(http.StatusRequestEntityTooLarge, send, json, `"`+strings.Repeat("x", 70<<10)+`"`)
		},
		"after one that was read ahead": func(r requests) { r.expect(http.StatusAccepted, send+"?ahead", json, "1") },
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			r := requests{t, conn, bufio.NewReader(conn)}
			before(r)
			r.begin(call, json, `1`)
			until(t, "the call waits", func() bool { return calls() == 1 })
			conn.Close()
			until(t, "it is noticed that its client is gone", func() bool { return calls() == 0 })
		})
	}
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r := requests{t, conn, bufio.NewReader(conn)}
	looks.Store(0)
	for range 100 {
		r.expect(http.StatusAccepted, send, json, "1")
	}
	if n := looks.Load(); n != 0 {
		t.Errorf("net/http looked %d times whether the client of a send goes", n)
	}
}

// copied is a listener that counts the bytes which net/http has its connections copy themselves.
type copied struct {
	net.Listener
	bytes *atomic.Int64
}

type copiedConn struct {
	*net.TCPConn
	bytes *atomic.Int64
}

func (l copied) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return copiedConn{c.(*net.TCPConn), l.bytes}, nil
}

func (c copiedConn) ReadFrom(r io.Reader) (int64, error) {
	n, err := c.TCPConn.ReadFrom(r)
	c.bytes.Add(n)
	return n, err
}

// TestPlainCopies: what other handlers of a server copy from a file arrives whole, and the connection does that itself, by
// sendfile, if it can.
func TestPlainCopies(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	want := make([]byte, 5<<20)
	rand.NewChaCha8([32]byte{1}).Read(want)
	if err := os.WriteFile(file, want, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"tcp", "unix", "counted"} {
		t.Run(kind, func(t *testing.T) {
			network, address := "tcp", "127.0.0.1:0"
			if kind == "unix" {
				network, address = "unix", filepath.Join(t.TempDir(), "s")
			}
			l, err := net.Listen(network, address)
			if err != nil {
				t.Fatal(err)
			}
			var by atomic.Int64
			if kind == "counted" {
				l = copied{l, &by}
			}
			srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, file) })}
			go srv.Serve(NewListener(l))
			defer srv.Close()
			c, err := net.Dial(network, l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			for range 2 {
				io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n")
				resp, err := http.ReadResponse(bufio.NewReader(c), nil)
				if err != nil {
					t.Fatal(err)
				}
				if got, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%d bytes arrive of %d, or others: %v", len(got), len(want), err)
				}
			}
			if n := by.Load(); kind == "counted" && n < int64(len(want)) {
				t.Errorf("the connection copies %d bytes of two times %d", n, len(want))
			}
		})
	}
}

// What net/http has of a connection can be half closed, so that a client that still sends gets its answer.
func TestPlainClosesOneWay(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	conn, err := NewListener(l).Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(client); err != nil || len(b) != 0 {
		t.Errorf("the client reads %q, %v, want the end", b, err)
	}
	if _, err := client.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	if n, err := conn.Read(make([]byte, 2)); n != 1 || err != nil {
		t.Errorf("the server reads %d, %v", n, err)
	}
}
