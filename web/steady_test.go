package web

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/server"
)

// TestSteadyReader: who takes a little all the time gets an answer whole, though it takes longer than one that takes nothing
// has.
func TestSteadyReader(t *testing.T) {
	const perSecond = 512
	for name, accept := range map[string]string{"stream": "text/event-stream", "unhijackable stream": "text/event-stream", "long-poll": "application/json"} {
		t.Run(name, func(t *testing.T) {
			overPipes(t, false, &http.Server{}, func(t *testing.T, p *piped) {
				if name == "unhijackable stream" {
					p.srv.Handler = unhijackable(p.gb)
				}
				box, err := p.gb.office.Open(nil)
				if err != nil {
					t.Fatal(err)
				}
				body := []byte(quoted(2 * perSecond * int(p.gb.slow/time.Second)))
				if _, err := p.gb.office.Post(box.Address.String(), &server.Letter{Body: body}); err != nil {
					t.Fatal(err)
				}
				c := p.dial(t)
				p.write(c, "GET /_gb/mailbox HTTP/1.1\r\nHost: x\r\nAccept: "+accept+"\r\nAuthorization: Bearer "+box.Key.Reveal()+"\r\n\r\n")
				b := make([]byte, perSecond)
				for got := 0; got < len(body); {
					n, err := c.Read(b)
					if got += n; err != nil {
						t.Fatalf("after %d bytes: %v", got, err)
					}
					time.Sleep(time.Second)
				}
			})
		})
	}
}

// TestStreamEndIsNotTaken: of a reader that takes everything but the few bytes behind the last event, net/http's stream ends too.
func TestStreamEndIsNotTaken(t *testing.T) {
	var closed atomic.Bool
	srv := &http.Server{ConnState: func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			closed.Store(true)
		}
	}}
	overPipes(t, false, srv, func(t *testing.T, p *piped) {
		p.srv.Handler = unhijackable(p.gb)
		box, err := p.gb.office.Open(nil)
		if err != nil {
			t.Fatal(err)
		}
		c := p.dial(t)
		p.write(c, "GET /_gb/mailbox HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+box.Key.Reveal()+"\r\n\r\n")
		events := bufio.NewReaderSize(c, 16)
		for line := ""; line != `data: {"reason":"closed"}`+"\n"; {
			if line == "event: init\n" {
				var g address.Grant
				if err := errors.Join(p.gb.office.Verify(&g, box.Key.Reveal()), p.gb.office.Close(&g)); err != nil {
					t.Fatal(err)
				}
			}
			if line, err = events.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		io.CopyN(io.Discard, events, int64(len("\n\r\n")))
		time.Sleep(2 * p.gb.slow)
		if !closed.Load() {
			t.Errorf("after %v the server still waits", 2*p.gb.slow)
		}
	})
}
