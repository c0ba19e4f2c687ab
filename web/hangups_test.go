package web

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// Clients that go are noticed at once, long before a heartbeat would fail, however they go; those that come meanwhile
// and get their descriptors are not taken for them.
func TestHangups(t *testing.T) {
	const staying, workers, rounds = 50, 4, 100
	s := serve(t, setup{web: Options{Heartbeat: time.Hour}})
	stay := make([]*events, staying)
	addresses := make([]string, staying)
	var opening sync.WaitGroup
	for w := range workers {
		opening.Go(func() {
			for range rounds {
				c := s.dial()
				fmt.Fprint(c, "GET /_gb/mailbox HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n")
				if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != 200 {
					t.Errorf("a stream: %v %v", resp, err)
				}
				switch tcp := c.(*net.TCPConn); w {
				case 0:
					tcp.SetLinger(0) // a reset
				case 1:
					fmt.Fprint(c, "more than a reader has to say") // left unread
				case 2:
					tcp.CloseWrite()
				}
				c.Close()
			}
		})
	}
	for i := range stay {
		stay[i] = s.stream("/_gb/mailbox?new")
		addresses[i] = stay[i].init().Address
	}
	opening.Wait()
	until(t, "only those who stay are left", func() bool { return s.gb.streams.count() == staying })
	for i, a := range addresses {
		s.mustSend(a, `"still here"`)
		stay[i].expect(`"still here"`)
	}
}
