package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/client"
	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/server"
	"github.com/genbrowser/genbrowser/web"
	"github.com/genbrowser/genbrowser/web/problem"
)

// dial returns a peer that is closed when the test ends.
func dial(t testing.TB, endpoint string, o client.DialOptions) *client.Peer {
	t.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	p, err := client.Dial(limit(t), endpoint, o)
	if err != nil {
		t.Fatalf("Dial = %v", err)
	}
	t.Cleanup(func() { p.Close(limit(t)) })
	return p
}

// service is a [client.Service] of two functions; one that is nil answers, or takes, anything.
type service struct {
	call func(ctx context.Context, m client.Message) (any, error)
	cast func(ctx context.Context, m client.Message) error
}

func (s service) Call(ctx context.Context, m client.Message) (any, error) {
	if s.call == nil {
		return m.Body, nil
	}
	return s.call(ctx, m)
}

func (s service) Cast(ctx context.Context, m client.Message) error {
	if s.cast == nil {
		return nil
	}
	return s.cast(ctx, m)
}

// serve has a peer serve until the test ends, and returns what Serve returned then or before.
func serve(t testing.TB, p *client.Peer, s client.Service) <-chan error {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	var wait sync.WaitGroup
	wait.Go(func() { ended <- p.Serve(ctx, s) })
	t.Cleanup(func() { cancel(); wait.Wait() })
	return ended
}

// statuses tells of each status that a peer gets.
func statuses() (chan client.Status, func(client.Status)) {
	c := make(chan client.Status, 1000)
	return c, func(s client.Status) { c <- s }
}

func await[T comparable](t testing.TB, c <-chan T, want T) {
	t.Helper()
	for ctx := limit(t); ; {
		select {
		case got := <-c:
			if got == want {
				return
			}
		case <-ctx.Done():
			t.Fatalf("no %v came", want)
		}
	}
}

func call(t testing.TB, p *client.Peer, to address.Address, body any) (string, error) {
	t.Helper()
	var result json.RawMessage
	err := p.Call(limit(t), to, body, &result)
	return string(result), err
}

func wantCall(t testing.TB, p *client.Peer, to address.Address, body any, want string) {
	t.Helper()
	if got, err := call(t, p, to, body); got != want || err != nil {
		t.Errorf("Call(%v) = %s, %v, want %s", body, got, err, want)
	}
}

// wantProblem expects a problem of that kind, and that its text has detail in it.
func wantProblem(t testing.TB, err error, kind *problem.Kind, detail string) {
	t.Helper()
	var p *problem.Problem
	if !errors.As(err, &p) || p.Kind != kind || !strings.Contains(err.Error(), detail) {
		t.Errorf("got %v, want %s with %q", err, kind.Code, detail)
	}
}

func receive(t testing.TB, p *client.Peer) client.Message {
	t.Helper()
	m, err := p.Receive(limit(t))
	if err != nil {
		t.Fatalf("Receive = %v", err)
	}
	return m
}

func TestPeerCallsBothWays(t *testing.T) {
	for name, o := range map[string]siteOptions{"HTTP/1.1": {}, "HTTP/2": {http2: true}} {
		t.Run(name, func(t *testing.T) {
			s := start(t, o)
			do := client.DialOptions{Options: client.Options{HTTP: s.Client()}}
			a, b := dial(t, s.URL, do), dial(t, s.URL, do)
			serve(t, a, service{call: func(_ context.Context, m client.Message) (any, error) { return "a of " + string(m.Body), nil }})
			serve(t, b, service{call: func(ctx context.Context, m client.Message) (any, error) { // calls back within
				var back string
				err := b.Call(ctx, a.Address(), m.Body, &back)
				return "b of " + back, err
			}})
			wantCall(t, a, b.Address(), 1, `"b of a of 1"`)
			wantCall(t, b, a.Address(), nil, `"a of null"`)
			if err := a.Call(limit(t), b.Address(), 1, nil); err != nil {
				t.Errorf("Call for no result = %v", err)
			}
			var number int
			if err := a.Call(limit(t), b.Address(), 1, &number); err == nil || !strings.Contains(err.Error(), "does not fit *int") {
				t.Errorf("Call for a number = %v", err)
			}
		})
	}
}

// TestCallFunc has a function serve: it answers calls, and is given casts, too.
func TestCallFunc(t *testing.T) {
	s := start(t, siteOptions{})
	a, b := dial(t, s.URL, client.DialOptions{}), dial(t, s.URL, client.DialOptions{})
	came := make(chan string, 10)
	serve(t, b, client.CallFunc(func(_ context.Context, m client.Message) (any, error) {
		came <- string(m.Body)
		if string(m.Body) == `"bad"` {
			return nil, problem.Refused
		}
		return len(m.Body), nil
	}))
	if err := a.Cast(limit(t), b.Address(), "cast"); err != nil {
		t.Fatal(err)
	}
	await(t, came, `"cast"`)
	if n, err := client.CallAs[int](limit(t), a, b.Address(), "four"); n != 6 || err != nil {
		t.Errorf("CallAs = %d, %v", n, err)
	}
	_, err := client.CallAs[int](limit(t), a, b.Address(), "bad")
	wantProblem(t, err, problem.Refused, "")
	if _, err := client.CallAs[bool](limit(t), a, b.Address(), "four"); err == nil {
		t.Error("a number is taken for a bool")
	}
}

// Both calls are there before either is answered.
func TestACallOvertakesAnother(t *testing.T) {
	s := start(t, siteOptions{})
	a, b := dial(t, s.URL, client.DialOptions{}), dial(t, s.URL, client.DialOptions{})
	serve(t, b, service{call: func(ctx context.Context, m client.Message) (any, error) {
		var ms int
		if err := json.Unmarshal(m.Body, &ms); err != nil {
			return nil, err
		}
		select {
		case <-time.After(time.Duration(ms) * time.Millisecond):
		case <-ctx.Done():
		}
		return ms, nil
	}})
	order := make(chan int, 2)
	var calls sync.WaitGroup
	for _, ms := range []int{500, 200} {
		calls.Go(func() {
			wantCall(t, a, b.Address(), ms, fmt.Sprint(ms))
			order <- ms
		})
	}
	calls.Wait()
	if first := <-order; first != 200 {
		t.Errorf("%d ms came first", first)
	}
}

func TestFailuresOfCalls(t *testing.T) {
	s := start(t, siteOptions{server: server.Options{Limits: mailbox.Limits{Body: 1000}}})
	a, b := dial(t, s.URL, client.DialOptions{}), dial(t, s.URL, client.DialOptions{})
	replies := map[string]func() (any, error){
		"error":   func() (any, error) { return nil, errors.New("no such order") },
		"kind":    func() (any, error) { return nil, fmt.Errorf("want a number: %w", problem.Refused) },
		"problem": func() (any, error) { return nil, &problem.Problem{Kind: problem.NotFound, Detail: "of ours"} },
		"panic":   func() (any, error) { panic("secret") },
		"func":    func() (any, error) { return func() {}, nil },
		"long":    func() (any, error) { return strings.Repeat("x", 2000), nil },
	}
	serve(t, b, service{call: func(_ context.Context, m client.Message) (any, error) {
		var name string
		if err := json.Unmarshal(m.Body, &name); err != nil {
			return nil, err
		}
		return replies[name]()
	}})
	for name, want := range map[string]struct {
		kind   *problem.Kind
		detail string
	}{
		"error":   {problem.CallFailed, "no such order"},
		"kind":    {problem.Refused, "want a number"},
		"problem": {problem.NotFound, "of ours"},
		"panic":   {problem.CallFailed, "the handler panicked"},
		"func":    {problem.CallFailed, "can't be marshalled"},
		"long":    {problem.CallFailed, "the reply is too large"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := call(t, a, b.Address(), name)
			wantProblem(t, err, want.kind, want.detail)
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the caller learns %v", err)
			}
		})
	}
	if _, err := call(t, a, b.Address(), strings.Repeat("x", 2000)); !errors.Is(err, problem.TooLarge) {
		t.Errorf("a long call: %v", err)
	}
	if err := a.Call(limit(t), b.Address(), func() {}, nil); err == nil || !strings.Contains(err.Error(), "json") {
		t.Errorf("a call that can't be marshalled: %v", err)
	}
	sendOnly, err := b.Address().Attenuate(address.Only(address.Send))
	if err != nil {
		t.Fatal(err)
	}
	_, err = call(t, a, sendOnly, 1)
	wantProblem(t, err, problem.MissingRight, "call")
}

func TestCallTimeout(t *testing.T) {
	s := start(t, siteOptions{})
	a, b := dial(t, s.URL, client.DialOptions{CallTimeout: 50 * time.Millisecond}), dial(t, s.URL, client.DialOptions{})
	err := a.Call(context.Background(), b.Address(), 1, nil)
	wantProblem(t, err, problem.CallTimeout, "accepted, and not answered")

	ctx, cancel := context.WithCancel(limit(t))
	cancelled := make(chan error, 1)
	go func() { cancelled <- a.Call(ctx, b.Address(), 2, nil) }()
	late, last := receive(t, b), receive(t, b)
	cancel()
	wantError(t, <-cancelled, context.Canceled)

	// replies that nobody waits for are dropped, and do no harm
	for _, m := range []client.Message{late, last, last} {
		if err := b.Reply(limit(t), m, "late"); err != nil && !errors.Is(err, problem.CapabilityExpired) {
			t.Errorf("Reply = %v", err)
		}
	}
	serve(t, b, service{})
	if err := a.Call(limit(t), b.Address(), 3, nil); err != nil {
		t.Error(err)
	}
}

func TestReplyByHand(t *testing.T) {
	s := start(t, siteOptions{})
	a, b := dial(t, s.URL, client.DialOptions{}), dial(t, s.URL, client.DialOptions{})
	result := make(chan error, 1)
	ask := func() { result <- a.Call(limit(t), b.Address(), 1, nil) }

	go ask()
	m := receive(t, b)
	if m.Kind != "call" || string(m.Body) != "1" {
		t.Errorf("got %+v", m)
	}
	for range 2 { // that it is answered already is no error
		wantError(t, b.Reply(limit(t), m, 1), nil)
	}
	wantError(t, b.Fail(limit(t), m, errors.New("x")), nil)
	wantError(t, <-result, nil)

	go ask()
	wantError(t, b.Fail(limit(t), receive(t, b), problem.Refused), nil)
	wantProblem(t, <-result, problem.Refused, "")

	if err := a.Send(limit(t), b.Address(), "plain"); err != nil {
		t.Fatal(err)
	}
	if err := b.Reply(limit(t), receive(t, b), 1); err == nil || !strings.Contains(err.Error(), "only a message of kind call") {
		t.Errorf("Reply to a message = %v", err)
	}
}

// A callee that dies while it has the call: the caller learns it at once, not when its time is over.
func TestCalleeEnds(t *testing.T) {
	s := start(t, siteOptions{})
	a, b := dial(t, s.URL, client.DialOptions{}), dial(t, s.URL, client.DialOptions{})
	result := make(chan error, 1)
	ctx, cancel := context.WithTimeout(limit(t), 20*time.Second)
	defer cancel()
	began := time.Now()
	go func() { result <- a.Call(ctx, b.Address(), 1, nil) }()
	receive(t, b)
	if err := b.Close(limit(t)); err != nil {
		t.Fatal(err)
	}
	wantProblem(t, <-result, problem.Closed, "")
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	_, err := call(t, a, b.Address(), 1)
	wantProblem(t, err, problem.Closed, "")
	wantError(t, a.Send(limit(t), b.Address(), 1), problem.Closed)
}

// A callee whose program was killed never closes its mailbox, which expires.
func TestCalleeIsKilled(t *testing.T) {
	s := start(t, siteOptions{server: server.Options{Limits: mailbox.Limits{Asleep: 100 * time.Millisecond}}})
	a := dial(t, s.URL, client.DialOptions{})
	dead := open(t, connect(t, s.URL, client.Options{})) // nobody ever reads it
	_, err := call(t, a, dead.Address(), 1)
	wantProblem(t, err, problem.Expired, "")
}

func TestCastsKeepTheirOrder(t *testing.T) {
	s := start(t, siteOptions{})
	a, b := dial(t, s.URL, client.DialOptions{}), dial(t, s.URL, client.DialOptions{})
	got := make(chan string, 100)
	serve(t, b, service{
		cast: func(_ context.Context, m client.Message) error {
			got <- string(m.Body)
			if string(m.Body) == "1" {
				panic("one cast's fault")
			}
			return errors.New("is logged")
		},
		call: func(context.Context, client.Message) (any, error) { return len(got), nil },
	})
	proxy := a.Proxy(b.Address())
	for n := range 100 {
		if err := proxy.Cast(limit(t), n); err != nil {
			t.Fatal(err)
		}
	}
	var handled int
	if err := proxy.Call(limit(t), nil, &handled); err != nil || handled != 100 {
		t.Errorf("the call after 100 casts finds %d handled, %v", handled, err)
	}
	for n := range 100 {
		if m := <-got; m != fmt.Sprint(n) {
			t.Fatalf("cast %d is %s", n, m)
		}
	}
	if proxy.Address() != b.Address() {
		t.Error("a proxy has another address")
	}
}

func TestPeerReceives(t *testing.T) {
	s := start(t, siteOptions{})
	a, b := dial(t, s.URL, client.DialOptions{}), dial(t, s.URL, client.DialOptions{})
	labelled, err := b.Address().Attenuate(address.Label("from a"))
	if err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		if err := a.Send(limit(t), labelled, n); err != nil {
			t.Fatal(err)
		}
	}
	if m := receive(t, b); string(m.Body) != "0" || len(m.Via) != 1 || m.Kind != "message" {
		t.Errorf("got %+v", m)
	}
	for m, err := range b.Messages(limit(t)) {
		if err != nil || string(m.Body) != "1" {
			t.Errorf("got %s, %v", m.Body, err)
		}
		break
	}
	ctx, cancel := context.WithCancel(limit(t))
	err = b.Handle(ctx, func(_ context.Context, m client.Message) {
		if string(m.Body) != "2" {
			t.Errorf("got %s", m.Body)
		}
		cancel()
	})
	wantError(t, err, context.Canceled)
	if _, err := b.Receive(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Receive = %v", err)
	}
}

// A reply must not wait behind messages that the program does not take.
func TestRepliesPassWhatIsNotTaken(t *testing.T) {
	s := start(t, siteOptions{server: server.Options{Limits: mailbox.Limits{Backlog: 100}}})
	a, b := dial(t, s.URL, client.DialOptions{}), dial(t, s.URL, client.DialOptions{})
	serve(t, b, service{})
	for n := range 50 {
		if err := b.Send(limit(t), a.Address(), n); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 20 {
		wantCall(t, a, b.Address(), n, fmt.Sprint(n))
	}
	for n := range 50 {
		if m := receive(t, a); string(m.Body) != fmt.Sprint(n) {
			t.Fatalf("message %d is %s", n, m.Body)
		}
	}
	for n := range 300 { // what was taken makes room
		wantCall(t, a, b.Address(), n, fmt.Sprint(n))
	}
}

// What is not taken counts: the sender is refused, nothing is lost, and memory is bounded.
func TestAPeerThatTakesNothingIsFull(t *testing.T) {
	s := start(t, siteOptions{server: server.Options{Limits: mailbox.Limits{Backlog: 20}}})
	a, b := dial(t, s.URL, client.DialOptions{}), dial(t, s.URL, client.DialOptions{})
	sent := 0
	for ; ; sent++ {
		if err := a.Send(limit(t), b.Address(), sent); errors.Is(err, problem.Full) {
			break
		} else if err != nil || sent > 20 {
			t.Fatalf("message %d: %v", sent, err)
		}
	}
	for n := range sent {
		if m := receive(t, b); string(m.Body) != fmt.Sprint(n) {
			t.Fatalf("message %d is %s", n, m.Body)
		}
	}
	for errors.Is(a.Send(limit(t), b.Address(), "more"), problem.Full) { // the acknowledgement is on its way
	}
	if m := receive(t, b); string(m.Body) != `"more"` {
		t.Errorf("got %s", m.Body)
	}
}

func TestDialRefuses(t *testing.T) {
	s := start(t, siteOptions{})
	for _, o := range []client.DialOptions{{CallTimeout: -1}, {Queue: -1}, {QueueBytes: -1}, {Calls: -1}, {Options: client.Options{MaxPause: -1}}} {
		if _, err := client.Dial(limit(t), s.URL, o); err == nil {
			t.Errorf("Dial with %+v", o)
		}
	}
	if _, err := client.Dial(limit(t), s.URL, client.DialOptions{Options: client.Options{Prefix: "/elsewhere"}}); !errors.Is(err, problem.NotFound) {
		t.Errorf("Dial elsewhere = %v", err)
	}
}

func TestCloseEndsEverything(t *testing.T) {
	s := start(t, siteOptions{})
	changes, onStatus := statuses()
	a, b := dial(t, s.URL, client.DialOptions{OnStatus: onStatus}), dial(t, s.URL, client.DialOptions{})
	await(t, changes, client.Open)
	m, err := a.Monitor(limit(t), b.Address())
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 2)
	go func() { ended <- a.Call(limit(t), b.Address(), 1, nil) }()
	receive(t, b)
	go func() {
		_, err := m.Wait(limit(t))
		ended <- err
	}()
	served := serve(t, a, service{})
	if err := a.Close(limit(t)); err != nil {
		t.Fatalf("Close = %v", err)
	}
	for range 2 {
		wantProblem(t, <-ended, problem.Closed, "by its own program")
	}
	wantError(t, <-served, nil)
	await(t, changes, client.Closed)
	if _, ok := <-m.C(); ok {
		t.Error("a Down came of what lives")
	}
	for what, do := range map[string]func() error{
		"send":    func() error { return a.Send(limit(t), b.Address(), 1) },
		"call":    func() error { return a.Call(limit(t), b.Address(), 1, nil) },
		"link":    func() error { return a.Link(limit(t), b.Address()) },
		"exit":    func() error { return a.Exit(limit(t), b.Address(), "") },
		"monitor": func() error { _, err := a.Monitor(limit(t), b.Address()); return err },
		"receive": func() error { _, err := a.Receive(limit(t)); return err },
	} {
		t.Run(what, func(t *testing.T) { wantProblem(t, do(), problem.Closed, "by its own program") })
	}
	for range a.Messages(limit(t)) {
		t.Error("a closed peer yields something")
	}
	wantError(t, a.Close(limit(t)), nil)
	wantError(t, b.Send(limit(t), a.Address(), 1), problem.Closed)
	if a.Status() != client.Closed || a.Status().String() != "closed" {
		t.Errorf("status is %v", a.Status())
	}
}

// The peer's own mailbox ends.
func TestPeerWhoseMailboxEnds(t *testing.T) {
	s := start(t, siteOptions{})
	a, b := dial(t, s.URL, client.DialOptions{}), dial(t, s.URL, client.DialOptions{})
	waits := make(chan error, 1)
	go func() { waits <- a.Call(limit(t), b.Address(), 1, nil) }()
	receive(t, b)
	served := serve(t, a, service{})
	req, err := http.NewRequest(http.MethodDelete, s.URL+"/_gb/mailbox", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+a.Key().Reveal())
	resp, err := s.Client().Do(req)
	if err != nil || resp.StatusCode != http.StatusNoContent {
		t.Fatal(resp, err)
	}
	<-a.Done()
	wantError(t, a.Err(), problem.Closed)
	wantError(t, <-waits, problem.Closed)
	wantError(t, <-served, problem.Closed)
	wantError(t, a.Send(limit(t), b.Address(), 1), problem.Closed)
	wantError(t, a.Close(limit(t)), nil)
}

// A peer's connections are its own, and gone when it is closed.
func TestPeerByOtherWays(t *testing.T) {
	s := start(t, siteOptions{})
	path := filepath.Join(t.TempDir(), "gb.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	unix := &http.Server{Handler: s.gb}
	var wait sync.WaitGroup
	wait.Go(func() { unix.Serve(l) })
	t.Cleanup(func() { unix.Close(); wait.Wait() })
	b := dial(t, s.URL, client.DialOptions{})
	serve(t, b, service{})
	wantCall(t, b, b.Address(), 1, "1") // now all of its own runs
	loopback := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	for name, do := range map[string]func() (*client.Peer, error){
		"unix": func() (*client.Peer, error) {
			return client.Dial(limit(t), "unix://"+path, client.DialOptions{})
		},
		"discovered": func() (*client.Peer, error) {
			return client.Dial(limit(t), s.URL, client.DialOptions{Options: client.Options{AllowPlain: loopback}})
		},
		"a client's": func() (*client.Peer, error) {
			return connect(t, s.URL, client.Options{}).Peer(limit(t), client.DialOptions{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			a, err := do()
			if err != nil {
				t.Fatal(err)
			}
			wantCall(t, a, b.Address(), 1, "1")
			wantError(t, a.Close(limit(t)), nil)
			if name != "a client's" {
				goleak.VerifyNone(t, before)
			}
		})
	}
}

// Calls run side by side, but not more than that many.
func TestCallsAreBounded(t *testing.T) {
	s := start(t, siteOptions{})
	a, b := dial(t, s.URL, client.DialOptions{}), dial(t, s.URL, client.DialOptions{Calls: 2})
	var running atomic.Int64
	began, gate := make(chan int64, 6), make(chan bool)
	serve(t, b, service{call: func(context.Context, client.Message) (any, error) {
		began <- running.Add(1)
		<-gate
		running.Add(-1)
		return nil, nil
	}})
	var calls sync.WaitGroup
	for range 6 {
		calls.Go(func() { wantCall(t, a, b.Address(), 1, "null") })
	}
	most := max(<-began, <-began)
	close(gate)
	calls.Wait()
	for range 4 {
		most = max(most, <-began)
	}
	if most != 2 {
		t.Errorf("%d ran at a time, want 2", most)
	}
}

// TestSendBatch holds that a batch arrives in order, and tells which of its messages were not accepted.
func TestSendBatch(t *testing.T) {
	s := start(t, siteOptions{})
	a, b := dial(t, s.URL, client.DialOptions{}), dial(t, s.URL, client.DialOptions{})
	closed := dial(t, s.URL, client.DialOptions{})
	gone := closed.Address()
	if err := closed.Close(limit(t)); err != nil {
		t.Fatal(err)
	}
	var batch []client.Outgoing
	for n := range 600 { // more than may be unanswered
		batch = append(batch, client.Outgoing{To: b.Address(), Body: n})
	}
	wantError(t, a.SendBatch(limit(t), batch), nil)
	wantError(t, a.SendBatch(limit(t), nil), nil)
	mixed := []client.Outgoing{{To: b.Address(), Body: 600}, {To: gone, Body: 1}, {To: b.Address(), Body: make(chan int)}, {To: b.Address(), Body: 601}}
	err := a.SendBatch(limit(t), mixed)
	var failed *client.BatchError
	if !errors.As(err, &failed) || len(failed.Errors) != 4 || failed.Errors[0] != nil || failed.Errors[3] != nil || failed.Errors[2] == nil {
		t.Fatalf("SendBatch = %v", err)
	}
	wantProblem(t, failed.Errors[1], problem.Closed, "")
	if !errors.Is(err, problem.Closed) || !strings.Contains(err.Error(), "2 of 4") || !strings.Contains(err.Error(), "message 1:") {
		t.Errorf("the error is %v", err)
	}
	for n := range 602 {
		m, err := b.Receive(limit(t))
		if err != nil || string(m.Body) != fmt.Sprint(n) {
			t.Fatalf("message %d is %s, %v", n, m.Body, err)
		}
	}
}

// TestName holds that a peer connects to the server that has the name it wants, and to no other.
func TestName(t *testing.T) {
	s := start(t, siteOptions{web: web.Options{Name: "shop"}})
	for name, want := range map[string]error{"": nil, "shop": nil, "Shop": client.ErrOtherServer, "bank": client.ErrOtherServer} {
		p, err := client.Dial(limit(t), s.URL, client.DialOptions{Options: client.Options{Name: name}})
		if !errors.Is(err, want) {
			t.Errorf("Dial to shop, wanting %q: %v, want %v", name, err, want)
		}
		if err == nil {
			wantError(t, p.Close(limit(t)), nil)
		} else if !strings.Contains(err.Error(), `"shop"`) || !strings.Contains(err.Error(), name) {
			t.Errorf("the refusal is %v", err)
		}
		if _, err := client.Discover(limit(t), s.URL, client.Options{Name: name, AllowPlain: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}); !errors.Is(err, want) {
			t.Errorf("Discover of shop, wanting %q: %v, want %v", name, err, want)
		}
	}
}

// TestDisconnected holds that a peer whose stream an operator ends comes back when it is told to, and else ends.
func TestDisconnected(t *testing.T) {
	s := start(t, siteOptions{})
	changes, onStatus := statuses()
	p := dial(t, s.URL, client.DialOptions{OnStatus: onStatus})
	await(t, changes, client.Open)
	key, err := address.Inspect(p.Key().Reveal())
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, s.office.Disconnect(key.Mailbox, time.Millisecond), nil)
	await(t, changes, client.Reconnecting)
	await(t, changes, client.Open)
	wantError(t, s.office.Disconnect(key.Mailbox, 0), nil)
	await(t, changes, client.Closed)
	wantError(t, p.Err(), problem.Disconnected)
}
