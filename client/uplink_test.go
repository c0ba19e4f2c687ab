package client_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/client"
	"github.com/genbrowser/genbrowser/web/problem"
)

// upload is one request of a peer's uplink, at a server that does what the test says.
type upload struct {
	net.Conn
	body  io.Reader
	lines *bufio.Scanner
	begun bool
}

// line is what is read of a message's line.
type line struct {
	ID    string          `json:"id"`
	Kind  string          `json:"kind"`
	Ref   string          `json:"ref"`
	Body  any             `json:"body"`
	Reply address.Address `json:"reply"`
}

// next returns the next line; ok is false once the client goes.
func (u *upload) next() (l line, ok bool) {
	for u.lines.Scan() {
		if len(u.lines.Bytes()) == 0 {
			continue // a sign of life
		}
		if json.Unmarshal(u.lines.Bytes(), &l) != nil {
			return l, false // cut off
		}
		return l, true
	}
	return l, false
}

// answer writes a line with these members, of which the id is the first.
func (u *upload) answer(id, members string) {
	if !u.begun {
		io.WriteString(u, ndjson)
	}
	u.begun = true
	io.WriteString(u, chunk(fmt.Sprintf(`{"id":%q,%s}`+"\n", id, members)))
}

const accepted = `"status":202`

// uplinkScript is a peer in a bubble, whose uploads a test answers.
type uplinkScript struct {
	*client.Peer
	t   *testing.T
	ctx context.Context // of the bubble
	to  address.Address
	// between a test and what serves its uploads
	gate chan bool

	mu     sync.Mutex
	came   []string // "upload body", in the order they came
	ids    map[any]string
	stream net.Conn // that the peer reads
}

func (s *uplinkScript) note(n int, l line) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.came = append(s.came, fmt.Sprint(n, " ", l.Body))
	if id, before := s.ids[l.Body]; before && id != l.ID {
		s.t.Errorf("message %v came as %s and as %s", l.Body, id, l.ID)
	}
	s.ids[l.Body] = l.ID
}

func (s *uplinkScript) wantCame(want ...string) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(s.came, want) {
		s.t.Errorf("came %q, want %q", s.came, want)
	}
}

// send sends each body in a goroutine of its own, in their order, and returns where the answers will be.
func (s *uplinkScript) send(ctx context.Context, bodies ...any) []chan error {
	var answers []chan error
	for _, body := range bodies {
		c := make(chan error, 1)
		answers = append(answers, c)
		go func() { c <- s.Send(ctx, s.to, body) }()
		synctest.Wait()
	}
	return answers
}

// playUplink runs test in a bubble. Each upload, the first being 1, is served by serve, and breaks when that returns.
func playUplink(t *testing.T, o client.DialOptions, serve func(s *uplinkScript, n int, u *upload), test func(s *uplinkScript)) {
	t.Helper()
	playUplinkAt(t, "", o, serve, test)
}

// playUplinkAt is playUplink where the server says, in a header's line, what time it is.
func playUplinkAt(t *testing.T, date string, o client.DialOptions, serve func(s *uplinkScript, n int, u *upload), test func(s *uplinkScript)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &uplinkScript{t: t, ctx: t.Context(), gate: make(chan bool), ids: make(map[any]string)}
		key := ring(t).MailboxKey(uuid.New())
		var err error
		if s.to, err = key.Address(); err != nil {
			t.Fatal(err)
		}
		opened := fmt.Sprintf(`{"address":%q,"key":%q,"cursor":"0000000e.0","heartbeat":15000,"limits":{"backlog":8}}`, s.to, key.Reveal())
		var conns sync.WaitGroup
		uploads := 0
		handle := func(c net.Conn) {
			defer c.Close()
			r, err := http.ReadRequest(bufio.NewReader(c))
			if err != nil {
				return
			}
			switch {
			case r.URL.Path == "/_gb/send":
				s.mu.Lock()
				uploads++
				n := uploads
				s.mu.Unlock()
				serve(s, n, &upload{Conn: c, body: r.Body, lines: bufio.NewScanner(r.Body)})
			case r.Method == http.MethodGet:
				s.mu.Lock()
				s.stream = c
				s.mu.Unlock()
				say(c, head+"event: init\nid: 0000000e.0\ndata: "+opened+"\n\n")
				hold(c)
			case r.Method == http.MethodPost:
				say(c, "HTTP/1.1 201 Created\r\nConnection: close\r\n"+date+"\r\n"+opened)
			default:
				say(c, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
			}
		}
		o.HTTP = &http.Client{Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(context.Context, string, string) (net.Conn, error) {
				here, there := net.Pipe()
				conns.Go(func() { handle(there) })
				return here, nil
			},
		}}
		if s.Peer, err = client.Dial(t.Context(), "http://server.test", o); err != nil {
			t.Fatal(err)
		}
		test(s)
		if err := s.Close(context.Background()); err != nil {
			t.Errorf("Close = %v", err)
		}
		synctest.Wait() // a dial that nobody waits for any more may be under way
		conns.Wait()
	})
}

// What has no answer when the upload breaks comes again before what was sent since, under the same name.
func TestUplinkRepeatsInOrder(t *testing.T) {
	serve := func(s *uplinkScript, n int, u *upload) {
		for i := 1; ; i++ {
			l, ok := u.next()
			if !ok {
				return
			}
			s.note(n, l)
			switch {
			case n > 1 || l.Body == "a":
				u.answer(l.ID, accepted)
			case l.Body == "d":
				<-s.gate
				return // what came since a has no answer; f was not written
			}
		}
	}
	playUplink(t, client.DialOptions{}, serve, func(s *uplinkScript) {
		answers := s.send(s.ctx, "a", "b", "c", "d", "e", "f")
		close(s.gate)
		for _, answer := range answers {
			wantError(t, <-answer, nil)
		}
		s.wantCame("1 a", "1 b", "1 c", "1 d", "2 b", "2 c", "2 d", "2 e", "2 f")
	})
}

// A server that is about to go, or that can store nothing, has not answered.
func TestUplinkWaitsForBetterTimes(t *testing.T) {
	for _, kind := range []*problem.Kind{problem.ShuttingDown, problem.Unavailable} {
		t.Run(kind.Code, func(t *testing.T) {
			serve := func(s *uplinkScript, n int, u *upload) {
				for {
					l, ok := u.next()
					if !ok {
						return
					}
					if s.note(n, l); n == 1 {
						u.answer(l.ID, fmt.Sprintf(`"type":%q,"status":503,"retryAfter":7`, kind.Type()))
					} else {
						u.answer(l.ID, accepted)
					}
				}
			}
			playUplink(t, client.DialOptions{}, serve, func(s *uplinkScript) {
				began := time.Now()
				wantError(t, s.Send(s.ctx, s.to, "a"), nil)
				if took := time.Since(began); took < 7*time.Second || took > 8*time.Second {
					t.Errorf("it took %v, want the 7 s that the server asked for, and less than 1 s more", took)
				}
				s.wantCame("1 a", "2 a")
			})
		})
	}
}

func TestUplinkRefusals(t *testing.T) {
	serve := func(s *uplinkScript, n int, u *upload) {
		for {
			l, ok := u.next()
			if !ok {
				return
			}
			s.note(n, l)
			u.answer(l.ID, `"type":"urn:gen-browser:full","status":429,"retryAfter":1`)
		}
	}
	playUplink(t, client.DialOptions{}, serve, func(s *uplinkScript) {
		for _, body := range []string{"a", "b"} {
			wantError(t, s.Send(s.ctx, s.to, body), problem.Full)
		}
		s.wantCame("1 a", "1 b")
	})
}

// A mute connection, or one with nonsense on it, is replaced.
func TestUplinkThatIsUseless(t *testing.T) {
	for name, useless := range map[string]func(*upload){
		"mute":         func(u *upload) { u.next(); u.next() },
		"mute later":   func(u *upload) { l, _ := u.next(); u.answer(l.ID, accepted); u.next(); u.next() },
		"nonsense":     func(u *upload) { u.next(); io.WriteString(u, ndjson+chunk("<html>\n")); u.next() },
		"of another":   func(u *upload) { u.next(); u.answer("another", accepted); u.next() },
		"too many":     func(u *upload) { l, _ := u.next(); u.answer(l.ID, accepted); u.answer(l.ID, accepted); u.next() },
		"refused":      func(u *upload) { u.next(); say(u, refuse(502, "", "")) },
		"a proxy's":    func(u *upload) { u.next(); say(u, refuse(404, "", "<html>")) },
		"ends cleanly": func(u *upload) { u.next(); say(u, ndjson+"0\r\n\r\n"); u.next() },
	} {
		t.Run(name, func(t *testing.T) {
			serve := func(s *uplinkScript, n int, u *upload) {
				if n == 1 {
					useless(u)
					return
				}
				for l, ok := u.next(); ok; l, ok = u.next() {
					u.answer(l.ID, accepted)
				}
			}
			playUplink(t, client.DialOptions{}, serve, func(s *uplinkScript) {
				began := time.Now()
				for _, body := range []string{"a", "b"} {
					wantError(t, s.Send(s.ctx, s.to, body), nil)
				}
				if took := time.Since(began); took > 9*time.Second {
					t.Errorf("it took %v", took)
				}
				if synctest.Wait(); s.Status() != client.Open {
					t.Errorf("the peer is %v: %v", s.Status(), s.Err())
				}
			})
		})
	}
}

// A server that takes no such request ends the peer.
func TestUplinkRefusedForGood(t *testing.T) {
	serve := func(s *uplinkScript, n int, u *upload) {
		say(u, refuse(404, "", `{"type":"urn:gen-browser:not-found"}`))
	}
	playUplink(t, client.DialOptions{}, serve, func(s *uplinkScript) {
		wantError(t, s.Send(s.ctx, s.to, 1), problem.NotFound)
		<-s.Done()
		wantError(t, s.Err(), problem.NotFound)
	})
}

// Beyond the queue a sender waits, in its turn; one that gives up has sent nothing.
func TestQueueIsBounded(t *testing.T) {
	for name, o := range map[string]client.DialOptions{"messages": {Queue: 2}, "bytes": {QueueBytes: 250}} {
		t.Run(name, func(t *testing.T) {
			serve := func(s *uplinkScript, n int, u *upload) {
				if n == 1 {
					go func() { <-s.gate; u.Close() }()
				}
				for l, ok := u.next(); ok; l, ok = u.next() {
					if s.note(n, l); n > 1 {
						u.answer(l.ID, accepted)
					}
				}
			}
			playUplink(t, o, serve, func(s *uplinkScript) {
				answers := s.send(s.ctx, 1, 2)
				hurried, cancel := context.WithCancel(s.ctx)
				var gaveUp []chan error
				gaveUp = append(gaveUp, s.send(hurried, 3)...)
				answers = append(answers, s.send(s.ctx, 4, 5)...)
				cancel()
				err := <-gaveUp[0]
				if !errors.Is(err, context.Canceled) || errors.Is(err, client.ErrUnanswered) || !strings.Contains(err.Error(), "not sent") {
					t.Errorf("who gave up gets %v", err)
				}
				close(s.gate)
				for _, answer := range answers {
					wantError(t, <-answer, nil)
				}
				s.wantCame("1 1", "1 2", "2 1", "2 2", "2 4", "2 5")
			})
		})
	}
}

// Who gave up on a message that was written does not know; it is not written again.
func TestSenderGivesUp(t *testing.T) {
	serve := func(s *uplinkScript, n int, u *upload) {
		for l, ok := u.next(); ok; l, ok = u.next() {
			if s.note(n, l); n > 1 {
				u.answer(l.ID, accepted)
			} else if l.Body == "b" {
				<-s.gate
				return
			}
		}
	}
	playUplink(t, client.DialOptions{}, serve, func(s *uplinkScript) {
		ctx, cancel := context.WithCancel(s.ctx)
		a := s.send(ctx, "a")[0]
		b := s.send(s.ctx, "b")[0]
		cancel()
		err := <-a
		wantError(t, err, client.ErrUnanswered)
		wantError(t, err, context.Canceled)
		close(s.gate)
		wantError(t, <-b, nil)
		s.wantCame("1 a", "1 b", "2 b")
	})
}

// A call that is over before it was sent is not sent any more.
func TestCallThatIsOverBeforeItIsSent(t *testing.T) {
	serve := func(s *uplinkScript, n int, u *upload) {
		if n == 1 {
			<-time.After(3 * time.Second)
			return
		}
		for l, ok := u.next(); ok; l, ok = u.next() {
			s.note(n, l)
			u.answer(l.ID, accepted)
		}
	}
	playUplink(t, client.DialOptions{CallTimeout: time.Second, Queue: 1}, serve, func(s *uplinkScript) {
		first := s.send(s.ctx, "first")[0]
		err := s.Call(s.ctx, s.to, "call", nil)
		wantProblem(t, err, problem.CallTimeout, "not sent")
		wantError(t, <-first, nil)
		s.wantCame("2 first")
	})
}

// An upload on which nothing is to be said shows that it lives, and stays.
func TestUplinkShowsSignsOfLife(t *testing.T) {
	serve := func(s *uplinkScript, n int, u *upload) {
		for u.lines.Scan() {
			if len(u.lines.Bytes()) == 0 {
				s.gate <- true
				continue
			}
			var l line
			if json.Unmarshal(u.lines.Bytes(), &l) != nil {
				return
			}
			s.note(n, l)
			u.answer(l.ID, accepted)
		}
	}
	playUplink(t, client.DialOptions{}, serve, func(s *uplinkScript) {
		wantError(t, s.Send(s.ctx, s.to, "a"), nil)
		began := time.Now()
		for range 4 {
			<-s.gate
		}
		if took := time.Since(began); took != time.Minute {
			t.Errorf("4 signs of life took %v, want one each heartbeat of 15 s", took)
		}
		wantError(t, s.Send(s.ctx, s.to, "b"), nil)
		s.wantCame("1 a", "1 b")
	})
}

// Reply addresses last by the clock of the server, which may be ahead of ours.
func TestReplyAddressesByTheServersClock(t *testing.T) {
	const bubble = "2000-01-01T00:00" // when time begins in one
	for name, test := range map[string]struct{ date, want string }{
		"none":   {"", "expires " + bubble + ":11Z"},
		"ahead":  {"Date: Sat, 01 Jan 2000 01:00:00 GMT\r\n", "expires 2000-01-01T01:00:11Z"},
		"behind": {"Date: Fri, 31 Dec 1999 23:00:00 GMT\r\n", "expires " + bubble + ":11Z"},
	} {
		t.Run(name, func(t *testing.T) {
			serve := func(s *uplinkScript, n int, u *upload) {
				l, _ := u.next()
				d, err := address.Inspect(l.Reply.String())
				if err != nil || d.Rights != address.Send || !slices.ContainsFunc(d.Caveats, func(c address.Caveat) bool { return c.String() == test.want }) {
					t.Errorf("the reply address has %v, %v, %v, want %s", d.Rights, d.Caveats, err, test.want)
				}
				u.answer(l.ID, `"type":"urn:gen-browser:gone","status":410`)
				u.next()
			}
			playUplinkAt(t, test.date, client.DialOptions{}, serve, func(s *uplinkScript) {
				wantError(t, s.Call(s.ctx, s.to, "a", nil), problem.Gone)
			})
		})
	}
}

// Whatever is wrong with a message, the server says so of that one, and takes those behind it.
func TestUnreadableMessages(t *testing.T) {
	s := start(t, siteOptions{})
	p, box := dial(t, s.URL, client.DialOptions{}), open(t, connect(t, s.URL, client.Options{}))
	for name, test := range map[string]struct {
		to   address.Address
		body any
		want error
	}{
		"a long line": {box.Address(), strings.Repeat("x", 300_000), problem.TooLarge},
		"no address":  {address.Address{}, 1, problem.MalformedEnvelope},
		"no UTF-8":    {box.Address(), json.RawMessage("\"\xff\""), problem.MalformedEnvelope},
	} {
		t.Run(name, func(t *testing.T) {
			wantError(t, p.Send(limit(t), test.to, test.body), test.want)
			wantError(t, p.Send(limit(t), box.Address(), 1), nil)
		})
	}
}

// A server may not have read the id of what it refuses; answers come in order.
func TestRefusalWithoutID(t *testing.T) {
	serve := func(s *uplinkScript, n int, u *upload) {
		for l, ok := u.next(); ok; l, ok = u.next() {
			if l.Body == "bad" {
				u.answer("", `"type":"urn:gen-browser:malformed-envelope","status":400`)
			} else {
				u.answer(l.ID, accepted)
			}
		}
	}
	playUplink(t, client.DialOptions{}, serve, func(s *uplinkScript) {
		wantError(t, s.Send(s.ctx, s.to, "bad"), problem.MalformedEnvelope)
		wantError(t, s.Send(s.ctx, s.to, "good"), nil)
	})
}
