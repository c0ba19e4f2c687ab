package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
)

func TestHandleAndRelease(t *testing.T) {
	s := newServer(t, Options{})
	got := newReceived()
	a := handle(t, s, "p", got)
	if _, err := s.Handle("p", got); !errors.Is(err, ErrNameTaken) {
		t.Errorf("second Handle = %v, want ErrNameTaken", err)
	}
	if _, err := s.Handle("not a name", got); err == nil {
		t.Error("Handle of a bad name = nil error")
	}
	mustPost(t, s, a, "1", "2")
	got.wait(t, 2)
	s.Release("p")
	s.Release("p")
	if err := post(s, a, "3"); !errors.Is(err, ErrGone) {
		t.Errorf("Post after Release = %v, want ErrGone", err)
	}
	handle(t, s, "p", got) // the name is free again, and the address the same
	mustPost(t, s, a, "4")
	if all := got.wait(t, 3); !slices.Equal(all, []string{"1", "2", "4"}) {
		t.Errorf("got %v", all)
	}
}

// Messages that wait when their process is released are still handled.
func TestReleaseKeepsTheQueue(t *testing.T) {
	s := newServer(t, Options{})
	got, hold := newReceived(), make(chan struct{})
	a := handle(t, s, "p", HandlerFunc(func(ctx context.Context, m Message) error {
		<-hold
		return got.Handle(ctx, m)
	}))
	mustPost(t, s, a, "1", "2", "3")
	s.Release("p")
	close(hold)
	if all := got.wait(t, 3); !slices.Equal(all, []string{"1", "2", "3"}) {
		t.Errorf("got %v", all)
	}
}

// A sender that waits for room in the queue of a process that is released is told that it is gone.
func TestReleaseWhileASenderWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Options{Queue: 1})
		got, hold := newReceived(), make(chan struct{})
		a := handle(t, s, "p", HandlerFunc(func(ctx context.Context, m Message) error {
			<-hold
			return got.Handle(ctx, m)
		}))
		mustPost(t, s, a, "1")
		sent := make(chan error, 1)
		go func() { sent <- s.Send(ctx, a, 2) }()
		synctest.Wait()
		s.Release("p")
		close(hold)
		if err := <-sent; !errors.Is(err, ErrGone) {
			t.Errorf("Send = %v, want ErrGone", err)
		}
		shutDown(t, s)
		expectStats(t, s, 0, 0)
	})
}

func TestMetaReachesTheProcess(t *testing.T) {
	s := newServer(t, Options{})
	m := open(t, s)
	got := make(chan Message, 1)
	a := handle(t, s, "p", HandlerFunc(func(_ context.Context, m Message) error { got <- m; return nil }))
	a, err := a.Attenuate(address.Label("x"), address.Label("y"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Post(a.String(), &Letter{Body: []byte("[1,\n2]"), Meta: mailbox.Meta{Kind: mailbox.KindCall, Ref: "7", Reply: m.Address.String()}})
	if err != nil {
		t.Fatal(err)
	}
	msg := <-got
	if string(msg.Body) != "[1, 2]" || msg.Kind != mailbox.KindCall || msg.Ref != "7" || msg.Reply != m.Address || !slices.Equal(msg.Via, []string{"x", "y"}) {
		t.Errorf("got %+v", msg)
	}
}

type greeting struct{ Name string }

func (g *greeting) Validate() error {
	switch g.Name {
	case "panic":
		panic("validator")
	case "":
		return errors.New("name is missing")
	}
	return nil
}

func TestTyped(t *testing.T) {
	var log logged
	s := newServer(t, Options{Logger: log.logger()})
	got := make(chan string, 10)
	a := handle(t, s, "p", Typed(func(_ context.Context, g greeting, m Message) error {
		got <- g.Name
		return nil
	}))
	for body, want := range map[string]string{
		`{"Name":"a"}`:     "",
		`{"Name":1}`:       "cannot unmarshal",
		`{}`:               "name is missing",
		`{"Name":"panic"}`: "validation failed",
		`"text"`:           "cannot unmarshal",
	} {
		err := post(s, a, body)
		if want == "" {
			if err != nil {
				t.Errorf("Post(%s) = %v", body, err)
			}
		} else if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), want) {
			t.Errorf("Post(%s) = %v, want ErrRefused with %q", body, err, want)
		}
	}
	if name := <-got; name != "a" {
		t.Errorf("got %q", name)
	}
	if !strings.Contains(log.String(), "validator panicked") {
		t.Errorf("the log has no panic of the validator: %s", log.String())
	}
	any := handle(t, s, "any", Typed(func(_ context.Context, v any, _ Message) error {
		got <- fmt.Sprint(v)
		return nil
	}))
	mustPost(t, s, any, "null", "[1]")
	if a, b := <-got, <-got; a != "<nil>" || b != "[1]" {
		t.Errorf("got %q, %q", a, b)
	}
}

func TestPanicHurtsNobodyElse(t *testing.T) {
	var log logged
	s := newServer(t, Options{Logger: log.logger()})
	got := newReceived()
	a := handle(t, s, "p", HandlerFunc(func(ctx context.Context, m Message) error {
		switch string(m.Body) {
		case "2":
			panic("oh")
		case "3":
			return errors.New("failed on 3")
		}
		return got.Handle(ctx, m)
	}))
	mustPost(t, s, a, "1", "2", "3", "4")
	if all := got.wait(t, 2); !slices.Equal(all, []string{"1", "4"}) {
		t.Errorf("got %v", all)
	}
	for _, want := range []string{"handler panicked", "reason=oh", "failed on 3"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q: %s", want, log.String())
		}
	}
}

func TestOrderPerSender(t *testing.T) {
	s := newServer(t, Options{Queue: 16})
	got := newReceived()
	a := handle(t, s, "p", got)
	const senders, each = 8, 200
	var wg sync.WaitGroup
	for i := range senders {
		wg.Go(func() {
			for j := range each {
				if err := s.Send(ctx, a, []int{i, j}); err != nil {
					t.Errorf("Send = %v", err)
				}
			}
		})
	}
	wg.Wait()
	next := make([]int, senders)
	for _, body := range got.wait(t, senders*each) {
		var i, j int
		fmt.Sscanf(body, "[%d,%d]", &i, &j)
		if next[i] != j {
			t.Fatalf("sender %d: got %d, want %d", i, j, next[i])
		}
		next[i]++
	}
}

func TestQueue(t *testing.T) {
	s := newServer(t, Options{Queue: 2})
	hold, started := make(chan struct{}), make(chan struct{}, 10)
	got := newReceived()
	a := handle(t, s, "p", HandlerFunc(func(ctx context.Context, m Message) error {
		started <- struct{}{}
		<-hold
		return got.Handle(ctx, m)
	}))
	mustPost(t, s, a, "1", "2") // one of them is being handled, and counts until it is done
	<-started
	if err := post(s, a, "3"); !errors.Is(err, ErrFull) {
		t.Errorf("Post to a full queue = %v, want ErrFull", err)
	}
	short, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	if err := s.Send(short, a, 3); !errors.Is(err, ErrFull) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Send until a deadline = %v, want ErrFull and the deadline", err)
	}
	sent := make(chan error)
	go func() { sent <- s.Send(ctx, a, 4) }() // waits for room
	close(hold)
	if err := <-sent; err != nil {
		t.Errorf("Send that waits = %v", err)
	}
	if all := got.wait(t, 3); !slices.Equal(all, []string{"1", "2", "4"}) {
		t.Errorf("got %v", all)
	}
}

func TestSendFromGo(t *testing.T) {
	s := newServer(t, Options{})
	m := open(t, s)
	a, err := address.Parse(m.Address.String()) // its text alone
	if err != nil {
		t.Fatal(err)
	}
	sub, r := subscribe(t, s, m, Subscribing{})
	if err := s.Send(ctx, a, map[string]any{"from": []address.Address{a}}); err != nil {
		t.Fatal(err)
	}
	<-r.woken
	expectRead(t, sub, `{"from":["`+a.String()+`"]}`)
	if err := s.Send(ctx, a, make(chan int)); err == nil {
		t.Error("Send of a channel = nil error")
	}
	if err := s.Send(ctx, address.Address{}, 1); !errors.Is(err, address.ErrMalformed) {
		t.Errorf("Send to the zero address = %v, want ErrMalformed", err)
	}
	other := newServer(t, Options{Keys: otherRing(t)})
	if err := other.Send(ctx, a, 1); !errors.Is(err, address.ErrInvalid) {
		t.Errorf("Send on another server = %v, want ErrInvalid", err)
	}
}

func otherRing(t testing.TB) *address.Ring {
	t.Helper()
	ring, err := address.NewRing([]byte(address.NewSecret()))
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// Two processes that answer each other with full queues go on: within a handler a full queue is an error.
func TestFullQueuesDoNotDeadlock(t *testing.T) {
	s := newServer(t, Options{Queue: 1})
	var addrs [2]address.Address
	var mu sync.Mutex
	full, handled := 0, 0
	var done sync.WaitGroup
	for i := range addrs {
		addrs[i] = handle(t, s, fmt.Sprint("p", i), HandlerFunc(func(ctx context.Context, m Message) error {
			defer done.Done()
			err := s.Send(ctx, addrs[i], 0) // itself: always full
			mu.Lock()
			defer mu.Unlock()
			handled++
			if errors.Is(err, ErrFull) {
				full++
			}
			return nil
		}))
	}
	for range 50 {
		for _, a := range addrs {
			done.Add(1)
			if err := s.Send(ctx, a, 1); err != nil {
				t.Fatal(err)
			}
		}
	}
	done.Wait()
	if full != 100 || handled != 100 {
		t.Errorf("%d full of %d handled, want 100 of 100", full, handled)
	}
}

func TestLogger(t *testing.T) {
	var log logged
	s := newServer(t, Options{Logger: log.logger()})
	a := handle(t, s, "logger", s.Logger())
	m := open(t, s)
	sub, r := subscribe(t, s, m, Subscribing{})
	if err := s.Send(ctx, a, map[string]any{"type": "ping", "from": m.Address, "id": 7}); err != nil {
		t.Fatal(err)
	}
	<-r.woken
	expectRead(t, sub, `{"type":"pong","id":7}`)
	if err := s.Send(ctx, a, map[string]any{"type": "log", "message": []string{"hi"}}); err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{`{"type":"log"}`, `{"type":"ping"}`, `{"type":"x"}`, `{"type":"ping","from":"x"}`, `1`} {
		if err := post(s, a, body); !errors.Is(err, ErrRefused) {
			t.Errorf("Post(%s) = %v, want ErrRefused", body, err)
		}
	}
	shutDown(t, s)
	if got := log.String(); !strings.Contains(got, `message="[\"hi\"]"`) {
		t.Errorf("log = %s", got)
	}
}

func TestRegistry(t *testing.T) {
	s := newServer(t, Options{Queue: 100})
	a := handle(t, s, "registry", s.Registry())
	m := open(t, s)
	sub, r := subscribe(t, s, m, Subscribing{})
	ask := func(body any) {
		t.Helper()
		if err := s.Send(ctx, a, body); err != nil {
			t.Fatal(err)
		}
	}
	lookup := func(name, want string) {
		t.Helper()
		ask(map[string]any{"type": "lookup", "name": name, "from": m.Address})
		<-r.woken
		expectRead(t, sub, want)
	}
	lookup("n", `{"type":"notFound","name":"n"}`)
	ask(map[string]any{"type": "register", "name": "n", "address": a})
	lookup("n", `{"type":"found","name":"n","address":"`+a.String()+`"}`)
	ask(map[string]any{"type": "register", "name": "n", "address": m.Address}) // replaces
	lookup("n", `{"type":"found","name":"n","address":"`+m.Address.String()+`"}`)

	// the one that was registered last longest ago makes room
	for i := range registryNames - 1 {
		ask(map[string]any{"type": "register", "name": fmt.Sprint(i), "address": a})
	}
	ask(map[string]any{"type": "register", "name": "n", "address": a})
	ask(map[string]any{"type": "register", "name": "one more", "address": a})
	lookup("n", `{"type":"found","name":"n","address":"`+a.String()+`"}`)
	lookup("0", `{"type":"notFound","name":"0"}`)
	lookup("1", `{"type":"found","name":"1","address":"`+a.String()+`"}`)

	for _, body := range []string{
		`{"type":"register","name":"x"}`, `{"type":"lookup","name":"x"}`, `{"type":"x","name":"x"}`,
		`{"type":"register","name":"","address":"` + a.String() + `"}`,
		`{"type":"register","name":"` + strings.Repeat("x", 257) + `","address":"` + a.String() + `"}`,
	} {
		if err := post(s, a, body); !errors.Is(err, ErrRefused) {
			t.Errorf("Post(%s) = %v, want ErrRefused", body, err)
		}
	}
}

func TestShutdownFinishesQueues(t *testing.T) {
	s := newServer(t, Options{})
	m := open(t, s)
	sub, r := subscribe(t, s, m, Subscribing{})
	hold := make(chan struct{})
	second := handle(t, s, "second", HandlerFunc(func(ctx context.Context, msg Message) error {
		return s.Send(ctx, m.Address, msg.Body)
	}))
	first := handle(t, s, "first", HandlerFunc(func(ctx context.Context, msg Message) error {
		<-hold
		return s.Send(ctx, second, msg.Body) // handlers may send until the end
	}))
	mustPost(t, s, first, "1", "2", "3")
	ended := make(chan error)
	go func() { ended <- s.Shutdown(ctx) }()
	for !s.ShuttingDown() {
		<-time.After(time.Millisecond)
	}
	if err := post(s, first, "4"); !errors.Is(err, ErrShuttingDown) {
		t.Errorf("Post = %v, want ErrShuttingDown", err)
	}
	if err := s.Send(ctx, m.Address, 4); !errors.Is(err, ErrShuttingDown) {
		t.Errorf("Send = %v, want ErrShuttingDown", err)
	}
	if _, err := s.Open(nil); !errors.Is(err, ErrShuttingDown) {
		t.Errorf("Open = %v, want ErrShuttingDown", err)
	}
	close(hold)
	if err := <-ended; err != nil {
		t.Errorf("Shutdown = %v", err)
	}
	if err := <-r.ended; !errors.Is(err, ErrShuttingDown) {
		t.Errorf("End(%v), want ErrShuttingDown", err)
	}
	expectRead(t, sub, "1 2 3")
	if _, err := s.Subscribe(grant(t, s, m.Key.Reveal()), Subscribing{}, newReader()); !errors.Is(err, ErrShuttingDown) {
		t.Errorf("Subscribe = %v, want ErrShuttingDown", err)
	}
	shutDown(t, s) // again does no harm
}

func TestShutdownCutsHangingHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Options{Queue: 1})
		m := open(t, s)
		_, r := subscribe(t, s, m, Subscribing{})
		release := make(chan struct{})
		a := handle(t, s, "p", HandlerFunc(func(ctx context.Context, _ Message) error {
			<-ctx.Done()
			<-release // hangs on even then
			return ctx.Err()
		}))
		mustPost(t, s, a, "1")
		waiting := make(chan error, 1)
		go func() { waiting <- s.Send(ctx, a, 2) }() // for room that will not come
		synctest.Wait()
		end, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		begun := time.Now()
		if err := s.Shutdown(end); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown = %v, want the deadline", err)
		}
		if took := time.Since(begun); took != time.Second {
			t.Errorf("Shutdown took %v, want 1s", took)
		}
		if err := <-r.ended; !errors.Is(err, ErrShuttingDown) {
			t.Errorf("End(%v), want ErrShuttingDown", err)
		}
		if err := <-waiting; !errors.Is(err, ErrShuttingDown) {
			t.Errorf("Send that waited = %v, want ErrShuttingDown", err)
		}
		close(release)
		synctest.Wait()
		if err := s.Shutdown(ctx); err != nil { // nothing runs any more
			t.Errorf("second Shutdown = %v", err)
		}
	})
}

// A message that was on its way when the last process fell quiet is told that the server ends, not that the
// process is gone, which its sender would take for an answer for ever.
func TestLateMessageIsToldOfTheShutdown(t *testing.T) {
	s := newServer(t, Options{})
	a := handle(t, s, "p", newReceived())
	shutDown(t, s)
	_, err := s.deliver(fromOutside, grant(t, s, a.String()), &Letter{Body: []byte("1")})
	if !errors.Is(err, ErrShuttingDown) {
		t.Errorf("deliver = %v, want ErrShuttingDown", err)
	}
}

// A handler answers a call, and fails it with an error or a panic, which is no second answer.
func TestHandlerAnswersCalls(t *testing.T) {
	s := newServer(t, Options{})
	a := handle(t, s, "p", HandlerFunc(func(ctx context.Context, m Message) error {
		switch string(m.Body) {
		case `"error"`:
			return errors.New("no such thing")
		case `"refuse"`:
			return fmt.Errorf("%w: not today", ErrRefused)
		case `"panic"`:
			panic("oh")
		case `"answer and panic"`:
			defer panic("oh")
		case `"later"`:
			go m.Answer(ctx, "yes")
			return nil
		case `"twice"`:
			if err := m.Answer(ctx, "yes"); err != nil {
				t.Errorf("Answer = %v", err)
			}
			if err := m.Answer(ctx, "no"); !errors.Is(err, ErrReplied) {
				t.Errorf("second Answer = %v, want ErrReplied", err)
			}
			return errors.New("after all")
		}
		return m.Answer(ctx, "yes")
	}))
	for body, want := range map[string]error{
		"": nil, "later": nil, "twice": nil, "answer and panic": nil,
		"error": ErrCallFailed, "panic": ErrCallFailed, "refuse": ErrRefused,
	} {
		got, err := s.Call(ctx, a, body)
		if !errors.Is(err, want) || want == nil && string(got) != `"yes"` {
			t.Errorf("Call(%q) = %s, %v; want %v", body, got, err, want)
		}
	}
}

// watch has a mailbox be told when the process ends, and returns what it is told.
func watch(t *testing.T, s *Server, to address.Address) func() string {
	t.Helper()
	m := open(t, s)
	sub, _ := subscribe(t, s, m, Subscribing{})
	refs := 0
	monitor := func() {
		refs++
		ref := fmt.Sprint("watch", refs)
		reply, err := m.Key.Address(address.Only(address.Send), address.Reply(ref))
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Post(to.String(), &Letter{Body: []byte("null"), Meta: mailbox.Meta{Kind: mailbox.KindMonitor, Ref: ref, Reply: reply.String()}})
		if err != nil {
			t.Errorf("monitor = %v", err)
		}
	}
	monitor()
	return func() string {
		synctest.Wait()
		down := read(sub)
		if down != "" && !s.ShuttingDown() {
			monitor()
		}
		return down
	}
}

// Those who watch a process are told how it ends: of each panic, and of its end.
func TestHandlerDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Options{})
		a := handle(t, s, "p", HandlerFunc(func(_ context.Context, m Message) error {
			if string(m.Body) == "1" {
				panic("oh")
			}
			return errors.New("is logged only")
		}))
		down := watch(t, s, a)
		mustPost(t, s, a, "2")
		if got := down(); got != "" {
			t.Errorf("after an error: %s", got)
		}
		mustPost(t, s, a, "1")
		if got, want := down(), `{"reason":"crashed","detail":"oh"}`; got != want {
			t.Errorf("after a panic: %s, want %s", got, want)
		}
		s.Release("p")
		if got, want := down(), `{"reason":"normal"}`; got != want {
			t.Errorf("after Release: %s, want %s", got, want)
		}
		if got, want := down(), `{"reason":"gone"}`; got != want {
			t.Errorf("a process that is gone: %s, want %s", got, want)
		}
		shutDown(t, s)
	})
}

// An exit comes before what waits, which is dropped; the name is free then.
func TestExitProcess(t *testing.T) {
	for _, kind := range []string{"handler", "service"} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, Options{})
				hold := make(chan struct{})
				var n notes
				do := func(m Message) error { <-hold; n.add("%s", m.Body); return nil }
				a := mustStart(t, s, kind, do, func(d Down) { n.add("terminated %v", d) })
				down := watch(t, s, a)
				mustPost(t, s, a, "1", "2", "3")
				called := make(chan error)
				go func() {
					_, err := s.Call(ctx, a, 4)
					called <- err
				}()
				synctest.Wait()
				if !s.exitProcess("p", Down{Reason: "exit", Detail: "why"}) || s.exitProcess("q", Down{}) {
					t.Error("exitProcess does not say what it did")
				}
				close(hold)
				if err := <-called; !errors.Is(err, ErrGone) {
					t.Errorf("Call = %v, want ErrGone", err)
				}
				if got, want := down(), `{"reason":"exit","detail":"why"}`; got != want {
					t.Errorf("down %s, want %s", got, want)
				}
				want := "1"
				if kind == "service" {
					want = "1, terminated {exit why}"
				}
				if got := n.take(); got != want {
					t.Errorf("it did %q, want %q", got, want)
				}
				if err := post(s, a, "5"); !errors.Is(err, ErrGone) {
					t.Errorf("Post = %v, want ErrGone", err)
				}
				mustStart(t, s, kind, do, func(Down) {})
				shutDown(t, s)
			})
		})
	}
}

// mustStart makes a process p of either kind.
func mustStart(t *testing.T, s *Server, kind string, do func(m Message) error, end func(Down)) address.Address {
	t.Helper()
	if kind == "handler" {
		return handle(t, s, "p", HandlerFunc(func(_ context.Context, m Message) error { return do(m) }))
	}
	return serve(t, s, "p", scripted{cast: func(_ *Context, m Message) error { return do(m) }, terminate: end}, ProcessOptions{})
}

// A service's context ends when somebody ends it from outside, so that what hangs on it does not keep it.
func TestExitCutsAHangingService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Options{})
		a := serve(t, s, "p", scripted{cast: func(ctx *Context, _ Message) error { <-ctx.Done(); return ctx.Err() }}, ProcessOptions{})
		mustPost(t, s, a, "1")
		synctest.Wait()
		s.exitProcess("p", Down{Reason: "exit"})
		shutDown(t, s)
	})
}

// TestRepeatedToAProcess holds that a process gets what comes twice under one idempotency key once.
func TestRepeatedToAProcess(t *testing.T) {
	s := newServer(t, Options{})
	got := newReceived()
	to := handle(t, s, "p", got)
	for _, l := range []Letter{{Body: []byte("1"), Name: "a"}, {Body: []byte("2"), Name: "a"}, {Body: []byte("3"), Name: "b"}, {Body: []byte("4")}, {Body: []byte("4")}} {
		if _, err := s.Post(to.String(), &l); err != nil {
			t.Fatal(err)
		}
	}
	if all := got.wait(t, 4); !slices.Equal(all, []string{"1", "3", "4", "4"}) {
		t.Errorf("the process got %q", all)
	}
	if err := s.Shutdown(ctx); err != nil || len(got.wait(t, 4)) != 4 {
		t.Errorf("%v; the process got more", err)
	}
}
