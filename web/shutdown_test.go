package web

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/server"
)

// Under load, every message that was accepted reaches its connected reader before the bye.
func TestShutdownUnderLoad(t *testing.T) {
	for _, kind := range []string{"http/1.1", "h2"} {
		t.Run(kind, func(t *testing.T) {
			s := serve(t, setup{kind: kind, server: server.Options{Limits: mailbox.Limits{Backlog: 10_000, BacklogBytes: 10 << 20}, Queue: 10_000}})
			const readers = 4
			var boxes []begun
			var got [readers][]string
			var retries sync.Map
			var reading, sending sync.WaitGroup
			for i := range readers {
				e := s.stream("/_gb/mailbox?new&ack=manual")
				boxes = append(boxes, e.init())
				reading.Go(func() {
					for {
						ev, err := e.read()
						if err != nil {
							t.Errorf("reader %d: ended without bye: %v", i, err)
							return
						}
						switch ev.name {
						case "":
							got[i] = append(got[i], ev.data)
						case "bye":
							retries.Store(ev.retry, true)
							if !strings.HasPrefix(ev.data, `{"reason":"shutdown","retry":`) {
								t.Errorf("bye %s", ev.data)
							}
							if ev, err := e.read(); err == nil {
								t.Errorf("after bye: %v", ev)
							}
							return
						}
					}
				})
			}
			process, err := s.office.Handle("forward", server.HandlerFunc(func(ctx context.Context, m server.Message) error {
				var to struct{ I, N int }
				fmt.Sscanf(string(m.Body), `{"i":%d,"n":%d}`, &to.I, &to.N)
				a := s.grantedAddress(boxes[to.I].Address)
				return s.office.Send(ctx, a, fmt.Sprintf("p%d", to.N))
			}))
			if err != nil {
				t.Fatal(err)
			}
			var accepted [readers]sync.Map
			var count atomic.Int64
			var refused atomic.Int64
			for w := range readers {
				sending.Go(func() { // single sends
					for n := 0; ; n++ {
						a, err := s.try("POST", "/_gb/send/"+boxes[w].Address, fmt.Sprintf(`"s%d"`, n))
						if err != nil || a.status != 202 {
							if err == nil {
								refused.Add(1)
								if a.problem() != "shutting-down" || a.header.Get("Retry-After") == "" {
									t.Errorf("refused with %d %v %s", a.status, a.header, a.body)
								}
							}
							return
						}
						accepted[w].Store(fmt.Sprintf(`"s%d"`, n), true)
						count.Add(1)
					}
				})
				sending.Go(func() { // to a process, which sends on
					for n := w; ; n += readers {
						a, err := s.try("POST", "/_gb/send/"+process.String(), fmt.Sprintf(`{"i":%d,"n":%d}`, w, n))
						if err != nil || a.status != 202 {
							return
						}
						accepted[w].Store(fmt.Sprintf(`"p%d"`, n), true)
						count.Add(1)
					}
				})
			}
			u := s.sendMany()
			sending.Go(func() { // and many
				for n := 0; ; n++ {
					if _, err := fmt.Fprintf(u.w, `{"to":"%s","body":"m%d"}`+"\n", boxes[0].Address, n); err != nil {
						return
					}
					line, err := u.br.ReadString('\n')
					if err != nil || summary(t, line) != "202" {
						return
					}
					accepted[0].Store(fmt.Sprintf(`"m%d"`, n), true)
					count.Add(1)
				}
			})
			until(t, "there is load", func() bool { return count.Load() > 300 })
			end, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			if err := s.gb.Shutdown(end); err != nil {
				t.Errorf("Shutdown = %v", err)
			}
			sending.Wait()
			reading.Wait()
			for i := range readers {
				seen := map[string]bool{}
				next := map[byte]int{}
				for _, body := range got[i] {
					if seen[body] {
						t.Errorf("reader %d: %s came twice", i, body)
					}
					seen[body] = true
					n, _ := strconv.Atoi(body[2 : len(body)-1])
					if n < next[body[1]] {
						t.Errorf("reader %d: %s is out of order", i, body)
					}
					next[body[1]] = n
				}
				accepted[i].Range(func(body, _ any) bool {
					if !seen[body.(string)] {
						t.Errorf("reader %d: %v was accepted and did not arrive", i, body)
					}
					return true
				})
			}
			if refused.Load() == 0 {
				t.Error("no sender was refused")
			}
			if err := s.gb.Shutdown(ctx); err != nil {
				t.Errorf("second Shutdown = %v", err)
			}
			for _, r := range []struct{ method, path string }{{"POST", "/_gb/send/" + boxes[0].Address}, {"POST", "/_gb/mailbox"}, {"GET", "/_gb/mailbox?new"}, {"GET", "/readyz"}} {
				a := s.do(r.method, r.path, "", "Origin", "https://page.example")
				if r.path == "/_gb/send/"+boxes[0].Address {
					a = s.send(boxes[0].Address, "1", "Origin", "https://page.example")
				}
				expectProblem(t, r.method+" "+r.path, a, 503, "shutting-down")
				if a.header.Get("Retry-After") == "" || a.header.Get("Access-Control-Allow-Origin") != "https://page.example" {
					t.Errorf("%s: %v", r.path, a.header)
				}
			}
			if a := s.do("GET", "/healthz", ""); a.status != 200 {
				t.Errorf("healthz: %d", a.status)
			}
		})
	}
}

func TestConnectionCloseWhileShuttingDown(t *testing.T) {
	s := serve(t, setup{})
	o := s.open()
	if err := s.gb.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	c := s.dial()
	fmt.Fprintf(c, "POST /_gb/send/%s HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1", o.Address)
	head := readHead(t, c)
	if !strings.Contains(head, "503 ") || !strings.Contains(head, "Connection: close\r\n") || !strings.Contains(head, "Retry-After: 2\r\n") {
		t.Errorf("head %s", head)
	}
}

// Readers that take nothing, and handlers that hang, are cut when the time is over.
func TestShutdownCutsWhatHangs(t *testing.T) {
	for _, kind := range connections {
		t.Run(kind, func(t *testing.T) {
			s := serve(t, setup{kind: kind, server: server.Options{Limits: mailbox.Limits{BacklogBytes: 64 << 20}}})
			e := s.stream("/_gb/mailbox?new&ack=manual")
			o := e.init()
			for range 300 {
				if a := s.send(o.Address, quoted(60_000)); a.status != 202 {
					break
				}
			}
			cut := make(chan struct{})
			p, err := s.office.Handle("p", server.HandlerFunc(func(ctx context.Context, _ server.Message) error {
				<-ctx.Done()
				close(cut)
				return ctx.Err()
			}))
			if err != nil {
				t.Fatal(err)
			}
			s.mustSend(p.String(), "1")
			end, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
			defer cancel()
			begin := time.Now()
			if err := s.gb.Shutdown(end); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Shutdown = %v, want the deadline", err)
			}
			if took := time.Since(begin); took > 5*time.Second {
				t.Errorf("Shutdown took %v", took)
			}
			<-cut
			if n := s.gb.streams.count(); n != 0 {
				t.Errorf("%d streams are left", n)
			}
		})
	}
}
