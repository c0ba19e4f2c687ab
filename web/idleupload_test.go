package web

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestSendManyStalled: a body of known length that does not go on keeps its connection no longer than a slow reader would.
func TestSendManyStalled(t *testing.T) {
	s := serve(t, setup{web: Options{SlowReader: 200 * time.Millisecond}})
	c := s.dial()
	fmt.Fprintf(c, "POST /_gb/send HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: 1000\r\n\r\n{}\n")
	if _, err := io.Copy(io.Discard, c); err != nil && strings.Contains(err.Error(), "timeout") {
		t.Errorf("the server still waits: %v", err)
	}
}

// TestSendManyDrips: a short body has as long as that in all, though it goes on; a long one, for which the quota of held requests
// counts, as long as it goes on.
func TestSendManyDrips(t *testing.T) {
	for length, ends := range map[int]bool{1000: true, 1 << 20: false} {
		overPipes(t, false, &http.Server{}, func(t *testing.T, p *piped) {
			c := p.dial(t)
			slow := p.gb.slow
			fmt.Fprintf(c, "POST /_gb/send HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: %d\r\n\r\n", length)
			var err error
			for began := time.Now(); err == nil && time.Since(began) < 3*slow; time.Sleep(slow / 2) {
				_, err = io.WriteString(c, "\n")
			}
			if (err != nil) != ends {
				t.Errorf("%d bytes: after %v: %v", length, 3*slow, err)
			}
		})
	}
}

// TestSendManyIsRefusedAtOnce: who holds its request open need not end it to learn that it is refused.
func TestSendManyIsRefusedAtOnce(t *testing.T) {
	s := serve(t, setup{})
	c := s.dial()
	fmt.Fprintf(c, "POST /_gb/send HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n")
	if head := readHead(t, c); !strings.HasPrefix(head, "HTTP/1.1 415 ") {
		t.Errorf("an upload of a picture: %q", head)
	}
}

// TestSendManyKeepsLittle: an upload that is idle keeps no more for having sent many lines at once.
func TestSendManyKeepsLittle(t *testing.T) {
	const uploads, lines = 8, 64 << 10
	s := serve(t, setup{})
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	for range uploads {
		c := s.dial()
		fmt.Fprintf(c, "POST /_gb/send HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n")
		chunk := strings.Repeat("x", 64<<10) + "\n" + strings.Repeat("x\n", lines)
		go fmt.Fprintf(c, "%x\r\n%s\r\n", len(chunk), chunk)
		answers := bufio.NewScanner(c)
		for n := 0; n <= lines && answers.Scan(); {
			if strings.HasPrefix(answers.Text(), "{") {
				n++
			}
		}
		if err := answers.Err(); err != nil {
			t.Fatal(err)
		}
	}
	if kept := (heap() - before) / uploads; kept > 1<<20 {
		t.Errorf("an idle upload keeps %d KiB", kept>>10)
	}
}
