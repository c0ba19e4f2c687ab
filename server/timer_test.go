package server

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestContinue(t *testing.T) {
	s := newServer(t, Options{})
	var n notes
	hold := make(chan struct{})
	a := serve(t, s, "p", scripted{
		init: func(ctx *Context) error {
			ctx.Continue(func(ctx *Context) error {
				n.add("begun")
				ctx.Continue(func(*Context) error { n.add("and more"); return errors.New("logged") })
				return nil
			})
			n.add("init")
			return nil
		},
		cast: func(ctx *Context, m Message) error {
			<-hold
			n.add("%s", m.Body)
			ctx.Continue(func(*Context) error { n.add("after %s", m.Body); return nil })
			return nil
		},
	}, ProcessOptions{})
	mustPost(t, s, a, "1", "2")
	close(hold)
	shutDown(t, s)
	if got, want := n.take(), "init, begun, and more, 1, after 1, 2, after 2"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A timer comes as Info; one that was stopped does not, even when it fired before.
func TestTimers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Options{})
		var n notes
		begun := time.Now()
		a := serve(t, s, "p", scripted{
			init: func(ctx *Context) error {
				ctx.After(time.Second, "tick")
				stopped := ctx.After(time.Second, "stopped")
				if !stopped.Stop() || stopped.Stop() {
					t.Error("Stop does not say what it did")
				}
				return nil
			},
			info: func(ctx *Context, m Message) error {
				value, ok := m.Timer()
				n.add("%v %v after %v", value, ok, time.Since(begun))
				if value == "tick" {
					ctx.After(time.Second, "tock")
				}
				return nil
			},
			cast: func(ctx *Context, m Message) error {
				if _, ok := m.Timer(); ok {
					t.Error("a cast is no timer")
				}
				late := ctx.After(time.Second, "fired while busy")
				time.Sleep(2 * time.Second)
				if !late.Stop() {
					t.Error("Stop = false: the message did not come yet")
				}
				return nil
			},
		}, ProcessOptions{})
		time.Sleep(10 * time.Second)
		mustPost(t, s, a, "1")
		time.Sleep(10 * time.Second)
		if got, want := n.take(), "tick true after 1s, tock true after 2s"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		shutDown(t, s)
	})
}

// A process's timers end with it, also when another incarnation takes its place.
func TestTimersEndWithTheProcess(t *testing.T) {
	for _, end := range []string{"panic", "stop", "release", "shutdown"} {
		t.Run(end, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, Options{})
				var n notes
				var old *Context
				a := serve(t, s, "p", scripted{
					cast: func(ctx *Context, m Message) error {
						old = ctx
						ctx.After(time.Second, "never")
						if end == "release" || end == "shutdown" {
							return nil
						}
						ctx.After(0, "fired while busy") // its message is in the queue when the process ends
						time.Sleep(time.Millisecond)
						if end == "panic" {
							panic("oh")
						}
						ctx.Stop(Down{})
						return nil
					},
					info: func(_ *Context, m Message) error {
						value, _ := m.Timer()
						n.add("%v", value)
						return nil
					},
				}, ProcessOptions{})
				mustPost(t, s, a, "1")
				time.Sleep(500 * time.Millisecond)
				synctest.Wait()
				switch end {
				case "release":
					s.Release("p")
				case "shutdown":
					shutDown(t, s)
				}
				time.Sleep(10 * time.Second)
				old.After(time.Second, "set by a goroutine that outlived it")
				time.Sleep(10 * time.Second)
				if got := n.take(); got != "" {
					t.Errorf("timers came: %s", got)
				}
				if old.Err() == nil {
					t.Error("the context has not ended")
				}
				shutDown(t, s)
			})
		})
	}
}
