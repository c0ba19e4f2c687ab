package client_test

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/client"
	"github.com/genbrowser/genbrowser/web/problem"
)

// r3labs/sse's own retry begins with half a second, and goes on for a quarter of an hour at most.
func TestPausesWhileTheServerIsAway(t *testing.T) {
	const tries = 60
	serve := func(n int, c net.Conn) {
		switch {
		case n == 1:
			say(c, hi+message(1))
		case n < tries:
			say(c, refuse(502, "", ""))
		default:
			say(c, hi+message(2))
			hold(c)
		}
	}
	play(t, client.Options{}, "", serve, func(s *script) {
		s.read().want("1", "2")
		pauses := s.pauses()
		if pauses[0] != 0 {
			t.Errorf("after the break it waited %v, want to try at once", pauses[0])
		}
		for i, p := range pauses[1:] {
			if most := min(20*time.Second, time.Second<<min(i, 10)); p < 0 || p >= most {
				t.Errorf("pause %d is %v, want less than %v", i+1, p, most)
			}
		}
		late := pauses[10:]
		if longest := slices.Max(late); longest < 15*time.Second {
			t.Errorf("of %d pauses the longest is %v, want up to 20s", len(late), longest)
		}
		if shortest := slices.Min(late); shortest > 5*time.Second {
			t.Errorf("of %d pauses the shortest is %v, want full jitter", len(late), shortest)
		}
	})
}

func TestMaxPause(t *testing.T) {
	serve := func(n int, c net.Conn) {
		if n == 50 {
			say(c, hi+message(1))
			hold(c)
		}
	}
	play(t, client.Options{MaxPause: time.Second}, "", serve, func(s *script) {
		s.read().want("1")
		if longest := slices.Max(s.pauses()); longest >= time.Second || longest < time.Second/2 {
			t.Errorf("the longest pause is %v, want up to 1s", longest)
		}
	})
}

// What answers in the server's place ends no mailbox that was open, and accepts nothing.
func TestStrangers(t *testing.T) {
	serve := func(n int, c net.Conn) {
		switch n {
		case 1:
			say(c, hi+message(1))
		case 2:
			say(c, refuse(404, "Retry-After: 30\r\n", "<html>"))
		default:
			say(c, hi+message(2))
			hold(c)
		}
	}
	play(t, client.Options{}, "", serve, func(s *script) {
		s.read().want("1", "2")
		if p := s.pauses()[1]; p < 30*time.Second {
			t.Errorf("after the refusal it waited %v, want 30s at least", p)
		}
		s.mu.Lock()
		s.answer = func(int) string { return "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" }
		s.mu.Unlock()
		if err := s.client.Send(s.ctx, s.box.Address(), 1); err == nil {
			t.Error("a page of 200 was taken for an accepted message")
		}
		if err := s.box.Ack(s.ctx); err == nil {
			t.Error("a page of 200 was taken for an acknowledgement")
		}
	})

	never := func(_ int, c net.Conn) { say(c, refuse(404, "", "<html>")) }
	play(t, client.Options{}, "", never, func(s *script) {
		for _, err := range s.box.Messages(s.ctx) {
			var p *problem.Problem
			if !errors.As(err, &p) || p.Kind.Status != 404 || p.Kind.IsServers() {
				t.Errorf("a mailbox that never was: %v, want a 404 of somebody else", err)
			}
		}
	})
}

// A server behind a broken proxy must not be asked a thousand times a second.
func TestStreamThatBreaksAgainAndAgain(t *testing.T) {
	serve := func(n int, c net.Conn) {
		say(c, hi)
		if n == 20 {
			say(c, message(1))
			hold(c)
		}
	}
	play(t, client.Options{}, "", serve, func(s *script) {
		s.read().want("1")
		pauses := s.pauses()
		if pauses[0] != 0 || slices.Contains(pauses[1:], 0) {
			t.Errorf("pauses are %v, want only the first to be 0", pauses)
		}
	})
}

func TestStreamThatLastedIsTriedAtOnce(t *testing.T) {
	serve := func(n int, c net.Conn) {
		say(c, hi)
		<-time.After(20 * time.Second)
		if n == 5 {
			say(c, message(1))
			hold(c)
		}
	}
	play(t, client.Options{}, "", serve, func(s *script) {
		s.read().want("1")
		for _, p := range s.pauses() {
			if p != 20*time.Second {
				t.Errorf("pauses are %v, want none after the 20s that each stream lasted", s.pauses())
				break
			}
		}
	})
}

func TestAMessageBeginsTheCountAnew(t *testing.T) {
	serve := func(n int, c net.Conn) {
		if n%2 == 1 {
			say(c, hi+message(n))
		}
	}
	play(t, client.Options{}, "", serve, func(s *script) {
		inbox := s.read()
		for n := 1; n < 60; n += 2 {
			inbox.want(fmt.Sprint(n))
		}
		if longest := slices.Max(s.pauses()); longest >= time.Second {
			t.Errorf("after one failure it waited %v, want less than 1s", longest)
		}
	})
}

func TestLeastPause(t *testing.T) {
	shutdown := hi + "retry: 2143\nevent: bye\ndata: {\"reason\":\"shutdown\",\"retry\":2143}\n\n"
	in90s := time.Date(2000, 1, 1, 0, 1, 30, 0, time.UTC).Format("Mon, 02 Jan 2006 15:04:05 GMT") // a bubble's time begins in 2000
	for name, test := range map[string]struct {
		first    string
		least    time.Duration
		jittered bool
	}{
		"bye":                {shutdown, 2143 * time.Millisecond, false}, // the server spreads it
		"a problem's member": {refuse(503, "", `{"type":"urn:gen-browser:shutting-down","retryAfter":7}`), 7 * time.Second, true},
		"a proxy's header":   {refuse(503, "Retry-After: 70\r\n", "<html>"), 70 * time.Second, true},
		"a header's date":    {refuse(429, "Retry-After: "+in90s+"\r\n", ""), 90 * time.Second, true},
	} {
		t.Run(name, func(t *testing.T) {
			var pauses []time.Duration
			for range 5 {
				serve := func(n int, c net.Conn) {
					if n == 1 {
						say(c, test.first)
						return
					}
					say(c, hi+message(1))
					hold(c)
				}
				play(t, client.Options{}, "", serve, func(s *script) {
					s.read().want("1")
					pauses = append(pauses, s.pauses()[0])
				})
			}
			for _, p := range pauses {
				if p < test.least || p > test.least+time.Second || !test.jittered && p != test.least {
					t.Errorf("paused %v, want %v and at most 1s more", p, test.least)
				}
			}
			if slices.Sort(pauses); test.jittered && pauses[0] == pauses[4] {
				t.Error("all clients would come back at the same instant:", fmt.Sprint(pauses))
			}
		})
	}
}
