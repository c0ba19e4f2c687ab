package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/client"
	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/server"
	"github.com/genbrowser/genbrowser/web/problem"
)

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

// panics is a reply or an error that can't be written.
type panics struct{}

func (panics) MarshalJSON() ([]byte, error) { panic("secret") }

func (panics) Error() string { panic("secret") }

func TestFailuresOfCalls(t *testing.T) {
	s := start(t, siteOptions{server: server.Options{Limits: mailbox.Limits{Body: 1000}}})
	a, b := dial(t, s.URL, client.DialOptions{}), dial(t, s.URL, client.DialOptions{})
	replies := map[string]func() (any, error){
		"error":   func() (any, error) { return nil, errors.New("no such order") },
		"kind":    func() (any, error) { return nil, fmt.Errorf("want a number: %w", problem.Refused) },
		"problem": func() (any, error) { return nil, &problem.Problem{Kind: problem.NotFound, Detail: "of ours"} },
		"panic":   func() (any, error) { panic("secret") },
		"func":    func() (any, error) { return func() {}, nil },
		"json":    func() (any, error) { return panics{}, nil },
		"no kind": func() (any, error) { return nil, &problem.Problem{Detail: "secret"} },
		"text":    func() (any, error) { return nil, panics{} },
		"long":    func() (any, error) { return strings.Repeat("x", 2000), nil },
		"longer":  func() (any, error) { return strings.Repeat("x", 100_000), nil }, // than a line may be
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
		"json":    {problem.CallFailed, "the handler panicked"},
		"no kind": {problem.CallFailed, "the handler panicked"},
		"text":    {problem.CallFailed, "the handler panicked"},
		"long":    {problem.CallFailed, "the reply is too large"},
		"longer":  {problem.CallFailed, "the reply is too large"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := call(t, a, b.Address(), name)
			wantProblem(t, err, want.kind, want.detail)
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the caller learns %v", err)
			}
		})
	}
	for _, length := range []int{2000, 100_000} {
		if _, err := call(t, a, b.Address(), strings.Repeat("x", length)); !errors.Is(err, problem.TooLarge) {
			t.Errorf("a call of %d bytes: %v", length, err)
		}
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
	a, b := dial(t, s.URL, client.DialOptions{CallTimeout: time.Second}), dial(t, s.URL, client.DialOptions{})
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

// A call may wait for longer than the server lets a message live.
func TestCallWithMuchTime(t *testing.T) {
	s := start(t, siteOptions{})
	a, b := dial(t, s.URL, client.DialOptions{}), dial(t, s.URL, client.DialOptions{})
	serve(t, b, service{})
	for _, deadline := range []time.Time{time.Now().AddDate(0, 0, 7), time.Now().AddDate(0, 0, 8), time.Now().AddDate(300, 0, 0)} {
		ctx, cancel := context.WithDeadline(context.Background(), deadline)
		context.AfterFunc(limit(t), cancel)
		wantError(t, a.Call(ctx, b.Address(), 1, nil), nil)
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
	s := start(t, siteOptions{server: server.Options{Limits: mailbox.Limits{Asleep: time.Second}}})
	a := dial(t, s.URL, client.DialOptions{})
	dead := open(t, connect(t, s.URL, client.Options{})) // nobody ever reads it
	_, err := call(t, a, dead.Address(), 1)
	wantProblem(t, err, problem.Expired, "")
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

// A call whose answer was lost is sent again. That it is refused then, since its callee ended, does not mean that it was
// not handled: what it said before comes, or else the refusal counts.
func TestCallToACalleeThatEndedMeanwhile(t *testing.T) {
	for want, waits := range map[*problem.Kind]bool{problem.Closed: true, problem.Expired: true, problem.Gone: true, problem.CapabilityExpired: true, problem.Full: false} {
		serve := func(s *uplinkScript, n int, u *upload) {
			l, ok := u.next()
			switch {
			case !ok || n == 1:
				return
			case l.Body == "handled":
				time.AfterFunc(3*time.Second, func() {
					say(s.stream, fmt.Sprintf("event: envelope\nid: 0000000e.1\ndata: {\"kind\":\"reply\",\"ref\":%q,\"body\":7}\n\n", l.Ref))
				})
			}
			u.answer(l.ID, fmt.Sprintf(`"type":%q,"status":%d`, want.Type(), want.Status))
			u.next()
		}
		for body, within := range map[string]time.Duration{"handled": time.Hour, "lost": time.Hour, "lost at last": 5 * time.Second} {
			playUplink(t, client.DialOptions{}, serve, func(s *uplinkScript) {
				ctx, cancel := context.WithTimeout(s.ctx, within)
				defer cancel()
				began, got := time.Now(), 0
				err := s.Call(ctx, s.to, body, &got)
				took := time.Since(began).Round(time.Second)
				switch {
				case waits && body == "handled":
					wantError(t, err, nil)
					if got != 7 {
						t.Errorf("%s: the reply is %d", want.Code, got)
					}
				case !errors.Is(err, want):
					t.Errorf("%s, %s: %v", want.Code, body, err)
				case !waits && took > time.Second, waits && (took < min(within, 10*time.Second) || took > min(within, 12*time.Second)):
					t.Errorf("%s, %s: it took %v", want.Code, body, took)
				}
			})
		}
	}
}
