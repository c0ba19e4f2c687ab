package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/internal/standstill"
	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/server"
)

func onEveryConnection(t *testing.T, f func(t *testing.T, s *site)) {
	for _, kind := range connections {
		t.Run(kind, func(t *testing.T) { f(t, serve(t, setup{kind: kind})) })
	}
}

func TestStream(t *testing.T) {
	onEveryConnection(t, func(t *testing.T, s *site) {
		e := s.stream("/_gb/mailbox?new")
		for name, want := range map[string]string{
			"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no",
		} {
			if got := e.header.Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		o := e.init()
		if o.Key == "" || o.Resumed || o.Gap != 0 || o.event.id != o.Cursor || o.event.retry == "" {
			t.Errorf("init = %+v", o)
		}
		s.mustSend(o.Address, `{"a":1}`, " [1,\r\n2] ", `"data: x"`)
		e.expect(`{"a":1}`, " [1,  2] ")
		if ev := e.expect(`"data: x"`); ev.id != cursorOf(o.opened, 3) {
			t.Errorf("id %q, want %q", ev.id, cursorOf(o.opened, 3))
		}
		e.close()
		until(t, "the closed connection is noticed", func() bool { return s.gb.streams.count() == 0 })

		again := s.stream("/_gb/mailbox", "Authorization", "Bearer "+o.Key, "Last-Event-ID", cursorOf(o.opened, 1))
		if b := again.init(); !b.Resumed || b.Key != "" || b.Gap != 0 || b.Cursor != cursorOf(o.opened, 1) || b.Address != o.Address {
			t.Errorf("init of a resume = %+v", b)
		}
		again.expect(" [1,  2] ", `"data: x"`)
		if a := s.do("DELETE", "/_gb/mailbox", "", "Authorization", "Bearer "+o.Key); a.status != 204 {
			t.Errorf("DELETE: %d", a.status)
		}
		if ev := again.expect(`bye {"reason":"closed"}`); ev.retry != "" || ev.id != "" {
			t.Errorf("bye = %+v", ev)
		}
		again.expectEnd()
	})
}

// A bare EventSource or curl knows nothing but the last event's id.
func TestSelfContainedIDs(t *testing.T) {
	onEveryConnection(t, func(t *testing.T, s *site) {
		e := s.stream("/_gb/mailbox")
		o := e.init()
		if want := o.Key + "." + o.Cursor; o.event.id != want {
			t.Errorf("id of init %q, want %q", o.event.id, want)
		}
		e.close() // before any message came
		s.mustSend(o.Address, "1", "2", "3")
		e = s.stream("/_gb/mailbox", "Last-Event-ID", o.event.id)
		if b := e.init(); !b.Resumed || b.Key != "" {
			t.Errorf("init = %+v", b)
		}
		e.expect("1")
		id := e.expect("2").id
		e.close()
		e = s.stream("/_gb/mailbox", "Last-Event-ID", id)
		e.init()
		if ev := e.expect("3"); ev.id != o.Key+"."+cursorOf(o.opened, 3) {
			t.Errorf("id %q", ev.id)
		}
	})
}

func TestReplay(t *testing.T) {
	s := serve(t, setup{})
	o := s.open()
	var want []string
	for i := range 10 {
		want = append(want, fmt.Sprint(i))
	}
	s.mustSend(o.Address, want...)
	auth := []string{"Authorization", "Bearer " + o.Key}
	e := s.stream("/_gb/mailbox?ack=manual", auth...)
	e.init()
	e.expect(want...)
	for _, from := range []int{0, 4, 9, 10} {
		e := s.stream("/_gb/mailbox?ack=manual&cursor="+cursorOf(o, uint64(from)), auth...)
		e.init()
		e.expect(want[from:]...)
		s.mustSend(o.Address, `"end"`)
		e.expect(`"end"`) // and nothing more
		want = append(want, `"end"`)
		// Last-Event-ID wins over ?cursor=
		e = s.stream("/_gb/mailbox?ack=manual&cursor="+cursorOf(o, 0), append(auth, "Last-Event-ID", cursorOf(o, uint64(from)))...)
		e.init()
		e.expect(want[from:]...)
	}
}

func TestAckSemantics(t *testing.T) {
	for _, manual := range []bool{false, true} {
		t.Run(fmt.Sprint("manual ", manual), func(t *testing.T) {
			s := serve(t, setup{server: server.Options{Limits: mailbox.Limits{Backlog: 3}}})
			path := "/_gb/mailbox?new"
			if manual {
				path += "&ack=manual"
			}
			e := s.stream(path)
			o := e.init()
			s.mustSend(o.Address, "1", "2", "3")
			e.expect("1", "2", "3")
			if a := s.send(o.Address, "4"); manual {
				expectProblem(t, "a held mailbox", a, 429, "full")
				if a.header.Get("Retry-After") == "" {
					t.Error("429 without Retry-After")
				}
				if a := s.ack(o.Key, cursorOf(o.opened, 1)); a.status != 204 {
					t.Errorf("ack: %d %s", a.status, a.body)
				}
				s.ack(o.Key, cursorOf(o.opened, 0)) // an older one changes nothing
				s.mustSend(o.Address, "4")
				e.expect("4")
			} else {
				if a.status != 202 {
					t.Errorf("send after delivery: %d %s", a.status, a.body)
				}
				e.expect("4")
			}
			e.close()
			// manual keeps 2, 3 and 4, as a resume finds; auto gave up 1, and says so
			r := s.stream(path[:len("/_gb/mailbox?")]+strings.TrimPrefix(path[len("/_gb/mailbox?new"):], "&"),
				"Authorization", "Bearer "+o.Key, "Last-Event-ID", cursorOf(o.opened, 0))
			if b := r.init(); b.Gap != 1 {
				t.Errorf("gap %d, want 1", b.Gap)
			}
			r.expect("2", "3", "4")
		})
	}
}

func TestDropOldestTellsOfTheGap(t *testing.T) {
	s := serve(t, setup{server: server.Options{Limits: mailbox.Limits{Backlog: 2, Overflow: mailbox.DropOldest}}})
	o := s.open()
	s.mustSend(o.Address, "1", "2", "3", "4", "5")
	e := s.stream("/_gb/mailbox", "Authorization", "Bearer "+o.Key)
	if b := e.init(); b.Gap != 3 || b.Resumed {
		t.Errorf("init = %+v, want a gap of 3", b)
	}
	if ev := e.expect("4", "5"); ev.id != cursorOf(o, 5) {
		t.Errorf("id %q", ev.id)
	}
	e.close()
	p := s.do("GET", "/_gb/mailbox?wait=0s&cursor="+cursorOf(o, 1), "", "Accept", "application/json", "Authorization", "Bearer "+o.Key)
	expectPoll(t, p, polled(o, 1, 2, "4", "5"))
}

func TestTakeOver(t *testing.T) {
	onEveryConnection(t, func(t *testing.T, s *site) {
		first := s.stream("/_gb/mailbox?new")
		o := first.init()
		s.mustSend(o.Address, "1")
		first.expect("1")
		second := s.stream("/_gb/mailbox?ack=manual", "Authorization", "Bearer "+o.Key)
		first.expect(`bye {"reason":"taken-over"}`)
		first.expectEnd()
		second.init()
		second.expect("1")
		s.mustSend(o.Address, "2")
		second.expect("2")
	})
}

func TestHeartbeat(t *testing.T) {
	for _, kind := range connections {
		t.Run(kind, func(t *testing.T) {
			s := serve(t, setup{kind: kind, web: Options{Heartbeat: 40 * time.Millisecond}})
			e := s.stream("/_gb/mailbox?new")
			o := e.init()
			if o.Heartbeat != 40 {
				t.Errorf("heartbeat %d, want 40", o.Heartbeat)
			}
			for range 3 {
				if ev, err := e.read(); err != nil || ev.name != ":" {
					t.Fatalf("got %v, %v, want a heartbeat", ev, err)
				}
			}
			s.mustSend(o.Address, "1") // messages still come
			e.expect("1")
		})
	}
}

// Clients that are cut off together must not come back together.
func TestRetryIsSpread(t *testing.T) {
	s := serve(t, setup{})
	inits, byes := map[string]bool{}, map[string]bool{}
	var all []*events
	for range 20 {
		e := s.stream("/_gb/mailbox?new")
		inits[e.init().event.retry] = true
		all = append(all, e)
	}
	if err := s.gb.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		bye := e.next()
		if want := fmt.Sprintf(`bye {"reason":"shutdown","retry":%s}`, bye.retry); bye.String() != want {
			t.Errorf("got %v, want %s", bye, want)
		}
		byes[bye.retry] = true
		e.expectEnd()
	}
	if len(inits) < 10 || len(byes) < 10 {
		t.Errorf("%d and %d different retries of 20", len(inits), len(byes))
	}
}

func TestKeyWithAnEndEndsItsStream(t *testing.T) {
	s := serve(t, setup{web: Options{Heartbeat: time.Minute}})
	o := s.open()
	key := attenuated(t, o.Key, address.Expires(time.Now().Add(2*time.Second)))
	e := s.stream("/_gb/mailbox", "Authorization", "Bearer "+key)
	e.init()
	s.mustSend(o.Address, "1")
	e.expect("1", `bye {"reason":"expired"}`)
	e.expectEnd()
	_, a := s.tryStream("/_gb/mailbox", "Authorization", "Bearer "+key)
	expectProblem(t, "an expired key", a, 403, "capability-expired")
	s.mustSend(o.Address, "2") // the mailbox lives on
	e = s.stream("/_gb/mailbox", "Authorization", "Bearer "+o.Key)
	e.init()
	e.expect("1", "2")
}

func TestKeyWithAnEndEndsItsPoll(t *testing.T) {
	s := serve(t, setup{})
	o := s.open()
	key := attenuated(t, o.Key, address.Expires(time.Now().Add(2*time.Second)))
	begin := time.Now()
	a := s.do("GET", "/_gb/mailbox?wait=15s", "", "Accept", "application/json", "Authorization", "Bearer "+key)
	if a.status != 200 || time.Since(begin) > 8*time.Second {
		t.Errorf("%d after %v, want an answer when the key ends", a.status, time.Since(begin))
	}
}

// A connection that is lost is forgotten: the mailbox falls asleep, and then expires.
func TestLostConnection(t *testing.T) {
	for _, kind := range connections {
		t.Run(kind, func(t *testing.T) {
			s := serve(t, setup{kind: kind, server: server.Options{Limits: mailbox.Limits{Asleep: 100 * time.Millisecond}}})
			e := s.stream("/_gb/mailbox?new")
			o := e.init()
			<-time.After(300 * time.Millisecond) // it does not expire while somebody reads
			s.mustSend(o.Address, "1")
			e.close()
			until(t, "the stream is forgotten", func() bool { return s.gb.streams.count() == 0 })
			until(t, "the mailbox expires", func() bool { return s.office.Stats() == server.Stats{} })
			expectProblem(t, "an expired mailbox", s.send(o.Address, "1"), 410, "expired")
		})
	}
}

func TestServerTimeoutsDoNotCutStreams(t *testing.T) {
	short := func(srv *http.Server) {
		srv.ReadTimeout, srv.WriteTimeout = 700*time.Millisecond, 700*time.Millisecond
		srv.IdleTimeout = time.Minute // or the client sends on a connection that ends just then
	}
	for _, kind := range connections {
		t.Run(kind, func(t *testing.T) {
			s := serve(t, setup{kind: kind, http: short, web: Options{Heartbeat: 100 * time.Millisecond}})
			e := s.stream("/_gb/mailbox?new")
			o := e.init()
			polled := s.open()
			polling := make(chan answered)
			go func() {
				a, err := s.try("GET", "/_gb/mailbox?wait=1800ms", "", "Accept", "application/json", "Authorization", "Bearer "+polled.Key)
				if err != nil {
					t.Error(err)
				}
				polling <- a
			}()
			for range 22 { // 2.2 s
				if _, err := e.read(); err != nil {
					t.Fatalf("the stream ended: %v", err)
				}
			}
			if a := <-polling; a.status != 200 {
				t.Errorf("long-poll: %d %s", a.status, a.body)
			}
			s.mustSend(o.Address, "1")
			e.expect("1")
		})
	}
}

// A reader that takes nothing is dropped, and what it missed waits for it.
func TestSlowReaderIsDropped(t *testing.T) {
	for _, kind := range []string{"http/1.1", "tls", "h2", "unhijackable"} {
		t.Run(kind, func(t *testing.T) {
			s := serve(t, setup{
				kind:   kind,
				server: server.Options{Limits: mailbox.Limits{BacklogBytes: 32 << 20}},
				web:    Options{SlowReader: 200 * time.Millisecond},
			})
			e := s.stream("/_gb/mailbox?new&ack=manual")
			o := e.init()
			var want []string
			dropped := func() bool { return s.gb.streams.count() == 0 }
			running := standstill.Start(t)
			for i := 0; i < 400 && !dropped(); i++ {
				body := fmt.Sprintf(`"%d %s"`, i, strings.Repeat("x", 60_000))
				begin := running.Elapsed()
				s.mustSend(o.Address, body)
				if took := running.Elapsed() - begin; took > 2*time.Second {
					t.Errorf("a send took %v", took)
				}
				want = append(want, body)
			}
			until(t, "the reader is dropped", dropped)
			e.close()
			last, came := o.Cursor, 0
			for try := 0; came < len(want) && try < 50; try++ { // on a busy machine this one is slow, too
				r := s.stream("/_gb/mailbox?ack=manual", "Authorization", "Bearer "+o.Key, "Last-Event-ID", last)
				if b := r.init(); b.Gap != 0 {
					t.Errorf("gap %d", b.Gap)
				}
				for came < len(want) {
					ev, err := r.read()
					if err != nil {
						break
					}
					if ev.name == ":" {
						continue
					}
					if ev.data != want[came] {
						t.Fatalf("message %d: %.30s, want %.30s", came, ev.data, want[came])
					}
					last, came = ev.id, came+1
				}
				r.close()
			}
			if came != len(want) {
				t.Errorf("%d of %d messages came", came, len(want))
			}
		})
	}
}

// What a stream is closed with must not hold up senders, although TLS writes a farewell.
func TestClosingASlowReaderBlocksNobody(t *testing.T) {
	s := serve(t, setup{
		kind:   "tls",
		server: server.Options{Limits: mailbox.Limits{BacklogBytes: 32 << 20}},
		web:    Options{SlowReader: 200 * time.Millisecond},
	})
	e := s.stream("/_gb/mailbox?new&ack=manual")
	o := e.init()
	big := quoted(60_000)
	running := standstill.Start(t)
	for s.gb.streams.count() > 0 {
		sent := running.Elapsed()
		if a := s.send(o.Address, big); a.status != 202 && a.problem() != "full" {
			t.Fatalf("send: %d %s", a.status, a.body)
		}
		if took := running.Elapsed() - sent; took > 2*time.Second {
			t.Fatalf("a send took %v", took)
		}
	}
}

func TestGoodbye(t *testing.T) {
	for _, tt := range []struct {
		why    error
		reason string
	}{
		{server.ErrShuttingDown, "shutdown"}, {server.ErrTakenOver, "taken-over"}, {server.ErrClosed, "closed"},
		{server.ErrExpired, "expired"}, {address.ErrExpired, "expired"}, {fmt.Errorf("%w: x", server.ErrClosed), "closed"},
	} {
		got := string(goodbye(tt.why))
		if !strings.Contains(got, `"reason":"`+tt.reason+`"`) || strings.Contains(got, "retry") != errors.Is(tt.why, server.ErrShuttingDown) {
			t.Errorf("goodbye(%v) = %q", tt.why, got)
		}
	}
}

// TestGoneBeforeItReads holds that a request whose client is gone by the time that it is served ends no stream.
func TestGoneBeforeItReads(t *testing.T) {
	s := serve(t, setup{})
	e := s.stream("/_gb/mailbox?new")
	o := e.init()
	for _, accept := range []string{"text/event-stream", "application/json"} {
		over, cancel := context.WithCancel(t.Context())
		cancel()
		r := httptest.NewRequestWithContext(over, "GET", "/_gb/mailbox", nil)
		r.Header.Set("Authorization", "Bearer "+o.Key)
		r.Header.Set("Accept", accept)
		w := httptest.NewRecorder()
		s.gb.ServeHTTP(w, r)
		if w.Code != 503 {
			t.Errorf("%s: %d %s, want 503", accept, w.Code, w.Body)
		}
	}
	s.mustSend(o.Address, "1")
	e.expect("1")
}
