package web

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/server"
)

// A body is measured whether its length is declared or not.
func TestBodyLimitChunked(t *testing.T) {
	for _, kind := range []string{"http/1.1", "h2"} {
		t.Run(kind, func(t *testing.T) {
			s := serve(t, setup{kind: kind})
			e := s.stream("/_gb/mailbox?new")
			o := e.init()
			for size, want := range map[int]int{64 << 10: 202, 64<<10 + 1: 413, 300 << 10: 413, 5: 202} {
				r, _ := http.NewRequest("POST", s.srv.URL+"/_gb/send/"+o.Address, io.MultiReader(strings.NewReader(quoted(size))))
				resp, err := s.srv.Client().Do(r)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if resp.StatusCode != want {
					t.Errorf("%d bytes: %d, want %d", size, resp.StatusCode, want)
				}
			}
			a, b := e.next().data, e.next().data
			if len(a)+len(b) != 64<<10+5 {
				t.Errorf("%d and %d bytes arrived", len(a), len(b))
			}
		})
	}
}

// A body that is declared too large is refused before it is sent.
func TestDeclaredLengthIsRefusedAtOnce(t *testing.T) {
	s := serve(t, setup{})
	o := s.open()
	c := s.dial()
	fmt.Fprintf(c, "POST /_gb/send/%s HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 65537\r\n\r\n", o.Address)
	if head := readHead(t, c); !strings.HasPrefix(head, "HTTP/1.1 413 ") {
		t.Errorf("head %s", head)
	}
	c = s.dial()
	fmt.Fprintf(c, "POST /_gb/send/%s HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12", o.Address)
	c.(interface{ CloseWrite() error }).CloseWrite()
	if head := readHead(t, c); !strings.HasPrefix(head, "HTTP/1.1 400 ") {
		t.Errorf("a body that ends early: %s", head)
	}
}

// The answer to a refused body arrives although the connection ends with it, as a proxy's does.
func TestRefusalOfALargeBodyArrives(t *testing.T) {
	s := serve(t, setup{})
	o := s.open()
	for name, head := range map[string]string{
		"too large": "",
		"a type":    "Content-Type: image/png\r\n",
	} {
		for range 20 {
			c := s.dial()
			fmt.Fprintf(c, "POST /_gb/send/%s HTTP/1.0\r\n%sContent-Length: 200000\r\n\r\n", o.Address, head)
			io.WriteString(c, quoted(200_000))
			if _, err := io.ReadAll(c); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
}

func TestBacklog(t *testing.T) {
	for name, l := range map[string]mailbox.Limits{
		"messages": {Backlog: 3},
		"bytes":    {Body: 100, BacklogBytes: 102},
	} {
		for _, overflow := range []mailbox.Overflow{mailbox.Refuse, mailbox.DropOldest} {
			t.Run(fmt.Sprint(name, " ", overflow), func(t *testing.T) {
				l.Overflow = overflow
				s := serve(t, setup{server: server.Options{Limits: l}})
				o := s.open()
				first := quoted(34)
				s.mustSend(o.Address, first, first, first)
				a := s.send(o.Address, quoted(34))
				if overflow == mailbox.Refuse {
					expectProblem(t, "one too many", a, 429, "full")
					if a.header.Get("Retry-After") != "1" || !strings.Contains(a.body, `"retryAfter":1`) {
						t.Errorf("%v %s", a.header, a.body)
					}
					if n := s.poll(o, "wait=0s"); strings.Count(n.body, `"body"`) != 3 {
						t.Errorf("poll: %s", n.body)
					}
					return
				}
				if a.status != 202 {
					t.Errorf("one too many: %d", a.status)
				}
				if n := s.poll(o, "wait=0s"); !strings.Contains(n.body, `"gap":1,`) || strings.Count(n.body, `"body"`) != 3 {
					t.Errorf("poll: %s", n.body)
				}
			})
		}
	}
}

// A reader that is behind is told of what it misses within its stream.
func TestGapInBand(t *testing.T) {
	s := serve(t, setup{server: server.Options{Limits: mailbox.Limits{Backlog: 5, BacklogBytes: 1 << 20, Overflow: mailbox.DropOldest}}})
	e := s.stream("/_gb/mailbox?new&ack=manual")
	o := e.init()
	const sent = 200
	for i := range sent { // the reader takes nothing until its socket is full
		s.mustSend(o.Address, fmt.Sprintf(`"%d %s"`, i, strings.Repeat("x", 60_000)))
	}
	s.mustSend(o.Address, `"last"`)
	next, gaps := 0, 0
	for {
		ev := e.next()
		if ev.name == "gap" {
			var missing int
			if n, _ := fmt.Sscanf(ev.data, `{"missing":%d}`, &missing); n != 1 || missing == 0 {
				t.Fatalf("gap %s", ev.data)
			}
			if next, gaps = next+missing, gaps+1; ev.id != cursorOf(o.opened, uint64(next)) {
				t.Errorf("id of the gap %q, want that of message %d", ev.id, next)
			}
			continue
		}
		if ev.data == `"last"` {
			break
		}
		if want := fmt.Sprintf(`"%d `, next); !strings.HasPrefix(ev.data, want) {
			t.Fatalf("got %.20s, want %s", ev.data, want)
		}
		next++
	}
	if next != sent || gaps == 0 {
		t.Errorf("%d messages came or were told missing in %d gaps, want %d", next, gaps, sent)
	}
}

func TestTTL(t *testing.T) {
	s := serve(t, setup{})
	o := s.open()
	s.send(o.Address, "1", "TTL", "1")
	s.send(o.Address, "2", "TTL", "60")
	until(t, "the first expires", func() bool { return !strings.Contains(s.poll(o, "wait=0s&ack=manual").body, `"body":1}`) })
	expectPoll(t, s.poll(o, "wait=0s"), polled(o, 1, 0, "2")) // what outlived its time is no gap
}

func TestIdempotencyKey(t *testing.T) {
	s := serve(t, setup{server: server.Options{Limits: mailbox.Limits{Names: 2}}})
	o := s.open()
	for i, name := range []string{"a", "a", "b", "a", "c", "a"} { // a is forgotten for c
		if a := s.send(o.Address, fmt.Sprint(i), "Idempotency-Key", name); a.status != 202 {
			t.Errorf("%d: %d", i, a.status)
		}
	}
	other := s.open()
	s.send(other.Address, "0", "Idempotency-Key", "a") // names are the mailbox's
	expectPoll(t, s.poll(o, "wait=0s"), polled(o, 0, 0, "0", "2", "4", "5"))
	expectPoll(t, s.poll(other, "wait=0s"), polled(other, 0, 0, "0"))
}

func TestServerIsOverloaded(t *testing.T) {
	s := serve(t, setup{server: server.Options{MaxMailboxes: 1, MaxBytes: 10}})
	o := s.open()
	overloaded := func(what string, a answered) {
		t.Helper()
		expectProblem(t, what, a, 503, "overloaded")
		if a.header.Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", what)
		}
	}
	overloaded("POST", s.do("POST", "/_gb/mailbox", ""))
	_, a := s.tryStream("/_gb/mailbox?new")
	overloaded("stream", a)
	s.mustSend(o.Address, quoted(10))
	overloaded("send", s.send(o.Address, "1"))
	s.ack(o.Key, cursorOf(o, 1))
	s.mustSend(o.Address, "1")
}

func TestOpensAreLimited(t *testing.T) {
	trusted, err := ForwardedFor("127.0.0.0/8", "10.0.0.0/8")
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, setup{web: Options{OpenRate: 0.001, OpenBurst: 2, ClientAddress: trusted}})
	from := func(header string) answered {
		t.Helper()
		return s.do("POST", "/_gb/mailbox", "", "X-Forwarded-For", header)
	}
	for i, tt := range []struct {
		header string
		status int
	}{
		{"203.0.113.1", 201},
		{"203.0.113.1", 201},
		{"203.0.113.1", 429},
		{"198.51.100.7, 203.0.113.1", 429}, // the first is the client's own word
		{"203.0.113.1, 10.1.2.3", 429},     // through two proxies
		{"::ffff:203.0.113.1", 429},
		{"203.0.113.2", 201},
		{"2001:db8:1:2:aaaa::1", 201},
		{"2001:db8:1:2:bbbb::2", 201},
		{"2001:db8:1:2:cccc::3", 429}, // one network
		{"2001:db8:1:3::1", 201},
	} {
		a := from(tt.header)
		if a.status != tt.status {
			t.Errorf("%d: %s: %d, want %d", i, tt.header, a.status, tt.status)
		}
		if a.status == 429 {
			expectProblem(t, tt.header, a, 429, "too-many-opens")
			if a.header.Get("Retry-After") == "" {
				t.Error("429 without Retry-After")
			}
		}
	}
	_, a := s.tryStream("/_gb/mailbox?new", "X-Forwarded-For", "203.0.113.1")
	expectProblem(t, "a stream that opens", a, 429, "too-many-opens")
	_, a = s.tryStream("/_gb/mailbox", "X-Forwarded-For", "203.0.113.1")
	expectProblem(t, "a bare stream that opens", a, 429, "too-many-opens")

	direct := serve(t, setup{web: Options{OpenRate: 0.001, OpenBurst: 1}})
	direct.open()
	a = direct.do("POST", "/_gb/mailbox", "", "X-Forwarded-For", "203.0.113.9")
	expectProblem(t, "spoofed, with no proxy", a, 429, "too-many-opens")
}

func TestClientAddress(t *testing.T) {
	f, err := ForwardedFor("10.0.0.0/8", "fd00::/8")
	if err != nil {
		t.Fatal(err)
	}
	sockets, err := ForwardedFor("unix", "10.0.0.0/8")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ remote, forwarded, want string }{
		{"192.0.2.1:5", "203.0.113.1", "192.0.2.1"}, // no proxy of ours
		{"10.0.0.1:5", "203.0.113.1", "203.0.113.1"},
		{"10.0.0.1:5", "", "10.0.0.1"},
		{"10.0.0.1:5", "1.1.1.1, 2.2.2.2", "2.2.2.2"},
		{"10.0.0.1:5", "1.1.1.1, 10.9.9.9, 10.8.8.8", "1.1.1.1"},
		{"10.0.0.1:5", "10.9.9.9", "10.9.9.9"},
		{"10.0.0.1:5", "1.1.1.1,", "10.0.0.1"},
		{"10.0.0.1:5", "junk", "10.0.0.1"},
		{"10.0.0.1:5", "1.1.1.1, unknown", "10.0.0.1"},
		{"10.0.0.1:5", "203.0.113.5:51334", "203.0.113.5"}, // with its port
		{"10.0.0.1:5", "1.1.1.1:1, 10.9.9.9:443", "1.1.1.1"},
		{"10.0.0.1:5", "[2001:db8:1:2:3::4]:51334", "2001:db8:1:2::/64"},
		{"10.0.0.1:5", "[2001:db8:1:2:3::4]", "2001:db8:1:2::/64"},
		{"[fd00::1]:5", "2001:db8:1:2:3::4", "2001:db8:1:2::/64"},
		{"[::ffff:10.0.0.1]:5", "1.1.1.1", "1.1.1.1"},
		{"[fe80::1%eth0]:5", "1.1.1.1", "fe80::/64"},
		{"@", "1.1.1.1", "@"},            // anybody on a unix socket
		{"unix @", "1.1.1.1", "1.1.1.1"}, // a proxy there
		{"unix @", "1.1.1.1, 10.8.8.8", "1.1.1.1"},
		{"unix @", "1.1.1.1, 2.2.2.2", "2.2.2.2"},
		{"unix @", "", "@"},
		{"unix 192.0.2.1:5", "203.0.113.1", "192.0.2.1"},
	} {
		r := &http.Request{RemoteAddr: tt.remote, Header: http.Header{}}
		if tt.forwarded != "" {
			r.Header.Set("X-Forwarded-For", tt.forwarded)
		}
		f := f
		if remote, ok := strings.CutPrefix(tt.remote, "unix "); ok {
			f, r.RemoteAddr = sockets, remote
		}
		if got := f(r); got != tt.want {
			t.Errorf("%s for %q: %q, want %q", tt.remote, tt.forwarded, got, tt.want)
		}
	}
	if _, err := ForwardedFor("10.0.0.1"); err == nil {
		t.Error("ForwardedFor of an address = nil error")
	}
}

func TestLimiter(t *testing.T) {
	l := openLimiter(2, 3)
	now := time.Unix(1_800_000_000, 0)
	for i, want := range []time.Duration{0, 0, 0, 500 * time.Millisecond, 500 * time.Millisecond} {
		if got := l.wait("a", 1, now); got != want {
			t.Errorf("open %d: wait %v, want %v", i, got, want)
		}
	}
	if got := l.wait("a", 1, now.Add(500*time.Millisecond)); got != 0 {
		t.Errorf("after the wait: %v", got)
	}
	if openLimiter(-1, 0) != nil || openLimiter(0, -1) != nil || openLimiter(-1, 0).wait("a", 1, now) != 0 {
		t.Error("below 0 is no limit")
	}
	for i := range 3 * limited {
		l.wait(fmt.Sprint(i), 1, now)
	}
	if n := len(l.recent) + len(l.before); n > 2*limited {
		t.Errorf("%d addresses are remembered", n)
	}
}
