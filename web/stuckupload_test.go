package web

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestSendManyIsStuck: a sender that takes no answers is dropped, also when it does not go on with an upload without an end,
// and when all that it leaves is the end of the answer.
func TestSendManyIsStuck(t *testing.T) {
	for _, tt := range []struct {
		name, length, body string
		answers            int // that it takes
	}{
		{"no answer is taken", "Transfer-Encoding: chunked", "3\r\n{}\n\r\n", 0},
		{"not the second", "Transfer-Encoding: chunked", "6\r\n{}\n{}\n\r\n", 1},
		{"no answer to a known length", "Content-Length: 3", "{}\n", 0},
		{"nor what net/http can't keep", "Content-Length: 300", strings.Repeat("{}\n", 100), 0},
		{"not the end of another", "Transfer-Encoding: chunked", "3\r\n{}\n\r\n0\r\n\r\n", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var closed atomic.Bool
			srv := &http.Server{ConnState: func(_ net.Conn, state http.ConnState) {
				if state == http.StateClosed {
					closed.Store(true)
				}
			}}
			overPipes(t, false, srv, func(t *testing.T, p *piped) {
				c := p.dial(t) // what is not read of a pipe is not written
				go func() {
					fmt.Fprintf(c, "POST /_gb/send HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\n%s\r\n\r\n", tt.length)
					for chunk := range strings.SplitAfterSeq(tt.body, "\n\r\n") {
						fmt.Fprint(c, chunk)
					}
				}()
				answers := bufio.NewReaderSize(c, 16)
				for taken := 0; taken < tt.answers; {
					line, err := answers.ReadString('\n')
					if err != nil {
						t.Fatal(err)
					}
					if strings.HasPrefix(line, "{") {
						taken++
					}
				}
				time.Sleep(2 * p.gb.slow)
				if !closed.Load() {
					t.Errorf("after %v the server still waits", 2*p.gb.slow)
				}
			})
		})
	}
}
