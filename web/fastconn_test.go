package web

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/genbrowser/genbrowser/server"
)

// pipes is a listener whose connections are pipes: with them, time costs nothing.
type pipes struct {
	come  chan net.Conn
	ended chan struct{}
	end   func()
}

func newPipes() *pipes {
	p := &pipes{come: make(chan net.Conn), ended: make(chan struct{})}
	p.end = sync.OnceFunc(func() { close(p.ended) })
	return p
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.come:
		return c, nil
	case <-p.ended:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.end()
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes", Net: "unix"} }

// dial opens a connection.
func (p *pipes) dial(t *testing.T) net.Conn {
	near, far := net.Pipe()
	t.Cleanup(func() { near.Close() })
	p.come <- far
	return near
}

// piped is a server over pipes, in a bubble of its own.
type piped struct {
	*pipes
	gb  *Handler
	srv *http.Server
	to  string // what ADDR stands for
}

// write writes a text with ADDR in it.
func (p *piped) write(c net.Conn, text string) {
	io.WriteString(c, strings.ReplaceAll(text, "ADDR", p.to))
}

// overPipes runs a test with srv, which has a fast lane if that is said.
func overPipes(t *testing.T, fast bool, srv *http.Server, test func(t *testing.T, p *piped)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		log := slog.New(slog.DiscardHandler)
		office, err := server.New(server.Options{Keys: testRing(t, "pipes"), Logger: log})
		if err != nil {
			t.Fatal(err)
		}
		gb, err := New(Options{Server: office, Logger: log})
		if err != nil {
			t.Fatal(err)
		}
		box, err := office.Open(nil)
		if err != nil {
			t.Fatal(err)
		}
		p := &piped{newPipes(), gb, srv, box.Address.String()}
		srv.Handler, srv.ErrorLog = gb, slog.NewLogLogger(log.Handler(), slog.LevelDebug)
		var l net.Listener = p
		if fast {
			l = gb.FastLane(p, srv)
		}
		var serving sync.WaitGroup
		serving.Go(func() { srv.Serve(l) })
		test(t, p)
		srv.Close()
		serving.Wait()
		if err := gb.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// piece is what a client sends, after a pause.
type piece struct {
	after time.Duration
	text  string
}

// inTime sends pieces on a new connection. It returns how long after the first moment the server ended it, or 0 if it had
// not in an hour after the last piece, and how often 202 was answered.
func (p *piped) inTime(t *testing.T, pieces []piece) (cut time.Duration, accepted int) {
	began := time.Now()
	c := p.dial(t)
	defer c.Close()
	came := make(chan string)
	var at time.Duration
	go func() {
		b, _ := io.ReadAll(c)
		at = time.Since(began)
		came <- string(b)
	}()
	for _, x := range pieces {
		time.Sleep(x.after)
		p.write(c, x.text) // fails if it was cut
	}
	select {
	case answers := <-came:
		return at, strings.Count(answers, " 202 ")
	case <-time.After(time.Hour):
		c.Close()
		return 0, strings.Count(<-came, " 202 ")
	}
}

// slowly is a text that comes a byte a second.
func slowly(text string) (all []piece) {
	for _, c := range text {
		all = append(all, piece{time.Second, string(c)})
	}
	return all
}

// timeouts are those of a server: ReadHeaderTimeout, ReadTimeout and IdleTimeout.
type timeouts struct{ head, all, idle time.Duration }

// The lane keeps net/http's time limits: it cuts no sooner, and not much later.
func TestFastLaneLimits(t *testing.T) {
	const head, all, idle = 10 * time.Second, 40 * time.Second, 100 * time.Second
	long := strings.Replace(usual, "Content-Length: 5", "Content-Length: 100", 1)
	begun, rest := long[:len(long)-1], strings.Repeat("x", 95)+`"`
	onlyHead, headAndAll, everything := timeouts{head: head}, timeouts{head: head, all: all}, timeouts{head, all, idle}
	for name, test := range map[string]struct {
		limits timeouts
		pieces []piece
		from   time.Duration // when the time begins
		within time.Duration // 0 for any time
		sends  int
	}{
		"only the head's, nothing":                   {onlyHead, nil, 0, head, 0},
		"only the head's, a slow head":               {onlyHead, slowly(usual[:50]), 0, head, 0},
		"only the head's, another head":              {onlyHead, []piece{{0, usual}, {time.Minute, usual[:50]}}, time.Minute, head, 1},
		"only the head's, another slow head":         {onlyHead, append([]piece{{0, usual}, {time.Minute, "POST"}}, slowly(usual[4:50])...), time.Minute, head, 1},
		"only the head's, line ends":                 {onlyHead, []piece{{0, usual}, {time.Minute, "\r\n\r\n"}}, time.Minute, head, 1},
		"only the head's, idle":                      {onlyHead, []piece{{0, usual}}, 0, 0, 1},
		"only the head's, less than net/http awaits": {onlyHead, []piece{{0, usual}, {time.Minute, usual[:3]}}, 0, 0, 1},
		"only the head's, half a body":               {onlyHead, []piece{{0, begun}}, 0, 0, 0},
		"only the head's, a late body":               {onlyHead, []piece{{0, begun}, {2 * time.Minute, rest}}, 0, 0, 1},
		"only the head's, another late body":         {onlyHead, []piece{{0, usual + begun}, {2 * time.Minute, rest}}, 0, 0, 2},
		"both, nothing":                              {headAndAll, nil, 0, head, 0},
		"both, a slow head":                          {headAndAll, slowly(usual[:50]), 0, head, 0},
		"both, half a body":                          {headAndAll, []piece{{0, begun}}, 0, all, 0},
		"both, half a body after a while":            {headAndAll, []piece{{5 * time.Second, begun[:9]}, {3 * time.Second, begun[9:]}}, 0, all, 0},
		"both, a slow body":                          {headAndAll, append([]piece{{0, begun[:len(begun)-4]}}, slowly(rest)...), 0, all, 0},
		"both, half of another body":                 {headAndAll, []piece{{0, usual}, {20 * time.Second, begun[:9]}, {8 * time.Second, begun[9:]}}, 20 * time.Second, all, 1},
		"both, idle":                                 {headAndAll, []piece{{5 * time.Second, usual}}, 5 * time.Second, all, 1},
		"all, idle":                                  {everything, []piece{{5 * time.Second, usual}}, 5 * time.Second, idle, 1},
		"all, less than net/http awaits":             {everything, []piece{{5 * time.Second, usual}, {35 * time.Second, usual[:3]}}, 5 * time.Second, idle, 1},
		"all, another head":                          {everything, []piece{{0, usual}, {99 * time.Second, usual[:50]}}, 99 * time.Second, head, 1},
		"no limit for the head":                      {timeouts{head: -1, all: all}, []piece{{0, usual[:50]}}, 0, 0, 0},
	} {
		for _, fast := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/fast=%v", name, fast), func(t *testing.T) {
				srv := http.Server{ReadHeaderTimeout: test.limits.head, ReadTimeout: test.limits.all, IdleTimeout: test.limits.idle}
				overPipes(t, fast, &srv, func(t *testing.T, p *piped) {
					cut, sends := p.inTime(t, test.pieces)
					soonest, latest := test.from+test.within, test.from+test.within
					if fast {
						latest += test.within / 4
					}
					if test.within == 0 {
						soonest, latest = 0, 0
					}
					if cut < soonest || cut > latest || sends != test.sends {
						t.Errorf("cut after %v, with %d sends; want from %v to %v, with %d", cut, sends, soonest, latest, test.sends)
					}
				})
			})
		}
	}
}

// However soon after each other requests come, and answers are taken, the time that each has is not cut short.
func TestFastLaneIsNeverEarly(t *testing.T) {
	const idle, slow = 2 * time.Minute, time.Minute
	within := func(t *testing.T, what string, took, want time.Duration) {
		if took < want || took > want+want/4 {
			t.Errorf("%s ends after %v, want %v or a quarter more", what, took, want)
		}
	}
	for gap := time.Second; gap < slow; gap += 3 * time.Second {
		t.Run(gap.String(), func(t *testing.T) {
			overPipes(t, true, &http.Server{IdleTimeout: idle}, func(t *testing.T, p *piped) {
				cut, _ := p.inTime(t, []piece{{0, usual}, {gap, usual}})
				within(t, "an idle connection", cut-gap, idle)

				c := p.dial(t)
				r := requests{t, c, bufio.NewReader(c)}
				p.write(c, usual)
				r.expectAnswer(http.StatusAccepted, "the first")
				time.Sleep(gap)
				p.write(c, usual)
				began := time.Now()
				p.write(c, usual) // the server, which waits with its answer, does not read it
				within(t, "one whose answer is not taken", time.Since(began), slow)
			})
		})
	}
}

// A shutdown waits for the answers to sends that were taken, as long as it may.
func TestFastLaneShutdownAnswers(t *testing.T) {
	overPipes(t, true, &http.Server{}, func(t *testing.T, p *piped) {
		c := p.dial(t)
		r := requests{t, c, bufio.NewReader(c)}
		p.write(c, usual)
		synctest.Wait() // it is stored, and its answer waits for us to read
		brief, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.gb.Shutdown(brief); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with an answer outstanding, Shutdown = %v", err)
		}
		down := make(chan error, 1)
		go func() { down <- p.gb.Shutdown(t.Context()) }()
		time.Sleep(time.Second)
		select {
		case err := <-down:
			t.Errorf("with an answer outstanding, Shutdown = %v", err)
			down <- err
		default:
		}
		r.expectAnswer(http.StatusAccepted, "the send")
		if err := <-down; err != nil {
			t.Error(err)
		}
		if n := len(p.gb.lanes.of); n != 1 {
			t.Errorf("%d lanes, want 1", n)
		}
		if err := p.srv.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		time.Sleep(lastCall)
		synctest.Wait()
		if n := len(p.gb.lanes.of); n != 0 {
			t.Errorf("%d lanes when they have ended", n)
		}
	})
}

// A shutdown does not wait for a send that panicked.
func TestFastLanePanicEnds(t *testing.T) {
	c := &fastConn{lane: &fastLane{}, in: []byte("x")}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("without a handler, it serves")
			}
		}()
		c.serveAll()
	}()
	if c.busy.Load() {
		t.Error("it seems to be answered still")
	}
}

// HTTP/2 begins where a connection does, and nowhere else.
func TestFastLaneBeginsNoHTTP2(t *testing.T) {
	const settings = "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	for _, before := range []string{"", usual, usual + "\r\n", usual + "\r\n\r\n"} {
		for cut := range len(http2Preface) {
			var srv http.Server
			withHTTP2(&srv)
			overPipes(t, true, &srv, func(t *testing.T, p *piped) {
				c := p.dial(t)
				c.SetDeadline(time.Now().Add(time.Minute))
				go func() {
					p.write(c, before+http2Preface[:cut])
					io.WriteString(c, http2Preface[cut:]+settings)
				}()
				r := bufio.NewReader(c)
				if before == "" {
					if frame, err := r.Peek(4); err != nil || frame[3] != 4 {
						t.Errorf("cut at %d: answered with %q, %v", cut, frame, err)
					}
					return
				}
				requests{t, c, r}.expectAnswer(http.StatusAccepted, "the send")
				if b, err := io.ReadAll(r); err != nil || len(b) > 0 {
					t.Errorf("behind %q, cut at %d: answered with %q, %v", before[len(usual):], cut, b, err)
				}
			})
		}
	}
}

// stalling is a listener that tells how long its connections wait for an answer to be taken.
type stalling struct {
	net.Listener
	since *atomic.Pointer[time.Time]
}

type stallingConn struct {
	net.Conn
	since *atomic.Pointer[time.Time]
}

func (l stalling) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return stallingConn{c, l.since}, err
}

func (c stallingConn) Write(b []byte) (int, error) {
	now := time.Now()
	c.since.Store(&now)
	defer c.since.Store(nil)
	return c.Conn.Write(b)
}

// Who takes its answers late, and has more requests on their way, gets all of them.
func TestFastLaneLateReader(t *testing.T) {
	const limit, sends = 500 * time.Millisecond, 20_000
	s := serve(t, setup{web: Options{SlowReader: patience}})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var since atomic.Pointer[time.Time]
	srv := &http.Server{Handler: s.gb, ReadTimeout: limit}
	go srv.Serve(s.gb.FastLane(stalling{l, &since}, srv))
	defer srv.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	wrote := make(chan error, 1)
	go func() {
		_, err := io.WriteString(c, strings.Repeat(usually("/_gb/send/ADDR", "/_gb/send/nobody"), sends))
		wrote <- err
	}()
	until(t, "an answer waits for longer than a request may take", func() bool {
		began := since.Load()
		return began != nil && time.Since(*began) > 2*limit
	})
	r := bufio.NewReader(c)
	for i := range sends {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("%d answers to %d sends, then %v", i, sends, err)
		}
		io.Copy(io.Discard, resp.Body)
	}
	if err := <-wrote; err != nil {
		t.Error(err)
	}
}
