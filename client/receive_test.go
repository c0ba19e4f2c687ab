package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/client"
	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/server"
	"github.com/genbrowser/genbrowser/web/problem"
)

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

// Where a mailbox makes room for newer messages, its peer does as well, and tells how many went.
func TestPeerThatTakesNothing(t *testing.T) {
	s := start(t, siteOptions{server: server.Options{Limits: mailbox.Limits{Backlog: 10, Overflow: mailbox.DropOldest}}})
	a, b := dial(t, s.URL, client.DialOptions{}), dial(t, s.URL, client.DialOptions{})
	serve(t, b, service{})
	for n := range 100 {
		mustSend(t, b, a.Address(), n)
		if n%5 == 4 { // all that was sent came before the reply
			wantError(t, a.Call(limit(t), b.Address(), n, nil), nil)
		}
	}
	_, err := a.Receive(limit(t))
	var gap *client.GapError
	if !errors.As(err, &gap) || gap.Missing != 90 {
		t.Errorf("got %v, want a gap of 90", err)
	}
	for n := range 10 {
		wantReceived(t, a, fmt.Sprint(90+n))
	}
	mustSend(t, b, a.Address(), 100)
	wantReceived(t, a, "100")
	if state := a.State(); state.Cursor == "" {
		t.Error("the peer does not know how far it is")
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

// The deepest body that a server can be told to take is read, in an envelope too.
func TestDeepestBody(t *testing.T) {
	const deepest = 9_999
	s := start(t, siteOptions{server: server.Options{Limits: mailbox.Limits{Depth: deepest}}})
	p := dial(t, s.URL, client.DialOptions{})
	labelled, err := p.Address().Attenuate(address.Label("x"))
	if err != nil {
		t.Fatal(err)
	}
	body := strings.Repeat("[", deepest) + strings.Repeat("]", deepest)
	for _, to := range []address.Address{p.Address(), labelled} {
		wantError(t, p.Send(limit(t), to, json.RawMessage(body)), nil)
		if got := receive(t, p); string(got.Body) != body {
			t.Errorf("it came as %.40s", got.Body)
		}
		wantError(t, p.Send(limit(t), to, json.RawMessage("["+body+"]")), problem.MalformedJSON)
	}
	serve(t, p, service{})
	var reply json.RawMessage
	if err := p.Call(limit(t), labelled, json.RawMessage(body), &reply); err != nil || string(reply) != body {
		t.Errorf("Call = %.40s, %v", reply, err)
	}
}
