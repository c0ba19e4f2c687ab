package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/genbrowser/genbrowser/client"
	"github.com/genbrowser/genbrowser/web/problem"
)

// r3labs/sse delivers the first half of an event when the connection drops, and moves its id past it.
func TestCutAtEveryByte(t *testing.T) {
	events := "event: envelope\nid: 0000000e.1\ndata: {\"via\":[\"a\"],\"body\":\"one\"}\n\n" + ":\n\n" + "id: 0000000e.2\ndata: {\"n\": 2}\n\n"
	for cut := 0; cut <= len(events); cut++ {
		serve := func(n int, c net.Conn) {
			say(c, hi)
			if n == 1 {
				say(c, events[:cut])
				return
			}
			switch whole := strings.Count(events[:cut], "}\n\n"); whole {
			case 0:
				say(c, events)
			case 1:
				say(c, events[strings.Index(events, ":\n\n"):])
			}
			say(c, message(3))
			hold(c)
		}
		t.Run(fmt.Sprint(cut), func(t *testing.T) {
			play(t, client.Options{}, "", serve, func(s *script) {
				s.read().want(`"one"`, `{"n": 2}`, "3")
				last := [...]string{"0000000e.0", "0000000e.1", "0000000e.2"}[strings.Count(events[:cut], "}\n\n")]
				s.wantAfter("", last)
			})
		})
	}
}

func TestByteByByte(t *testing.T) {
	serve := func(_ int, c net.Conn) {
		for _, b := range []byte(hi + ":\n\n" + messages(1, 3)) {
			c.Write([]byte{b})
		}
		hold(c)
	}
	play(t, client.Options{}, "", serve, func(s *script) { s.read().want("1", "2", "3") })
}

// r3labs/sse takes the end of a response for the end of all.
func TestEndWithoutByeIsABreak(t *testing.T) {
	serve := func(n int, c net.Conn) {
		say(c, hi+message(n))
		if n == 3 {
			hold(c)
		}
	}
	play(t, client.Options{}, "", serve, func(s *script) {
		s.read().want("1", "2", "3")
		s.wantAfter("", "0000000e.1", "0000000e.2")
	})
}

// A refusal of which only the head came counts as a connection that fell silent.
func TestRefusalThatNeverEnds(t *testing.T) {
	serve := func(n int, c net.Conn) {
		if n == 1 {
			say(c, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 100\r\n\r\n<html>")
			hold(c)
			return
		}
		say(c, hi+message(1))
		hold(c)
	}
	play(t, client.Options{}, "", serve, func(s *script) {
		s.read().want("1")
		if p := s.pauses()[0]; p < 37*time.Second || p > 39*time.Second {
			t.Errorf("tried again after %v, want two and a half heartbeats of 15 s, and less than 1 s more", p)
		}
	})
}

// r3labs/sse tries again whatever the answer is.
func TestAnswersThatLast(t *testing.T) {
	kinds := []*problem.Kind{
		problem.Expired, problem.Closed, problem.Gone, problem.MissingKey, problem.InvalidCapability,
		problem.CapabilityExpired, problem.MissingRight, problem.NotFound, problem.NotAcceptable, problem.MalformedCursor,
		problem.UnknownCursor, // of a reader that has none
	}
	for _, kind := range kinds {
		t.Run(kind.Code, func(t *testing.T) {
			serve := func(_ int, c net.Conn) {
				say(c, refuse(kind.Status, "", `{"type":"`+kind.Type()+`","title":"x","status":1,"detail":"because"}`))
			}
			play(t, client.Options{}, "", serve, func(s *script) {
				var p *problem.Problem
				_, err, _ := s.read().next()
				if !errors.As(err, &p) || p.Kind != kind || p.Detail != "because" {
					t.Errorf("got %v", err)
				}
				if got := s.connections(); got != 1 {
					t.Errorf("asked %d times", got)
				}
			})
		})
	}
	for status, body := range map[int]string{204: "", 206: "", 401: "<html>", 418: "{"} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			serve := func(_ int, c net.Conn) { say(c, refuse(status, "", body)) }
			play(t, client.Options{}, "", serve, func(s *script) {
				var p *problem.Problem
				_, err, _ := s.read().next()
				if !errors.As(err, &p) || p.Kind.Status != status {
					t.Errorf("got %v", err)
				}
				if got := s.connections(); got != 1 {
					t.Errorf("asked %d times", got)
				}
			})
		})
	}
}

func TestAnswersThatDoNotLast(t *testing.T) {
	portal := "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<html>Welcome!\n\nid: 1\ndata: log in\n\n"
	for _, answer := range []string{
		refuse(408, "", ""), refuse(425, "", ""), refuse(429, "", ""), refuse(500, "", ""), refuse(502, "", "<html>"),
		refuse(503, "", `{"type":"urn:gen-browser:shutting-down"}`), portal, "", "HTTP/1.1 2",
	} {
		t.Run(fmt.Sprintf("%.12q", answer), func(t *testing.T) {
			serve := func(n int, c net.Conn) {
				if n <= 3 {
					say(c, answer)
					return
				}
				say(c, hi+message(1))
				hold(c)
			}
			play(t, client.Options{}, "", serve, func(s *script) { s.read().want("1") })
		})
	}
}

func TestContentTypeWithParameters(t *testing.T) {
	serve := func(n int, c net.Conn) {
		say(c, strings.Replace(hi, "text/event-stream", "text/event-stream; charset=utf-8", 1)+message(1))
		hold(c)
	}
	play(t, client.Options{}, "", serve, func(s *script) {
		s.read().want("1")
		if got := s.connections(); got != 1 {
			t.Errorf("connected %d times", got)
		}
	})
}

// r3labs/sse moves its id when it has read an event, handled or not.
func TestCursorMovesOnceHandled(t *testing.T) {
	serve := func(n int, c net.Conn) {
		say(c, hi+messages(1, 3))
		hold(c)
	}
	play(t, client.Options{}, "", serve, func(s *script) {
		inbox := s.read()
		for _, want := range []struct{ body, during string }{{"1", "0000000e.0"}, {"2", "0000000e.1"}, {"3", "0000000e.2"}} {
			inbox.want(want.body)
			if got := s.box.Cursor(); got != want.during {
				t.Errorf("while %s is handled, the cursor is %s, want %s", want.body, got, want.during)
			}
		}
	})
}

func TestMessageWhoseHandlingPanickedComesAgain(t *testing.T) {
	serve := func(n int, c net.Conn) {
		say(c, hi+messages(n, 3))
		hold(c)
	}
	play(t, client.Options{}, "", serve, func(s *script) {
		func() {
			defer func() { recover() }()
			for m := range s.box.Messages(s.ctx) {
				if string(m.Body) == "2" {
					panic("no")
				}
			}
		}()
		s.read().want("2", "3")
		s.wantAfter("", "0000000e.1")
	})
}

// r3labs/sse waits for ever on a connection that fell silent.
func TestMuteStream(t *testing.T) {
	for name, say1 := range map[string]string{"after init": hi, "before its head": "", "within an event": hi + "id: 1"} {
		t.Run(name, func(t *testing.T) {
			serve := func(n int, c net.Conn) {
				if n == 1 {
					say(c, say1)
					hold(c)
				}
				say(c, hi+message(1))
				hold(c)
			}
			play(t, client.Options{}, "", serve, func(s *script) {
				s.read().want("1")
				if got := s.pauses()[0]; got < 37500*time.Millisecond || got > 39*time.Second {
					t.Errorf("took %v for broken, want 2.5 heartbeats", got)
				}
			})
		})
	}
}

func TestHeartbeatsKeepAStream(t *testing.T) {
	serve := func(n int, c net.Conn) {
		say(c, hi)
		for range 100 {
			<-time.After(30 * time.Second)
			say(c, ":\n\n")
		}
		say(c, message(1))
		hold(c)
	}
	play(t, client.Options{}, "", serve, func(s *script) {
		s.read().want("1")
		if got := s.connections(); got != 1 {
			t.Errorf("connected %d times", got)
		}
	})
}

func TestSlowHandlingIsNoSilence(t *testing.T) {
	serve := func(n int, c net.Conn) {
		say(c, hi+message(1))
		for {
			<-time.After(15 * time.Second)
			if _, err := c.Write([]byte(":\n\n" + message(2))); err != nil {
				return
			}
		}
	}
	play(t, client.Options{}, "", serve, func(s *script) {
		inbox := s.read()
		inbox.want("1")
		<-time.After(time.Hour)
		inbox.want("2")
		if got := s.connections(); got != 1 {
			t.Errorf("connected %d times", got)
		}
	})
}

// r3labs/sse takes events up to 64 KiB by itself.
func TestLargeEvent(t *testing.T) {
	body := `"` + strings.Repeat("x", 1<<20) + `"`
	serve := func(n int, c net.Conn) {
		say(c, hi+"id: 0000000e.1\ndata: "+body+"\n\n")
		hold(c)
	}
	play(t, client.Options{}, "", serve, func(s *script) { s.read().want(body) })
	play(t, client.Options{MaxEvent: 1000}, "", serve, func(s *script) {
		_, err, _ := s.read().next()
		if err == nil || !strings.Contains(err.Error(), "MaxEvent, 1000 bytes") {
			t.Errorf("got %v, want an error that names the option", err)
		}
		if got := s.connections(); got != 1 {
			t.Errorf("asked for it %d times", got)
		}
	})
}

func TestByes(t *testing.T) {
	for _, test := range []struct {
		data string
		kind *problem.Kind
	}{
		{`{"reason":"taken-over"}`, problem.TakenOver},
		{`{"reason":"closed"}`, problem.Closed},
		{`{"reason":"expired"}`, problem.CapabilityExpired},
		{`{"reason":"disconnected"}`, problem.Disconnected},
		{`{"reason":"bankrupt"}`, problem.Gone},
	} {
		t.Run(test.data, func(t *testing.T) {
			serve := func(_ int, c net.Conn) { say(c, hi+message(1)+"event: bye\ndata: "+test.data+"\n\n") }
			play(t, client.Options{}, "", serve, func(s *script) {
				inbox := s.read()
				inbox.want("1")
				inbox.wantEnd(test.kind)
				if got := s.connections(); got != 1 {
					t.Errorf("connected %d times", got)
				}
			})
		})
	}
}

func TestGapsAreToldAndNoEnd(t *testing.T) {
	serve := func(n int, c net.Conn) {
		say(c, strings.Replace(hi, `"gap":0`, `"gap":2`, 1)+message(3)+
			"event: gap\nid: 0000000e.9\ndata: {\"missing\":6}\n\n"+message(10))
		hold(c)
	}
	play(t, client.Options{}, "0000000e.0", serve, func(s *script) {
		inbox := s.read()
		inbox.wantGap(2)
		inbox.want("3")
		inbox.wantGap(6)
		inbox.want("10")
	})
}

func TestLoopLeftAtAGapGoesOnAfterIt(t *testing.T) {
	serve := func(n int, c net.Conn) {
		say(c, hi+"event: gap\nid: 0000000e.9\ndata: {\"missing\":9}\n\n"+message(10))
		hold(c)
	}
	play(t, client.Options{}, "", serve, func(s *script) {
		for _, err := range s.box.Messages(s.ctx) {
			if err == nil {
				t.Error("want the gap first")
			}
			break
		}
		if got := s.box.Cursor(); got != "0000000e.9" {
			t.Errorf("Cursor = %s, want that after the gap", got)
		}
	})
}

func TestUnknownCursorIsReadFromTheStart(t *testing.T) {
	for _, kind := range []*problem.Kind{problem.UnknownCursor, problem.CursorAhead} {
		serve := func(n int, c net.Conn) {
			if n%2 == 1 {
				say(c, refuse(kind.Status, "", `{"type":"`+kind.Type()+`"}`))
				return
			}
			say(c, hi+message(n))
		}
		play(t, client.Options{}, "0000000d.7", serve, func(s *script) {
			inbox := s.read()
			inbox.wantGap(0)
			inbox.want("2")
			inbox.wantGap(0) // another history, another time
			inbox.want("4")
			s.wantAfter("0000000d.7", "", "0000000e.2", "")
			if got := s.reads[1]; got != 0 {
				t.Errorf("waited %v before it read from the start", got)
			}
		})
	}
}

func TestStartThatIsUnknownTooIsTheEnd(t *testing.T) {
	serve := func(_ int, c net.Conn) { say(c, refuse(409, "", `{"type":"urn:gen-browser:unknown-cursor"}`)) }
	play(t, client.Options{}, "0000000d.7", serve, func(s *script) {
		inbox := s.read()
		inbox.wantGap(0)
		inbox.wantEnd(problem.UnknownCursor)
		s.wantAfter("0000000d.7", "")
	})
}

func TestWhatIsNoMessageIsIgnored(t *testing.T) {
	serve := func(n int, c net.Conn) {
		say(c, hi+"retry: 5000\n\n"+": comment\n\n"+"id: 0000000e.5\n\n"+"event: presence\nid: 0000000e.6\ndata: {}\n\n"+
			"data\n\n"+"colour: red\nid: 0000000e.7\ndata: 7\n\n")
		hold(c)
	}
	play(t, client.Options{}, "", serve, func(s *script) { s.read().want("7") })
}

func TestNonsenseIsTheEnd(t *testing.T) {
	for _, event := range []string{"event: init\ndata: {\n\n", "event: gap\ndata: 1\n\n", "event: bye\ndata: \"\"\n\n",
		"event: envelope\ndata: {\"reply\":\"gba_x\",\"body\":1}\n\n"} {
		serve := func(_ int, c net.Conn) { say(c, hi+event); hold(c) }
		play(t, client.Options{}, "", serve, func(s *script) {
			_, err, ok := s.read().next()
			if name := strings.Fields(event)[1] + " event"; !ok || err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%q: got %v, want an error that names the %s", event, err, name)
			}
			if got := s.connections(); got != 1 {
				t.Errorf("%q: asked for it %d times", event, got)
			}
		})
	}
}

func TestCancelEndsReading(t *testing.T) {
	for name, serve := range map[string]func(int, net.Conn){
		"while it waits for messages": func(_ int, c net.Conn) { say(c, hi); hold(c) },
		"while it connects":           func(_ int, c net.Conn) { hold(c) },
		"while it pauses":             func(_ int, c net.Conn) { say(c, refuse(503, "Retry-After: 3600\r\n", "")) },
	} {
		t.Run(name, func(t *testing.T) {
			play(t, client.Options{}, "", serve, func(s *script) {
				ctx, cancel := context.WithCancel(s.ctx)
				ended := make(chan error, 1)
				go func() {
					for _, err := range s.box.Messages(ctx) {
						ended <- err
					}
				}()
				synctest.Wait()
				cancel()
				wantError(t, <-ended, context.Canceled)
			})
		})
	}
}

func TestOneLoopAtATime(t *testing.T) {
	serve := func(n int, c net.Conn) { say(c, hi+messages(n, 2)); hold(c) }
	play(t, client.Options{}, "", serve, func(s *script) {
		for range s.box.Messages(s.ctx) {
			read(t, s.ctx, s.box).wantEnd(client.ErrBusy)
			break
		}
		s.read().want("2")
	})
}
