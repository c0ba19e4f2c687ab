package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/genbrowser/genbrowser/client"
	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/server"
	"github.com/genbrowser/genbrowser/web/problem"
)

// losses keeps what casts were lost.
type losses struct {
	mu  sync.Mutex
	all []client.Outgoing
	err []error
}

func (l *losses) lost(cast client.Outgoing, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all, l.err = append(l.all, cast), append(l.err, err)
}

func (l *losses) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.all)
}

// A cast waits for no answer, goes out in its turn, and has nobody told if it was accepted.
func TestCast(t *testing.T) {
	serve := func(s *uplinkScript, n int, u *upload) {
		for l, ok := u.next(); ok; l, ok = u.next() {
			s.note(n, l)
			if l.Body == "a" {
				<-s.gate
			}
			u.answer(l.ID, accepted)
		}
	}
	playUplink(t, client.DialOptions{OnLost: func(cast client.Outgoing, err error) { t.Errorf("%v was lost: %v", cast.Body, err) }}, serve, func(s *uplinkScript) {
		wantError(t, s.Cast(s.ctx, s.to, "a"), nil) // although nobody answers
		sent := s.send(s.ctx, "b")[0]
		wantError(t, s.Cast(s.ctx, s.to, "c"), nil)
		s.wantCame("1 a")
		close(s.gate)
		wantError(t, <-sent, nil)
		synctest.Wait()
		s.wantCame("1 a", "1 b", "1 c")
		if err := s.Cast(s.ctx, s.to, make(chan int)); err == nil {
			t.Error("a channel was cast")
		}
	})
}

// What is refused is told, or logged.
func TestLostCasts(t *testing.T) {
	s := start(t, siteOptions{server: server.Options{Limits: mailbox.Limits{Backlog: 3}}})
	sleeper := open(t, connect(t, s.URL, client.Options{}))
	var told losses
	var logged bytes.Buffer
	tells := dial(t, s.URL, client.DialOptions{OnLost: told.lost})
	logs := dial(t, s.URL, client.DialOptions{Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	for i := range 5 {
		wantError(t, tells.Cast(limit(t), sleeper.Address(), i), nil)
	}
	until(t, func() bool { return told.count() == 2 })
	for i, cast := range told.all {
		wantProblem(t, told.err[i], problem.Full, "")
		if cast.To != sleeper.Address() || cast.Body != 3+i {
			t.Errorf("lost %v to %v", cast.Body, cast.To)
		}
	}
	wantError(t, logs.Cast(limit(t), sleeper.Address(), "secret"), nil)
	wantError(t, logs.Close(limit(t)), nil) // after the answer
	if text := logged.String(); !strings.Contains(text, "casts were lost") || strings.Contains(text, "secret") || strings.Contains(text, sleeper.Address().String()) {
		t.Errorf("logged %s", text)
	}
}

// However many are lost, the log is told once a second.
func TestLostCastsAreLoggedNowAndThen(t *testing.T) {
	serve := func(s *uplinkScript, n int, u *upload) {
		for l, ok := u.next(); ok; l, ok = u.next() {
			u.answer(l.ID, `"type":"urn:gen-browser:full","status":429,"retryAfter":1`)
		}
	}
	var logged bytes.Buffer
	playUplink(t, client.DialOptions{Logger: slog.New(slog.NewTextHandler(&logged, nil))}, serve, func(s *uplinkScript) {
		cast := func(n int) {
			for range n {
				wantError(t, s.Cast(s.ctx, s.to, 1), nil)
			}
			synctest.Wait()
		}
		cast(5)
		<-time.After(time.Second)
		cast(3)
		if text := logged.String(); strings.Count(text, "\n") != 2 || !strings.Contains(text, "casts=1 ") || !strings.Contains(text, "casts=5 ") {
			t.Errorf("logged %s", text)
		}
	})
}

// A cast waits for room in the queue, and no longer than its context.
func TestCastWaitsForRoom(t *testing.T) {
	for name, o := range map[string]client.DialOptions{"messages": {Queue: 2}, "bytes": {QueueBytes: 250}} {
		t.Run(name, func(t *testing.T) {
			serve := func(s *uplinkScript, n int, u *upload) {
				for l, ok := u.next(); ok; l, ok = u.next() {
					s.note(n, l)
					<-s.gate
					u.answer(l.ID, accepted)
				}
			}
			playUplink(t, o, serve, func(s *uplinkScript) {
				wantError(t, s.Cast(s.ctx, s.to, 1), nil)
				wantError(t, s.Cast(s.ctx, s.to, 2), nil)
				hurried, cancel := context.WithTimeout(s.ctx, time.Second)
				defer cancel()
				if err := s.Cast(hurried, s.to, 3); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "not sent") {
					t.Errorf("without room, Cast = %v", err)
				}
				waits := make(chan error, 1)
				go func() { waits <- s.Cast(s.ctx, s.to, 4) }()
				synctest.Wait()
				select {
				case err := <-waits:
					t.Errorf("without room, Cast = %v", err)
				default:
				}
				s.gate <- true
				wantError(t, <-waits, nil)
				close(s.gate)
				synctest.Wait()
				s.wantCame("1 1", "1 2", "1 4")
			})
		})
	}
}

// Casts that wait for room when the peer ends fail; those that had it are lost.
func TestCastsOfAPeerThatEnds(t *testing.T) {
	var told losses
	serve := func(s *uplinkScript, n int, u *upload) {
		u.next()
		<-s.gate
		say(u, refuse(404, "", `{"type":"urn:gen-browser:not-found"}`))
	}
	playUplink(t, client.DialOptions{Queue: 1, OnLost: told.lost}, serve, func(s *uplinkScript) {
		wantError(t, s.Cast(s.ctx, s.to, 1), nil)
		waits := make(chan error, 1)
		go func() { waits <- s.Cast(s.ctx, s.to, 2) }()
		synctest.Wait()
		close(s.gate)
		wantError(t, <-waits, problem.NotFound)
		synctest.Wait()
		wantError(t, s.Cast(s.ctx, s.to, 3), problem.NotFound)
		if len(told.all) != 1 || told.all[0].Body != 1 || !errors.Is(told.err[0], problem.NotFound) {
			t.Errorf("lost %v: %v", told.all, told.err)
		}
	})
}

// Close has what was cast before go out.
func TestCloseSendsCasts(t *testing.T) {
	const n = 500
	s := start(t, siteOptions{})
	var told losses
	a, b := dial(t, s.URL, client.DialOptions{OnLost: told.lost}), dial(t, s.URL, client.DialOptions{})
	for i := range n {
		wantError(t, a.Cast(limit(t), b.Address(), i), nil)
	}
	wantError(t, a.Close(limit(t)), nil)
	wantError(t, a.Cast(limit(t), b.Address(), n), problem.Closed)
	for i := range n {
		if m := receive(t, b); string(m.Body) != fmt.Sprint(i) {
			t.Fatalf("message %d is %s", i, m.Body)
		}
	}
	if told.count() != 0 {
		t.Errorf("%d were lost", told.count())
	}
}

// That a connection broke while nothing had to be sent says nothing of the next one.
func TestCloseAfterAnIdleBreak(t *testing.T) {
	for name, before := range map[string]func(s *uplinkScript){
		"answered": func(s *uplinkScript) {
			wantError(t, s.Send(s.ctx, s.to, "before"), nil)
			s.gate <- true
		},
		"given up": func(s *uplinkScript) {
			ctx, cancel := context.WithCancel(s.ctx)
			sent := s.send(ctx, "before")[0]
			cancel()
			wantError(t, <-sent, client.ErrUnanswered)
			s.gate <- true
		},
	} {
		t.Run(name, func(t *testing.T) {
			serve := func(s *uplinkScript, n int, u *upload) {
				for l, ok := u.next(); ok; l, ok = u.next() {
					s.note(n, l)
					if n > 1 || name == "answered" {
						u.answer(l.ID, accepted)
					}
					if n == 1 {
						<-s.gate
						return
					}
				}
			}
			var told losses
			playUplink(t, client.DialOptions{OnLost: told.lost}, serve, func(s *uplinkScript) {
				before(s)
				<-time.After(time.Second) // by then the break is noticed
				wantError(t, s.Cast(s.ctx, s.to, "after"), nil)
				wantError(t, s.Close(s.ctx), nil)
				s.wantCame("1 before", "2 after")
				if told.count() != 0 {
					t.Errorf("lost %v: %v", told.all, told.err)
				}
			})
		})
	}
}

// Who closes again, as with a defer behind a signal's handler, does not cut off what goes out first.
func TestCloseTwice(t *testing.T) {
	for name, second := range map[string]func(*uplinkScript){
		"close": func(s *uplinkScript) { s.Close(s.ctx) },
		"leave": func(s *uplinkScript) { s.Leave(s.ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			var told losses
			serve := func(s *uplinkScript, _ int, u *upload) {
				for l, ok := u.next(); ok; l, ok = u.next() {
					<-time.After(100 * time.Millisecond)
					s.note(1, l)
					u.answer(l.ID, accepted)
				}
			}
			playUplink(t, client.DialOptions{OnLost: told.lost}, serve, func(s *uplinkScript) {
				for i := range 5 {
					wantError(t, s.Cast(s.ctx, s.to, i), nil)
				}
				first := make(chan error)
				go func() { first <- s.Close(s.ctx) }()
				synctest.Wait()
				second(s)
				wantError(t, <-first, nil)
				s.wantCame("1 0", "1 1", "1 2", "1 3", "1 4")
				if len(told.all) != 0 {
					t.Errorf("lost %v: %v", told.all, told.err)
				}
			})
		})
	}
}

// Close does not wait for a server that is not there, nor longer than it may.
func TestCloseOfWhatCannotBeSent(t *testing.T) {
	for name, test := range map[string]struct {
		serve func(s *uplinkScript, n int, u *upload)
		took  time.Duration
		want  error
	}{
		"broken":      {func(s *uplinkScript, n int, u *upload) { u.next() }, 250 * time.Millisecond, nil},
		"out of time": {func(s *uplinkScript, n int, u *upload) { u.next(); u.next() }, time.Second, context.DeadlineExceeded},
		"mute":        {func(s *uplinkScript, n int, u *upload) { u.next(); u.next() }, 8 * time.Second, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var told losses
			playUplink(t, client.DialOptions{OnLost: told.lost}, test.serve, func(s *uplinkScript) {
				wantError(t, s.Cast(s.ctx, s.to, 1), nil)
				ctx, cancel := s.ctx, context.CancelFunc(func() {})
				if test.want != nil {
					ctx, cancel = context.WithTimeout(ctx, test.took)
				}
				defer cancel()
				began := time.Now()
				wantError(t, s.Close(ctx), test.want)
				if took := time.Since(began); took != test.took {
					t.Errorf("Close took %v, want %v", took, test.took)
				}
				if len(told.all) != 1 || !errors.Is(told.err[0], problem.Closed) {
					t.Errorf("lost %v: %v", told.all, told.err)
				}
			})
		})
	}
}

// numbers is a service that keeps the numbers it is cast.
type numbers struct {
	service
	mu   sync.Mutex
	came []int
}

func (n *numbers) Cast(_ context.Context, m client.Message) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	var number int
	err := json.Unmarshal(m.Body, &number)
	n.came = append(n.came, number)
	return err
}

// Each cast comes once and in its order, or is told to be lost, however often the connection breaks.
func TestCastsUnderCuts(t *testing.T) {
	s := start(t, siteOptions{})
	p := newProxy(t, s.Listener.Addr().String())
	p.chop(8000)
	var told losses
	a := dial(t, p.url(), client.DialOptions{OnLost: told.lost, Options: client.Options{MaxPause: 20 * time.Millisecond}})
	b := dial(t, s.URL, client.DialOptions{})
	got := &numbers{}
	serve(t, b, got)
	n := 0
	for ; p.cut() < 100; n++ {
		wantError(t, a.Cast(limit(t), b.Address(), n), nil)
	}
	p.chop(0)
	came := func() int {
		got.mu.Lock()
		defer got.mu.Unlock()
		return len(got.came)
	}
	until(t, func() bool { return came()+told.count() >= n })
	for _, cast := range told.all {
		if at, twice := slices.BinarySearch(got.came, cast.Body.(int)); twice {
			t.Errorf("cast %d came, and was told to be lost", got.came[at])
		}
	}
	if !slices.IsSorted(got.came) || len(slices.Compact(slices.Clone(got.came))) != len(got.came) {
		t.Errorf("they did not come once each and in order: %v", got.came)
	}
	for i, err := range told.err {
		wantError(t, err, problem.Full)
		if i > 10 {
			break
		}
	}
	t.Logf("%d casts, %d lost; %d cuts", n, told.count(), p.cut())
}
