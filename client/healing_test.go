package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/client"
	"github.com/genbrowser/genbrowser/mailbox/jetstream"
	"github.com/genbrowser/genbrowser/server"
	"github.com/genbrowser/genbrowser/web"
	"github.com/genbrowser/genbrowser/web/problem"
)

// cast is what the peers of these tests send each other.
type cast struct {
	From string `json:"from"`
	N    int    `json:"n"`
	Pad  string `json:"pad"`
}

// counting is a service that answers calls with their bodies, and holds that casts come in order and once.
type counting struct {
	service
	t    *testing.T
	mu   sync.Mutex
	came map[string]int
}

func (c *counting) Cast(_ context.Context, m client.Message) error {
	var got cast
	if err := json.Unmarshal(m.Body, &got); err != nil {
		c.t.Errorf("cast %s: %v", m.Body, err)
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if want := c.came[got.From]; got.N != want {
		c.t.Errorf("%s: cast %d came, want %d", got.From, got.N, want)
	}
	c.came[got.From] = got.N + 1
	return nil
}

// traffic calls and casts until it is stopped, and then holds that everything ended as it must.
type traffic struct {
	t     *testing.T
	from  *client.Peer
	to    address.Address
	stop  atomic.Bool
	wait  sync.WaitGroup
	calls atomic.Int64
	fails atomic.Int64 // calls that failed as they may

	mu   sync.Mutex
	sent map[string]int
}

func (l *traffic) start(callers, casters int) {
	l.sent = make(map[string]int)
	for i := range callers {
		l.wait.Go(func() {
			for n := 0; !l.stop.Load(); n++ {
				l.call(fmt.Sprint("caller ", i, " ", n))
			}
		})
	}
	for i := range casters {
		l.wait.Go(func() { l.casts(fmt.Sprint("caster ", i)) })
	}
}

func (l *traffic) call(body string) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var reply string
	err := l.from.Call(ctx, l.to, body, &reply)
	var p *problem.Problem
	switch {
	case err == nil && reply != body:
		l.t.Errorf("call %q got the reply %q", body, reply)
	case errors.Is(err, problem.Full): // the callee has as much as it takes, and says so
	case errors.As(err, &p), errors.Is(err, client.ErrBroken):
		l.fails.Add(1)
	case err != nil:
		l.t.Errorf("call %q: %v", body, err)
	}
	l.calls.Add(1)
}

// casts repeats what was refused for want of room, and nothing else.
func (l *traffic) casts(from string) {
	n := 0
	for !l.stop.Load() {
		ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
		err := l.from.Send(ctx, l.to, cast{from, n, padded(rand.N(100))})
		cancel()
		switch {
		case err == nil:
			n++
		case !errors.Is(err, problem.Full):
			l.t.Errorf("%s: cast %d: %v", from, n, err)
			return
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent[from] = n
}

// end stops it, and waits until to has handled everything.
func (l *traffic) end(to *counting) {
	l.t.Helper()
	l.stop.Store(true)
	l.wait.Wait()
	until(l.t, func() bool {
		to.mu.Lock()
		defer to.mu.Unlock()
		return maps.Equal(to.came, l.sent)
	})
}

func newTraffic(t *testing.T, from, to *client.Peer) (*traffic, *counting) {
	c := &counting{t: t, came: make(map[string]int)}
	serve(t, to, c)
	return &traffic{t: t, from: from, to: to.Address()}, c
}

// Both connections of both peers are cut, again and again, at random bytes.
func TestPeersUnderAHundredCuts(t *testing.T) {
	for name, failFast := range map[string]bool{"calls wait": false, "calls fail fast": true} {
		t.Run(name, func(t *testing.T) {
			s := start(t, siteOptions{})
			pa, pb := newProxy(t, s.Listener.Addr().String()), newProxy(t, s.Listener.Addr().String())
			pa.chop(8000)
			pb.chop(8000)
			quick := client.Options{MaxPause: 20 * time.Millisecond}
			a := dial(t, pa.url(), client.DialOptions{Options: quick, FailFast: failFast})
			b := dial(t, pb.url(), client.DialOptions{Options: quick})
			l, c := newTraffic(t, a, b)
			l.start(8, 4)
			until(t, func() bool { return pa.cut() >= 100 && pb.cut() >= 100 })
			pa.chop(0)
			pb.chop(0)
			l.end(c)
			if !failFast && l.fails.Load() > 0 {
				t.Errorf("%d of %d calls failed", l.fails.Load(), l.calls.Load())
			}
			t.Logf("%d calls, %d failed, casts %v; cut %d and %d times", l.calls.Load(), l.fails.Load(), l.sent, pa.cut(), pb.cut())
			if a.Status() == client.Closed || b.Status() == client.Closed {
				t.Errorf("they are %v (%v) and %v (%v)", a.Status(), a.Err(), b.Status(), b.Err())
			}
		})
	}
}

// until waits for a condition that no event tells of.
func until(t testing.TB, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for ctx := limit(t); !condition(); {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("it does not come")
		}
	}
}

// durable starts a server whose mailboxes outlive it.
func durable(t *testing.T, dir string, o ...web.Options) *site {
	t.Helper()
	log, err := jetstream.Open(limit(t), jetstream.Options{Dir: dir, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	site := siteOptions{server: server.Options{Log: log}}
	if len(o) > 0 {
		site.web = o[0]
	}
	return start(t, site)
}

// stop ends a durable site, whose directory may be opened again.
func (s *site) stop(t *testing.T) {
	t.Helper()
	s.shutDown(t)
	s.Close()
	if err := s.office.Stop(limit(t)); err != nil {
		t.Errorf("Stop = %v", err)
	}
}

// A server that keeps its mailboxes restarts under load: calls wait, casts come once and in order.
func TestPeersOverRestarts(t *testing.T) {
	dir := t.TempDir()
	s := durable(t, dir)
	p := newProxy(t, s.Listener.Addr().String())
	quick := client.DialOptions{Options: client.Options{MaxPause: 100 * time.Millisecond}}
	a, b := dial(t, p.url(), quick), dial(t, p.url(), quick)
	l, c := newTraffic(t, a, b)
	l.start(4, 2)
	for range 2 {
		before := l.calls.Load()
		until(t, func() bool { return l.calls.Load() > before+20 })
		s.stop(t)
		s = durable(t, dir)
		p.to(s.Listener.Addr().String())
	}
	before := l.calls.Load()
	until(t, func() bool { return l.calls.Load() > before+20 })
	l.end(c)
	t.Logf("%d calls, %d failed, casts %v", l.calls.Load(), l.fails.Load(), l.sent)
	a.Close(limit(t))
	b.Close(limit(t))
	s.stop(t)
}

// A server that keeps nothing restarts: the peers' mailboxes are gone, and they end.
func TestPeersWhoseServerForgets(t *testing.T) {
	s := start(t, siteOptions{})
	p := newProxy(t, s.Listener.Addr().String())
	quick := client.DialOptions{Options: client.Options{MaxPause: 100 * time.Millisecond}}
	a, b := dial(t, p.url(), quick), dial(t, p.url(), quick)
	waits := make(chan error, 1)
	go func() { waits <- a.Call(limit(t), b.Address(), 1, nil) }()
	receive(t, b)
	m := monitor(t, a, b.Address())
	s.shutDown(t)
	p.to(start(t, siteOptions{}).Listener.Addr().String())
	p.cutAll()
	wantError(t, <-waits, problem.Gone)
	_, err := m.Wait(limit(t))
	wantError(t, err, problem.Gone)
	<-a.Done()
	wantError(t, a.Err(), problem.Gone)
	if _, err := b.Receive(limit(t)); !errors.Is(err, problem.Gone) {
		t.Errorf("Receive = %v", err)
	}
}

func TestFailFast(t *testing.T) {
	s := start(t, siteOptions{})
	p := newProxy(t, s.Listener.Addr().String())
	changes, onStatus := statuses()
	a := dial(t, p.url(), client.DialOptions{FailFast: true, OnStatus: onStatus, Options: client.Options{MaxPause: 10 * time.Millisecond}})
	waiting := dial(t, p.url(), client.DialOptions{})
	b := dial(t, s.URL, client.DialOptions{})
	await(t, changes, client.Open)
	fast, slow := make(chan error, 1), make(chan error, 1)
	go func() { fast <- a.Call(limit(t), b.Address(), 1, nil) }()
	first := receive(t, b)
	go func() { slow <- waiting.Call(limit(t), b.Address(), 2, nil) }()
	second := receive(t, b)

	p.to("127.0.0.1:1") // nobody is there
	p.cutAll()
	wantError(t, <-fast, client.ErrBroken)
	await(t, changes, client.Reconnecting)
	wantError(t, a.Call(limit(t), b.Address(), 1, nil), client.ErrBroken)
	for _, m := range []client.Message{first, second} {
		wantError(t, b.Reply(limit(t), m, "answered meanwhile"), nil)
	}
	p.to(s.Listener.Addr().String())
	wantError(t, <-slow, nil)
	await(t, changes, client.Open)
	serve(t, b, service{})
	until(t, func() bool { // what it sends by may still be broken
		got, err := call(t, a, b.Address(), 3)
		if err != nil && !errors.Is(err, client.ErrBroken) {
			t.Fatal(err)
		}
		return got == "3"
	})
}
