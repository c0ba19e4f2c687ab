package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/address"
)

// session is a service that lives as long as a client: it is linked with the client's mailbox, at its first message.
type session struct {
	linked   bool
	watching string
	informed chan string
	ended    chan Down
}

func (s *session) Call(c *Context, m Message) (any, error) {
	var err error
	switch string(m.Body) {
	case `"demonitor"`:
		return nil, c.Demonitor(m.Reply, s.watching)
	default:
		client, perr := address.Parse(string(m.Body[1 : len(m.Body)-1]))
		if perr != nil {
			return nil, perr
		}
		if s.linked {
			s.watching, err = c.Monitor(client)
			return s.watching, err
		}
		s.linked = true
		return c.Link(client)
	}
}

func (s *session) Cast(*Context, Message) error { return nil }

func (s *session) Terminate(why Down) { s.ended <- why }

// watchful is a session that is told of ends, and goes on.
type watchful struct{ session }

func (w *watchful) Info(_ *Context, m Message) error {
	w.informed <- fmt.Sprintf("%v %s", m.Kind, m.Body)
	return nil
}

func serveSession(t testing.TB, s *Server, name string, watches bool) (address.Address, *session) {
	t.Helper()
	probe := session{informed: make(chan string, 10), ended: make(chan Down, 1)}
	to, err := s.Serve(name, func() Service {
		if watches {
			return &watchful{probe}
		}
		own := probe
		return &own
	}, ProcessOptions{Restart: Temporary})
	if err != nil {
		t.Fatal(err)
	}
	return to, &probe
}

func expectOne[T any](t testing.TB, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(10 * time.Second):
		t.Fatalf("waited in vain for %s", what)
	}
	panic("not reached")
}

// TestProcessesWatch lets services on one node and on another watch mailboxes and each other.
func TestProcessesWatch(t *testing.T) {
	nodes := startNodes(t, 2, Options{})
	for name, two := range map[string]*testNode{"one node": nodes[0], "two nodes": nodes[1]} {
		t.Run(name, func(t *testing.T) {
			one := nodes[0]
			id := func(s string) string { return fmt.Sprintf("%s-%s", s, name[:3]) }
			m := farMailbox(t, two, one)

			// the client's end takes its session along
			mortal, probe := serveSession(t, one.Server, id("mortal"), false)
			if _, err := one.Call(ctx, mortal, m.Address); err != nil {
				t.Fatal(err)
			}
			// and is told to who monitors it
			watcher, told := serveSession(t, one.Server, id("watcher"), true)
			for range 2 { // a link, and a monitor
				if _, err := one.Call(ctx, watcher, m.Address); err != nil {
					t.Fatal(err)
				}
			}
			closeBox(t, one.Server, m)
			if why := expectOne(t, "the session's end", probe.ended); why.Reason != "closed" {
				t.Errorf("the session ended with %+v", why)
			}
			got := map[string]bool{expectOne(t, "an end", told.informed): true, expectOne(t, "an end", told.informed): true}
			if !got[`exited {"reason":"closed"}`] || !got[`down {"reason":"closed"}`] {
				t.Errorf("the watcher was told %v", got)
			}

			// processes that are linked end together, whichever ends first
			for _, first := range []bool{true, false} {
				a, pa := serveSession(t, one.Server, fmt.Sprint(id("a"), first), false)
				b, pb := serveSession(t, two.Server, fmt.Sprint(id("b"), first), false)
				await(t, 5*time.Second, "the other one's name is known", func() bool {
					_, err := one.Call(ctx, b, address.Address{})
					return !errors.Is(err, ErrGone)
				})
				if _, err := one.Call(ctx, a, b); err != nil {
					t.Fatal(err)
				}
				ending, on, other := a, one.Server, pb
				if first {
					ending, on, other = b, two.Server, pa
				}
				mayExit, err := one.keys.ProcessFor(string(grant(t, on, ending.String()).Name()), address.Exit)
				if err != nil {
					t.Fatal(err)
				}
				if err := two.Exit(ctx, mayExit, "why"); err != nil {
					t.Fatal(err)
				}
				if why := expectOne(t, "the other one's end", other.ended); why.Reason != "exit" {
					t.Errorf("the other one ended with %+v", why)
				}
			}
		})
	}
}

// looker watches what it is given from its beginning, and ends or fails as it is told.
type looker struct {
	at   []address.Address
	fail *atomic.Bool
}

func (l looker) Init(c *Context) error {
	for _, a := range l.at {
		if _, err := c.Monitor(a); err != nil {
			return err
		}
		if _, err := c.Link(a); err != nil {
			return err
		}
	}
	if l.fail.Load() {
		return errors.New("as it was told")
	}
	return nil
}

func (l looker) Call(c *Context, m Message) (any, error) {
	if string(m.Body) == `"crash"` {
		panic("as it was told")
	}
	if string(m.Body) == `"stop"` {
		c.Stop(Down{})
	}
	return len(c.watching), nil
}

func (looker) Cast(*Context, Message) error { return nil }
func (looker) Info(*Context, Message) error { return nil }

// TestWatchesEndWithTheirIncarnation holds that a service that is started again and again leaves nothing behind: what it
// watches is watched by the incarnation that lives, if one does.
func TestWatchesEndWithTheirIncarnation(t *testing.T) {
	nodes := startNodes(t, 2, Options{})
	for name, two := range map[string]*testNode{"one node": nodes[0], "two nodes": nodes[1]} {
		t.Run(name, func(t *testing.T) {
			one := nodes[0]
			id := func(s string) string { return fmt.Sprintf("%s-%s", s, name[:3]) }
			m, brief := farMailbox(t, two, one), farMailbox(t, two, one)
			other := handle(t, two.Server, id("other"), HandlerFunc(nothing))
			if two != one {
				awaitProcess(t, one, id("other"), 1)
			}
			seen := func() string {
				b, err := two.box(grant(t, two.Server, m.Key.Reveal()).Mailbox())
				if err != nil {
					t.Fatal(err)
				}
				b.mu.Lock()
				defer b.mu.Unlock()
				two.watchers.mu.Lock()
				defer two.watchers.mu.Unlock()
				return fmt.Sprint(len(b.mail.Watches()), len(two.watchers.byName[id("other")]))
			}
			fail := &atomic.Bool{}
			looks := func() Service { return looker{at: []address.Address{m.Address, other, brief.Address}, fail: fail} }
			to, err := one.Serve(id("looker"), looks, ProcessOptions{MaxRestarts: 100})
			if err != nil {
				t.Fatal(err)
			}
			for _, how := range []string{"stop", "crash", "stop"} {
				_, err := one.Call(ctx, to, how)
				if how == "crash" != errors.Is(err, ErrCallFailed) {
					t.Errorf("%s: %v", how, err)
				}
				await(t, 5*time.Second, "only the one that lives watches", func() bool { return seen() == "2 2" })
			}
			closeBox(t, two.Server, brief)
			await(t, 5*time.Second, "what told is not to be taken back", func() bool {
				n, err := one.Call(ctx, to, "how many")
				return err == nil && string(n) == "4"
			})
			one.Release(id("looker"))
			await(t, 5*time.Second, "nobody watches", func() bool { return seen() == "0 0" })

			fail.Store(true)
			if _, err := one.Serve(id("never"), looks, ProcessOptions{}); err == nil {
				t.Error("it started")
			}
			await(t, 5*time.Second, "what did not start does not watch", func() bool { return seen() == "0 0" })
			one.watchers.mu.Lock()
			defer one.watchers.mu.Unlock()
			if left := one.watchers.byName[id("never")]; len(left) > 0 {
				t.Errorf("what did not start is linked with %d", len(left))
			}
		})
	}
}

// TestWatchesAreTakenBack holds that what a service watches does not stay behind when the server is shut down, nor when only
// one end of a link could be linked.
func TestWatchesAreTakenBack(t *testing.T) {
	dir := t.TempDir()
	s := startDurable(t, dir, Options{})
	m := open(t, s.Server)
	looks := func() Service { return looker{at: []address.Address{m.Address}, fail: &atomic.Bool{}} }
	watches := func() int {
		b := mustBox(t, s.Server, m)
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.mail.Watches())
	}
	if _, err := s.Serve("looker", looks, ProcessOptions{}); err != nil {
		t.Fatal(err)
	}
	if n := watches(); n != 2 {
		t.Errorf("%d watches, want 2", n)
	}
	s.stop(t)
	s = startDurable(t, dir, Options{})
	if n := watches(); n != 0 {
		t.Errorf("after a restart %d watches, want none", n)
	}

	s.watchers.mu.Lock()
	s.watchers.count, s.watchers.swept, s.watchers.sweepAt = maxWatches, time.Now(), 2*maxWatches // no room
	s.watchers.mu.Unlock()
	if _, err := s.Serve("looker", looks, ProcessOptions{}); !errors.Is(err, ErrOverloaded) {
		t.Errorf("a link without room for its other end: %v, want %v", err, ErrOverloaded)
	}
	await(t, 5*time.Second, "nothing is left behind", func() bool { return watches() == 0 })
}

// TestNewNamesAreToldAtOnce holds that the others hear of a process, and of an exported name, with the next beat, or with
// the one after it if that was under way.
func TestNewNamesAreToldAtOnce(t *testing.T) {
	n := startNodes(t, 2, Options{})[0]
	beats := make(chan beat, 100)
	watch := func(_ string, data []byte) bool {
		var b beat
		if data[0] == isBeat && json.Unmarshal(data[1:], &b) == nil {
			beats <- b
		}
		return false
	}
	n.mesh.lose.Store(&watch)
	for i := range 8 {
		for len(beats) > 0 {
			<-beats
		}
		name := fmt.Sprint("new", i)
		told := func(b beat) []string { return b.Processes }
		if i%2 == 0 {
			handle(t, n.Server, name, HandlerFunc(func(context.Context, Message) error { return nil }))
		} else {
			told = func(b beat) []string { return b.Exported }
			if err := n.Export(name); err != nil {
				t.Fatal(err)
			}
		}
		if all := slices.Concat(told(expectOne(t, "a beat", beats)), told(expectOne(t, "another beat", beats))); !slices.Contains(all, name) {
			t.Errorf("two beats tell of %q, not of %s", all, name)
		}
	}
}
