//go:build linux

package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	stalledReaders = 5000
	pacedReaders   = 50
	pacedMessages  = 1000
)

// TestStalledReaders holds that thousands of readers that read nothing cost the others no time and the server
// no memory beyond their backlogs, and that they catch up when they read again.
func TestStalledReaders(t *testing.T) {
	p := start(t, "serve", "--slow-reader", "5m", "--send-buffer", "8192")
	paced := make([]*stream, pacedReaders)
	for i := range paced {
		paced[i] = read(t, dial(t, p.addr, 0), "")
		defer paced[i].Close()
	}
	stalled := make([]*stream, stalledReaders)
	for i := range stalled {
		stalled[i] = read(t, dialNarrow(t, p.addr, i), "")
		defer stalled[i].Close()
	}
	before, memory := pace(t, p, paced), p.rss(t)

	// 60 KiB each, twice what their sockets take
	const each = 30
	body := `{"n":%d,"pad":"` + strings.Repeat("x", 2000) + `"}`
	fill(t, p, stalled, each, body)
	held := each * len(stalled) * len(body)
	if grown := p.rss(t) - memory; grown > 3*held {
		t.Errorf("the server grew by %d MiB for %d MiB of messages", grown>>20, held>>20)
	}

	// below a millisecond, it is the machine's noise that would be compared
	limit := max(before*3/2, time.Millisecond)
	during := pace(t, p, paced)
	for try := 0; during > limit && try < 3; try++ { // the machine may be busier now than it was before
		during = min(during, pace(t, p, paced))
	}
	if during > limit {
		t.Errorf("paced p99 is %v beside stalled readers, %v without; want at most 1.5 times", during, before)
	}
	t.Logf("paced p99: %v before, %v beside %d stalled readers; %d MiB grew to %d MiB", before, during, stalledReaders, memory>>20, p.rss(t)>>20)

	var catchUp sync.WaitGroup
	for i, s := range stalled {
		catchUp.Go(func() {
			for n := range each {
				e, err := s.event()
				if err != nil || e.data != fmt.Sprintf(body, n) {
					t.Errorf("reader %d, message %d: %.40q, %v", i, n, e.data, err)
					return
				}
			}
		})
	}
	catchUp.Wait()
}

// dialNarrow opens a connection that takes little: a small buffer, and packets as on a network. With loopback's
// packets of 64 KiB, a window that small would open again only after seconds.
func dialNarrow(t *testing.T, addr string, host int) net.Conn {
	t.Helper()
	d := net.Dialer{
		LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, byte(1+host/10_000), 1)},
		Control: func(_, _ string, raw syscall.RawConn) error {
			return raw.Control(func(fd uintptr) {
				syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, 1400)
				syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 8<<10)
			})
		},
	}
	c, err := d.Dial("tcp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// pace returns the best of three rounds, for the machine may be busy with something else in one.
func pace(t *testing.T, p *program, readers []*stream) time.Duration {
	t.Helper()
	return min(paceOnce(t, p, readers), paceOnce(t, p, readers), paceOnce(t, p, readers))
}

// paceOnce sends to the readers in turn, one message a millisecond, and returns the 99th percentile of the
// times to arrival.
func paceOnce(t *testing.T, p *program, readers []*stream) time.Duration {
	t.Helper()
	c := dial(t, p.addr, 0)
	defer c.Close()
	answers := bufio.NewReader(c)
	var mu sync.Mutex
	var took []time.Duration
	var arrived sync.WaitGroup
	for _, s := range readers {
		arrived.Go(func() {
			for range pacedMessages / len(readers) {
				e, err := s.event()
				var sent int64
				if err != nil || json.Unmarshal([]byte(e.data), &sent) != nil {
					t.Errorf("paced reader: %+v, %v", e, err)
					return
				}
				d := time.Since(time.Unix(0, sent))
				mu.Lock()
				took = append(took, d)
				mu.Unlock()
			}
		})
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for i := range pacedMessages {
		<-tick.C
		body := fmt.Sprint(time.Now().UnixNano())
		fmt.Fprintf(c, "POST /_gb/send/%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", readers[i%len(readers)].address, len(body), body)
		for line := ""; line != "\r\n"; {
			var err error
			if line, err = answers.ReadString('\n'); err != nil || strings.HasPrefix(line, "HTTP/") && !strings.Contains(line, " 202 ") {
				t.Fatalf("paced send: %q, %v", line, err)
			}
		}
	}
	arrived.Wait()
	slices.Sort(took)
	return took[len(took)*99/100]
}

// fill sends each reader so many messages, all in one upload.
func fill(t *testing.T, p *program, readers []*stream, each int, body string) {
	t.Helper()
	c := dial(t, p.addr, 0)
	defer c.Close()
	fmt.Fprintf(c, "POST /_gb/send HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n")
	answers := make(chan int)
	go func() {
		n := 0
		for r := bufio.NewReader(c); n < each*len(readers); {
			line, err := r.ReadString('\n')
			if err != nil {
				t.Errorf("fill: %v", err)
				break
			}
			if strings.Contains(line, `"status":`) {
				if n++; !strings.Contains(line, `"status":202`) {
					t.Errorf("fill: %s", line)
				}
			}
		}
		answers <- n
	}()
	w := bufio.NewWriterSize(c, 1<<16)
	for n := range each {
		for _, s := range readers {
			line := fmt.Sprintf(`{"to":"%s","body":`+body+`}`, s.address, n) + "\n"
			fmt.Fprintf(w, "%x\r\n%s\r\n", len(line), line)
		}
	}
	fmt.Fprint(w, "0\r\n\r\n")
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	<-answers
}
