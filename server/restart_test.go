package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// counting makes services that count, and panics when told to.
func counting(n *notes) func() Service {
	return func() Service {
		count := 0
		return scripted{
			init: func(*Context) error { n.add("init"); return nil },
			call: func(*Context, Message) (any, error) { return count, nil },
			cast: func(ctx *Context, m Message) error {
				count++
				switch string(m.Body) {
				case `"panic"`:
					panic("oh")
				case `"stop"`:
					ctx.Stop(Down{})
				}
				return nil
			},
			terminate: func(reason Down) { n.add("terminated %v", reason.Reason) },
		}
	}
}

func TestRestart(t *testing.T) {
	for _, test := range []struct {
		restart   Restart
		end       string
		restarted bool
	}{
		{Permanent, "panic", true}, {Permanent, "stop", true},
		{Transient, "panic", true}, {Transient, "stop", false},
		{Temporary, "panic", false}, {Temporary, "stop", false},
	} {
		t.Run(fmt.Sprint(test.restart, test.end), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, Options{})
				var n notes
				a, err := s.Serve("p", counting(&n), ProcessOptions{Restart: test.restart})
				if err != nil {
					t.Fatal(err)
				}
				down := watch(t, s, a)
				mustPost(t, s, a, "1", "2")
				if got, err := s.Call(ctx, a, 0); string(got) != "2" || err != nil {
					t.Errorf("Call = %s, %v; want 2", got, err)
				}
				n.take()
				mustPost(t, s, a, `"`+test.end+`"`)
				reason := map[string]string{"panic": "crashed", "stop": "normal"}[test.end]
				if got := down(); !strings.Contains(got, `"reason":"`+reason+`"`) {
					t.Errorf("down %s, want %s", got, reason)
				}
				want := "terminated " + reason
				if test.restarted {
					want += ", init"
				}
				if got := n.take(); got != want {
					t.Errorf("it did %q, want %q", got, want)
				}
				got, err := s.Call(ctx, a, 0)
				if test.restarted && (string(got) != "0" || err != nil) {
					t.Errorf("Call of the next incarnation = %s, %v; want 0, for the state is new", got, err)
				}
				if !test.restarted && !errors.Is(err, ErrGone) {
					t.Errorf("Call = %s, %v; want ErrGone", got, err)
				}
				shutDown(t, s)
			})
		})
	}
}

// What waits when a process crashes is handled by the next incarnation, in its order; the message that it crashed on is
// not handled again.
func TestQueueSurvivesACrash(t *testing.T) {
	s := newServer(t, Options{})
	var n notes
	hold := make(chan struct{})
	incarnation := 0
	a, err := s.Serve("p", func() Service {
		incarnation++
		i := incarnation
		return scripted{cast: func(ctx *Context, m Message) error {
			<-hold
			n.add("%d: %s", i, m.Body)
			if string(m.Body) == "2" {
				panic("oh")
			}
			return nil
		}}
	}, ProcessOptions{})
	if err != nil {
		t.Fatal(err)
	}
	mustPost(t, s, a, "1", "2", "3")
	close(hold)
	mustPost(t, s, a, "4")
	shutDown(t, s)
	if got, want := n.take(), "1: 1, 1: 2, 2: 3, 2: 4"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	expectStats(t, s, 0, 0)
}

// A process is restarted as often as it may within the window, and not once more.
func TestRestartIntensity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logged
		s := newServer(t, Options{Logger: log.logger()})
		var n notes
		a, err := s.Serve("p", counting(&n), ProcessOptions{MaxRestarts: 2, Window: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		for range 10 { // two in a second are borne for ever
			mustPost(t, s, a, `"panic"`)
			time.Sleep(500 * time.Millisecond)
		}
		if got := strings.Count(n.take(), "init"); got != 11 {
			t.Errorf("%d incarnations, want 11", got)
		}
		time.Sleep(time.Second)
		mustPost(t, s, a, `"panic"`, `"panic"`, `"panic"`)
		synctest.Wait()
		if err := post(s, a, "1"); !errors.Is(err, ErrGone) {
			t.Errorf("Post = %v, want ErrGone", err)
		}
		if !strings.Contains(log.String(), "process given up") {
			t.Errorf("the log does not say that the process was given up: %s", log.String())
		}
		if _, err := s.Serve("p", counting(&n), ProcessOptions{}); err != nil {
			t.Errorf("Serve of the free name = %v", err)
		}
		shutDown(t, s)
	})
}

// Calls that wait for a process that is given up fail at once.
func TestGivenUpWithAQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Options{})
		hold := make(chan struct{})
		a := serve(t, s, "p", scripted{call: func(*Context, Message) (any, error) { <-hold; panic("oh") }}, ProcessOptions{MaxRestarts: 1})
		called := make(chan error, 5)
		for range cap(called) {
			go func() {
				_, err := s.Call(ctx, a, 1)
				called <- err
			}()
		}
		synctest.Wait()
		close(hold)
		for range cap(called) {
			if err := <-called; !errors.Is(err, ErrCallFailed) {
				t.Errorf("Call = %v, want ErrCallFailed", err)
			}
		}
		shutDown(t, s)
		expectStats(t, s, 0, 0)
	})
}

// The first Init's failure is Serve's error; a later one's counts as a restart.
func TestInit(t *testing.T) {
	for _, how := range []string{"error", "panic", "new panics"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, Options{})
				var inits atomic.Int64
				broken := true
				service := func() Service {
					inits.Add(1)
					if broken && how == "new panics" {
						panic("oh")
					}
					return scripted{
						init: func(*Context) error {
							if broken && how == "panic" {
								panic("oh")
							}
							if broken {
								return errors.New("oh")
							}
							return nil
						},
						cast: func(*Context, Message) error { broken = true; panic("oh") },
					}
				}
				if _, err := s.Serve("p", service, ProcessOptions{}); err == nil || !strings.Contains(err.Error(), "oh") {
					t.Errorf("Serve = %v, want the reason", err)
				}
				if got := inits.Swap(0); got != 1 {
					t.Errorf("%d tries to start, want 1", got)
				}
				broken = false
				a, err := s.Serve("p", service, ProcessOptions{})
				if err != nil {
					t.Fatalf("Serve of the free name = %v", err)
				}
				mustPost(t, s, a, "1")
				synctest.Wait()
				if got := inits.Load(); got != 4 {
					t.Errorf("%d incarnations, want the first and 3 restarts", got)
				}
				if err := post(s, a, "1"); !errors.Is(err, ErrGone) {
					t.Errorf("Post = %v, want ErrGone", err)
				}
				shutDown(t, s)
			})
		})
	}
}

// Release and Shutdown have a service handle what waits, and then terminate, once.
func TestServiceEnds(t *testing.T) {
	for _, how := range []string{"release", "shutdown"} {
		t.Run(how, func(t *testing.T) {
			s := newServer(t, Options{})
			var n notes
			hold := make(chan struct{})
			a := serve(t, s, "p", scripted{
				cast:      func(_ *Context, m Message) error { <-hold; n.add("%s", m.Body); return nil },
				terminate: func(d Down) { n.add("terminated %s", d.Reason) },
			}, ProcessOptions{})
			idle := serve(t, s, "idle", scripted{terminate: func(d Down) { n.add("idle too") }}, ProcessOptions{})
			mustPost(t, s, a, "1", "2")
			if how == "release" {
				s.Release("p")
				s.Release("p")
				if err := post(s, a, "3"); !errors.Is(err, ErrGone) {
					t.Errorf("Post = %v, want ErrGone", err)
				}
			}
			close(hold)
			shutDown(t, s)
			shutDown(t, s)
			got := n.take()
			if !strings.HasPrefix(got, "1, 2, ") || strings.Count(got, "idle too") != 1 || strings.Count(got, "terminated") != 1 {
				t.Errorf("it did %q", got)
			}
			if err := post(s, idle, "1"); !errors.Is(err, ErrShuttingDown) {
				t.Errorf("Post after Shutdown = %v", err)
			}
			if _, err := s.Serve("q", func() Service { return scripted{} }, ProcessOptions{}); !errors.Is(err, ErrShuttingDown) {
				t.Errorf("Serve after Shutdown = %v", err)
			}
			expectStats(t, s, 0, 0)
		})
	}
}

// A service that hangs does not keep the others from terminating when the shutdown's time is over.
func TestShutdownCutsHangingServices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Options{})
		var n notes
		a := serve(t, s, "hangs", scripted{
			cast:      func(ctx *Context, _ Message) error { <-ctx.Done(); n.add("cut"); return nil },
			terminate: func(Down) { n.add("hung terminated") },
		}, ProcessOptions{})
		serve(t, s, "idle", scripted{terminate: func(Down) { n.add("idle terminated") }}, ProcessOptions{})
		mustPost(t, s, a, "1")
		end, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if err := s.Shutdown(end); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown = %v, want the deadline", err)
		}
		synctest.Wait()
		did := strings.Split(n.take(), ", ") // the two in any order: they end beside each other
		cut, hung := slices.Index(did, "cut"), slices.Index(did, "hung terminated")
		if len(did) != 3 || cut < 0 || hung < cut || !slices.Contains(did, "idle terminated") {
			t.Errorf("they did %q", did)
		}
		shutDown(t, s)
	})
}

func TestProcessOptions(t *testing.T) {
	s := newServer(t, Options{})
	service := func() Service { return scripted{} }
	for _, o := range []ProcessOptions{{MaxRestarts: -1}, {Window: -1}, {Queue: -1}, {Restart: 3}} {
		if _, err := s.Serve("p", service, o); err == nil {
			t.Errorf("Serve with %+v = nil error", o)
		}
	}
	if _, err := s.Serve("not a name", service, ProcessOptions{}); err == nil {
		t.Error("Serve of a bad name = nil error")
	}
	a, err := s.Serve("p", service, ProcessOptions{Validate: func(m *Message) error {
		if string(m.Body) == `"panic"` {
			panic("oh")
		}
		if string(m.Body) != "1" {
			return errors.New("want 1")
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Serve("p", service, ProcessOptions{}); !errors.Is(err, ErrNameTaken) {
		t.Errorf("second Serve = %v, want ErrNameTaken", err)
	}
	mustPost(t, s, a, "1")
	if err := post(s, a, "2"); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "want 1") {
		t.Errorf("Post of what is not valid = %v, want ErrRefused", err)
	}
	if err := post(s, a, `"panic"`); !errors.Is(err, ErrRefused) {
		t.Errorf("Post where validation panics = %v, want ErrRefused", err)
	}
	if _, err := s.Call(ctx, a, 2); !errors.Is(err, ErrRefused) {
		t.Errorf("Call of what is not valid = %v, want ErrRefused", err)
	}
}
