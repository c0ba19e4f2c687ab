package client_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/genbrowser/genbrowser/client"
	"github.com/genbrowser/genbrowser/web/problem"
)

// hasRead returns once what was sent to a peer before waits in its memory: the reply comes behind it.
func hasRead(t testing.TB, p, echo *client.Peer) {
	t.Helper()
	wantCall(t, p, echo.Address(), 0, "0")
}

// TestServeThatIsCancelled holds that no call is lost when a program ends: what it began with is answered, what it took
// fails, and everything else is the next program's.
func TestServeThatIsCancelled(t *testing.T) {
	const calls = 20
	s := start(t, siteOptions{})
	other, echo := dial(t, s.URL, client.DialOptions{}), dial(t, s.URL, client.DialOptions{})
	serve(t, echo, service{})
	old := dial(t, s.URL, client.DialOptions{Calls: 1})
	results := make(chan string, calls)
	for n := range calls {
		go func() {
			got, err := call(t, other, old.Address(), 1)
			if errors.Is(err, problem.Unavailable) {
				got = "unavailable"
			} else if err != nil {
				t.Errorf("call %d: %v", n, err)
			}
			results <- got
		}()
	}
	until(t, func() bool { return s.office.Stats().Bytes == calls })
	hasRead(t, old, echo)
	ctx, cancel := context.WithCancel(limit(t))
	finish, served := make(chan bool), make(chan error, 1)
	go func() {
		served <- old.Serve(ctx, service{call: func(context.Context, client.Message) (any, error) {
			<-finish
			return "old", nil
		}})
	}()
	until(t, func() bool { return strings.HasSuffix(old.State().Cursor, ".2") }) // the second waits for room
	cancel()
	await(t, results, "unavailable")
	close(finish)
	await(t, results, `"old"`)
	wantError(t, <-served, context.Canceled)
	state, err := old.Leave(limit(t))
	wantError(t, err, nil)
	serve(t, resume(t, s, state, client.DialOptions{}), service{call: func(context.Context, client.Message) (any, error) { return "new", nil }})
	for range calls - 2 {
		if got := <-results; got != `"new"` {
			t.Errorf("a call that was not taken gets %s", got)
		}
	}
}

// TestMessagesThatAreCancelled holds that nothing is taken once the context ended, but by Receive, which gives what is there.
func TestMessagesThatAreCancelled(t *testing.T) {
	s := start(t, siteOptions{})
	other, p := dial(t, s.URL, client.DialOptions{}), dial(t, s.URL, client.DialOptions{})
	serve(t, other, service{})
	mustSend(t, other, p.Address(), 1, 2, 3, 4)
	hasRead(t, p, other)
	ctx, cancel := context.WithCancel(limit(t))
	var got []string
	wantError(t, p.Handle(ctx, func(_ context.Context, m client.Message) {
		got = append(got, string(m.Body))
		cancel()
	}), context.Canceled)
	for m, err := range p.Messages(ctx) {
		got = append(got, fmt.Sprint(string(m.Body), err))
	}
	if want := []string{"1", context.Canceled.Error()}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, want := range []string{"2", "3", "4"} {
		if m, err := p.Receive(ctx); err != nil || string(m.Body) != want {
			t.Errorf("Receive = %s, %v, want %s", m.Body, err, want)
		}
	}
}

// TestServeEndsWithTheFirstExit holds that what comes after the end of a link is not handled.
func TestServeEndsWithTheFirstExit(t *testing.T) {
	s := start(t, siteOptions{})
	p, echo := dial(t, s.URL, client.DialOptions{}), dial(t, s.URL, client.DialOptions{})
	serve(t, echo, service{})
	for range 2 {
		linked := dial(t, s.URL, client.DialOptions{})
		wantError(t, p.Link(limit(t), linked.Address()), nil)
		wantError(t, linked.Close(limit(t)), nil)
	}
	until(t, func() bool { return s.office.Stats().Bytes == int64(2*len(`{"reason":"closed"}`)) })
	mustSend(t, echo, p.Address(), "after")
	hasRead(t, p, echo)
	var exit *client.ExitError
	err := p.Serve(limit(t), service{cast: func(_ context.Context, m client.Message) error {
		t.Errorf("%s was handled", m.Body)
		return nil
	}})
	if !errors.As(err, &exit) {
		t.Errorf("Serve = %v", err)
	}
	wantExited(t, receive(t, p), "closed")
	wantReceived(t, p, `"after"`)
}

// TestHandlersFinishAfterServe holds that the reply of a handler that runs when Serve is to end reaches its caller.
func TestHandlersFinishAfterServe(t *testing.T) {
	s := start(t, siteOptions{})
	for name, end := range map[string]func(t *testing.T, cancel func(), linked *client.Peer){
		"cancelled": func(_ *testing.T, cancel func(), _ *client.Peer) { cancel() },
		"exited":    func(t *testing.T, _ func(), linked *client.Peer) { wantError(t, linked.Close(limit(t)), nil) },
	} {
		t.Run(name, func(t *testing.T) {
			a, b, linked := dial(t, s.URL, client.DialOptions{}), dial(t, s.URL, client.DialOptions{}), dial(t, s.URL, client.DialOptions{})
			wantError(t, b.Link(limit(t), linked.Address()), nil)
			ctx, cancel := context.WithCancel(limit(t))
			began, served := make(chan bool), make(chan error, 1)
			go func() {
				served <- b.Serve(ctx, service{call: func(ctx context.Context, _ client.Message) (any, error) {
					close(began)
					<-ctx.Done()
					return "done", nil
				}})
			}()
			var caller sync.WaitGroup
			caller.Go(func() { wantCall(t, a, b.Address(), 1, `"done"`) })
			<-began
			end(t, cancel, linked)
			caller.Wait()
			if err := <-served; err == nil {
				t.Error("Serve = nil")
			}
		})
	}
}

// TestServeEndsWithoutAServer holds that an answer that can't be given delays the end of Serve, but not for long.
func TestServeEndsWithoutAServer(t *testing.T) {
	mute := func(_ *uplinkScript, _ int, u *upload) {
		for _, ok := u.next(); ok; _, ok = u.next() {
		}
	}
	playUplink(t, client.DialOptions{Logger: slog.New(slog.DiscardHandler)}, mute, func(s *uplinkScript) {
		ctx, cancel := context.WithCancel(s.ctx)
		served := make(chan error, 1)
		go func() { served <- s.Serve(ctx, service{}) }()
		synctest.Wait()
		say(s.stream, fmt.Sprintf("event: envelope\nid: 0000000e.1\ndata: {\"kind\":\"call\",\"ref\":\"r\",\"reply\":%q,\"body\":1}\n\n", s.to))
		<-time.After(time.Second) // the reply waits for the server's answer
		began := time.Now()
		cancel()
		wantError(t, <-served, context.Canceled)
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("it took %v, want 5s", took)
		}
	})
}
