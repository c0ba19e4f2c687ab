package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/server"
	"github.com/genbrowser/genbrowser/web"
)

// In steady state, when a mailbox is full of what its reader has, a message on its way from the sender to the wire
// allocates nothing: neither one of many lines, nor one in the fast lane. (The race detector allocates; this package is
// tested without it.)
func TestMessagesAllocateNothing(t *testing.T) {
	ring, err := address.NewRing([]byte(address.NewSecret()))
	if err != nil {
		t.Fatal(err)
	}
	office, err := server.New(server.Options{Keys: ring, Limits: mailbox.Limits{Backlog: 200}})
	if err != nil {
		t.Fatal(err)
	}
	gb, err := web.New(web.Options{Server: office})
	if err != nil {
		t.Fatal(err)
	}
	site := httptest.NewUnstartedServer(gb)
	site.Listener = gb.FastLane(site.Listener, site.Config)
	site.Start()
	defer site.Close()
	defer gb.Shutdown(t.Context())
	box, err := office.Open(nil)
	if err != nil {
		t.Fatal(err)
	}

	dial := func() net.Conn {
		c, err := net.Dial("tcp", site.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	reader := dial()
	fmt.Fprintf(reader, "GET /_gb/mailbox HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", box.Key.Reveal())
	if _, err := bufio.NewReader(reader).ReadString('}'); err != nil { // the init event
		t.Fatal(err)
	}
	var read atomic.Int64
	go func() {
		b := make([]byte, 64<<10)
		for n, err := reader.Read(b); err == nil; n, err = reader.Read(b) {
			read.Add(int64(bytes.Count(b[:n], []byte("data:"))))
		}
	}()

	const messages = 150 // fit into the mailbox and the socket
	body := `{"type":"ping","p":"` + strings.Repeat("x", 180) + `"}`
	t.Run("lines", func(t *testing.T) {
		lines := []byte(strings.Repeat(fmt.Sprintf(`{"to":"%s","body":%s}`+"\n", box.Address, body), messages))
		w := httptest.NewRecorder()
		w.Body.Grow(1 << 20)
		send := func() {
			r := httptest.NewRequest("POST", "/_gb/send", bytes.NewReader(lines))
			r.Header.Set("Content-Type", "application/x-ndjson")
			w.Body.Reset()
			want := read.Load() + messages
			gb.ServeHTTP(w, r)
			for read.Load() < want {
				runtime.Gosched()
			}
		}
		send()
		if n := strings.Count(w.Body.String(), `{"status":202}`); w.Code != http.StatusOK || n != messages {
			t.Fatalf("%d, %d lines accepted, and %.200s", w.Code, n, strings.ReplaceAll(w.Body.String(), `{"status":202}`, ""))
		}
		if n := testing.AllocsPerRun(20, send); n > messages/3 { // for a request as a whole
			t.Errorf("%v allocations for %d lines", n, messages)
		}
	})
	t.Run("fast lane", func(t *testing.T) {
		c := dial()
		request := fmt.Appendf(nil, "POST /_gb/send/%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", box.Address, len(body), body)
		answer := make([]byte, 1024)
		send := func() {
			for range messages {
				if _, err := c.Write(request); err != nil {
					t.Fatal(err)
				}
				if n, err := c.Read(answer); err != nil || !bytes.HasPrefix(answer[:n], []byte("HTTP/1.1 202 ")) {
					t.Fatalf("%s %v", answer[:n], err)
				}
			}
		}
		send()
		if n := testing.AllocsPerRun(5, send); n > messages/10 {
			t.Errorf("%v allocations for %d sends", n, messages)
		}
	})
}
