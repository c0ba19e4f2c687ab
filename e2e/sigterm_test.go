//go:build linux

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/internal/standstill"
)

// TestSIGTERMUnderLoad holds that a message which was accepted is delivered, whenever the program is told to
// stop, and that everybody is told.
func TestSIGTERMUnderLoad(t *testing.T) {
	for _, lane := range []string{"--no-fast-lane", "--fast-lane"} {
		t.Run(lane, func(t *testing.T) { stopUnderLoad(t, lane) })
	}
}

func stopUnderLoad(t *testing.T, flags ...string) {
	const readers, senders = 40, 16
	p := start(t, append([]string{"serve", "--shutdown-grace", "10s"}, flags...)...)
	streams := make([]*stream, readers)
	for i := range streams {
		streams[i] = read(t, dial(t, p.addr, 0), "")
		defer streams[i].Close()
	}

	// each reader notes what arrives until its stream ends
	var reading sync.WaitGroup
	arrived := make([]map[string]bool, readers)
	byes := make([]string, readers)
	for i, s := range streams {
		arrived[i] = map[string]bool{}
		reading.Go(func() {
			for {
				e, err := s.event()
				switch {
				case err != nil:
					return
				case e.name == "bye":
					byes[i] = e.data
				case byes[i] != "":
					t.Errorf("reader %d: %+v after bye", i, e)
				default:
					arrived[i][e.data] = true
				}
			}
		})
	}

	// each sender notes what was accepted, until it is refused
	type sent struct {
		to   int
		body string
	}
	var sending sync.WaitGroup
	accepted := make([][]sent, senders)
	var count atomic.Int64
	enough := make(chan struct{})
	for w := range senders {
		sending.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for n := 0; ; n++ {
				m := sent{(w + n) % readers, fmt.Sprintf(`"%d-%d"`, w, n)}
				resp, err := client.Post(p.url+"/_gb/send/"+streams[m.to].address, "application/json", strings.NewReader(m.body))
				if err != nil {
					if !refusedConnection(err) {
						t.Errorf("sender %d: neither an answer nor a refused connection: %v", w, err)
					}
					return
				}
				resp.Body.Close()
				if resp.StatusCode != 202 {
					if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
						t.Errorf("sender %d: %s, Retry-After %q", w, resp.Status, resp.Header.Get("Retry-After"))
					}
					return // it would come back after Retry-After
				}
				accepted[w] = append(accepted[w], m)
				if count.Add(1) == 5000 {
					close(enough)
				}
			}
		})
	}
	<-enough
	began := time.Now()
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	sending.Wait()
	reading.Wait()
	if err := p.Wait(); err != nil {
		t.Errorf("the program ended with %v:\n%s", err, p.log)
	}
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("it took %v to end", took)
	}
	if _, err := http.Get(p.url); err == nil || !refusedConnection(err) {
		t.Errorf("after the end: %v, want a refused connection", err)
	}
	total := 0
	for w := range accepted {
		for _, m := range accepted[w] {
			total++
			if !arrived[m.to][m.body] {
				t.Errorf("%s was accepted and did not arrive", m.body)
			}
		}
	}
	for i, bye := range byes {
		if !strings.Contains(bye, `"reason":"shutdown","retry":`) {
			t.Errorf("reader %d: bye %q", i, bye)
		}
	}
	t.Logf("%d messages were accepted, and arrived", total)
}

func refusedConnection(err error) bool {
	return strings.Contains(err.Error(), syscall.ECONNREFUSED.Error())
}

// TestSIGTERMDoesNotWaitForSpareConnections holds that connections on which no request ever began do not either.
func TestSIGTERMDoesNotWaitForSpareConnections(t *testing.T) {
	p := start(t, "serve")
	for range 3 {
		defer dial(t, p.addr, 0).Close()
	}
	if resp, err := http.Get(p.url + "/healthz"); err != nil { // they were accepted before
		t.Fatal(err)
	} else {
		resp.Body.Close()
	}
	running := standstill.Start(t)
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); err != nil {
		t.Errorf("the program ended with %v:\n%s", err, p.log)
	}
	if took := running.Elapsed(); took > 4*time.Second {
		t.Errorf("it took %v to end", took)
	}
}

// TestSIGTERMEndsUploads holds that a sender with a request open for ever does not hold up the end.
func TestSIGTERMEndsUploads(t *testing.T) {
	p := start(t, "serve")
	c := dial(t, p.addr, 0)
	defer c.Close()
	fmt.Fprintf(c, "POST /_gb/send HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n?\n\r\n")
	if _, err := c.Read(make([]byte, 1)); err != nil { // the answer to the line: the upload is under way
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- p.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("the program ended with %v:\n%s", err, p.log)
		}
	case <-ctx.Done():
		t.Error("the program did not end")
	}
}
