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
	pacedRounds    = 12
)

// TestStalledReaders holds that thousands of readers that read nothing cost the others no time and the server
// no memory beyond their backlogs, and that they catch up when they read again.
func TestStalledReaders(t *testing.T) {
	serve := []string{"serve", "--slow-reader", "5m", "--send-buffer", "8192"}
	calm, p := start(t, serve...), start(t, serve...)
	undisturbed, paced := readMany(t, calm, pacedReaders), readMany(t, p, pacedReaders)
	stalled := make([]*stream, stalledReaders)
	for i := range stalled {
		stalled[i] = read(t, dialNarrow(t, p.addr, i), "")
		defer stalled[i].Close()
	}
	pace(t, p, paced)
	memory := p.rss(t)

	// 60 KiB each, twice what their sockets take
	const each = 30
	body := `{"n":%d,"pad":"` + strings.Repeat("x", 2000) + `"}`
	fill(t, p, stalled, each, body)
	held := each * len(stalled) * len(body)
	if grown := p.rss(t) - memory; grown > 3*held {
		t.Errorf("the server grew by %d MiB for %d MiB of messages", grown>>20, held>>20)
	}

	// The machine is not equally busy at all times: the two are measured in turn, and the best rounds compared.
	var alone, beside []time.Duration
	limit := func() time.Duration {
		return max(slices.Min(alone)*3/2, time.Millisecond) // less is the machine's noise
	}
	for range pacedRounds {
		alone, beside = append(alone, pace(t, calm, undisturbed)), append(beside, pace(t, p, paced))
		if len(alone) >= 3 && slices.Min(beside) <= limit() {
			break
		}
	}
	if slices.Min(beside) > limit() {
		t.Errorf("paced p99 beside stalled readers in each round: %v, without: %v; want the best at most 1.5 times", beside, alone)
	}
	t.Logf("paced p99: %v alone, %v beside %d stalled readers; %d MiB grew to %d MiB", alone, beside, stalledReaders, memory>>20, p.rss(t)>>20)

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

// readMany opens mailboxes and reads them.
func readMany(t *testing.T, p *program, n int) []*stream {
	t.Helper()
	streams := make([]*stream, n)
	for i := range streams {
		streams[i] = read(t, dial(t, p.addr, 0), "")
		t.Cleanup(func() { streams[i].Close() })
	}
	return streams
}

// pace sends to the readers in turn, one message a millisecond, and returns the 99th percentile of the
// times to arrival.
func pace(t *testing.T, p *program, readers []*stream) time.Duration {
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
