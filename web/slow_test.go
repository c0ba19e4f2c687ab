package web

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/internal/standstill"
	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/server"
)

// rawStream opens a stream on a connection of its own, whose receive buffer is small.
func (s *site) rawStream(headers string) (net.Conn, *bufio.Reader) {
	s.t.Helper()
	c := s.dial()
	c.(*net.TCPConn).SetReadBuffer(4 << 10)
	fmt.Fprintf(c, "GET /_gb/mailbox?ack=manual HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n%s\r\n", headers)
	br := bufio.NewReaderSize(c, 512)
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != 200 {
		s.t.Fatalf("raw stream: %v %v", resp, err)
	}
	return c, br
}

// Readers that stop reading do not slow the others, cost little memory, and catch up with every message in order.
func TestStalledReaders(t *testing.T) {
	const stalled, rounds = 200, 60
	s := serve(t, setup{
		server: server.Options{Limits: mailbox.Limits{Backlog: 100}},
		web:    Options{SendBuffer: 4 << 10},
	})
	type reader struct {
		o  opened
		c  net.Conn
		br *bufio.Reader
	}
	readers := make([]reader, stalled)
	for i := range readers {
		r := &readers[i]
		r.o = s.open()
		r.c, r.br = s.rawStream("Authorization: Bearer " + r.o.Key + "\r\n")
		r.c.SetDeadline(time.Now().Add(2 * patience))
	}
	lively := s.stream("/_gb/mailbox?new")
	o := lively.init()

	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	pad := strings.Repeat("x", 2000)
	var longest time.Duration
	running := standstill.Start(t)
	for n := range rounds {
		for i := range readers {
			sent := running.Elapsed()
			posted, err := s.office.Post(readers[i].o.Address, &server.Letter{Body: fmt.Appendf(nil, `"%d %d %s"`, i, n, pad)})
			if err != nil {
				t.Fatal(err)
			}
			w, _ := posted.Wait()
			w.Wake()
			longest = max(longest, running.Elapsed()-sent)
		}
		s.mustSend(o.Address, fmt.Sprint(n))
		lively.expect(fmt.Sprint(n))
	}
	if longest > time.Second {
		t.Errorf("a send took %v", longest)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	// what waits is in the mailboxes; beyond it each reader costs an event that was begun, and a goroutine
	const waiting = stalled * rounds * 2100
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > waiting*3/2+stalled*(20<<10) {
		t.Errorf("the heap grew by %d KiB for %d KiB of messages", grown>>10, waiting>>10)
	}

	waits := 0
	for st := range s.gb.streams.all {
		st.mu.Lock()
		if st.draining {
			waits++
		}
		st.mu.Unlock()
	}
	if waits != stalled {
		t.Errorf("%d of %d readers are stalled", waits, stalled)
	}

	var reading sync.WaitGroup
	for i := range readers {
		reading.Go(func() {
			r := &readers[i]
			for n := -1; n < rounds; n++ {
				ev, err := readEvent(r.br)
				if err != nil {
					t.Errorf("reader %d, message %d: %v", i, n, err)
					return
				}
				if want := fmt.Sprintf(`"%d %d %s"`, i, n, pad); n >= 0 && ev.data != want {
					t.Errorf("reader %d, message %d: %.30s", i, n, ev.data)
					return
				}
			}
		})
	}
	reading.Wait()
}

// A client that knows nothing but the last whole event's id, cut off a hundred times at any byte under load, gets
// every message once and in order.
func TestKilledStreams(t *testing.T) {
	const kills, limit = 100, 4000
	s := serve(t, setup{server: server.Options{Limits: mailbox.Limits{Backlog: limit, BacklogBytes: 64 << 20}}})
	e := s.stream("/_gb/mailbox")
	last := e.init().event.id
	address := func() string {
		key, _, _ := strings.Cut(last, ".")
		a, err := parseKeyAddress(key)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}()
	e.close()

	stop := make(chan struct{})
	var sent int
	var sending sync.WaitGroup
	sending.Go(func() {
		rnd := rand.New(rand.NewPCG(3, 3))
		for ; sent < limit; sent++ {
			select {
			case <-stop:
				return
			default:
			}
			body := fmt.Sprintf(`"%d %s"`, sent, strings.Repeat("y", rnd.IntN(1000)))
			a, err := s.try("POST", "/_gb/send/"+address, body)
			if err != nil || a.status != 202 {
				t.Errorf("send: %d %s %v", a.status, a.body, err)
				return
			}
		}
	})
	rnd := rand.New(rand.NewPCG(4, 4))
	next, cuts := 0, 0
	// take reads whole events out of what arrived; an incomplete one at its end is discarded.
	take := func(got []byte) {
		for {
			event, rest, whole := bytes.Cut(got, []byte("\n\n"))
			if !whole {
				return
			}
			got = rest
			ev, err := readEvent(bufio.NewReader(bytes.NewReader(append(event, "\n\n"...))))
			if err != nil {
				t.Fatal(err)
			}
			last = ev.id
			if ev.name != "" {
				if ev.name == "init" && !strings.Contains(ev.data, `"gap":0`) || ev.name != "init" {
					t.Fatalf("got %v", ev)
				}
				continue
			}
			if want := fmt.Sprintf(`"%d `, next); !strings.HasPrefix(ev.data, want) {
				t.Fatalf("after %d cuts: got %.20s, want %s", cuts, ev.data, want)
			}
			next++
		}
	}
	for ; cuts < kills; cuts++ {
		c, br := s.rawStream("Last-Event-ID: " + last + "\r\n")
		got := make([]byte, 1+rnd.IntN(6000))
		c.SetReadDeadline(time.Now().Add(50 * time.Millisecond)) // it may have no more for now
		n, _ := io.ReadFull(br, got)
		c.Close()
		take(got[:n])
	}
	close(stop)
	sending.Wait()
	c, br := s.rawStream("Last-Event-ID: " + last + "\r\n")
	defer c.Close()
	for next < sent {
		ev, err := readEvent(br)
		if err != nil {
			t.Fatal(err)
		}
		if ev.name == "" {
			take([]byte("id: " + ev.id + "\ndata: " + ev.data + "\n\n"))
		}
	}
	if next != sent || next < 50 {
		t.Errorf("%d messages arrived of %d", next, sent)
	}
}
