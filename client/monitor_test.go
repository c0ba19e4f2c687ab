package client_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/client"
	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/server"
	"github.com/genbrowser/genbrowser/web"
	"github.com/genbrowser/genbrowser/web/problem"
)

func monitor(t testing.TB, p *client.Peer, to address.Address) *client.Monitor {
	t.Helper()
	m, err := p.Monitor(limit(t), to)
	if err != nil {
		t.Fatalf("Monitor = %v", err)
	}
	return m
}

func wantDown(t testing.TB, m *client.Monitor, to address.Address, reason, detail string) {
	t.Helper()
	for range 2 { // as often as it is asked
		d, err := m.Wait(limit(t))
		if err != nil || d.Address != to || d.Reason != reason || string(d.Detail) != detail {
			t.Errorf("Wait = %v %q %s, %v, want %q %s", d.Address, d.Reason, d.Detail, err, reason, detail)
		}
	}
	d, ok := <-m.C()
	if _, more := <-m.C(); !ok || more || d.Reason != reason {
		t.Errorf("C gave %q, %v, and then more: %v", d.Reason, ok, more)
	}
}

func TestMonitor(t *testing.T) {
	s := start(t, siteOptions{server: server.Options{Limits: mailbox.Limits{Asleep: time.Second}}})
	a := dial(t, s.URL, client.DialOptions{})
	c := connect(t, s.URL, client.Options{})
	nobody, err := ring(t).Process("nobody")
	if err != nil {
		t.Fatal(err)
	}

	t.Run("closes", func(t *testing.T) {
		b := dial(t, s.URL, client.DialOptions{})
		m := monitor(t, a, b.Address())
		wantError(t, b.Close(limit(t)), nil)
		wantDown(t, m, b.Address(), "closed", "")
		wantError(t, m.Stop(limit(t)), nil)
	})
	t.Run("expires", func(t *testing.T) {
		box := open(t, c)
		wantDown(t, monitor(t, a, box.Address()), box.Address(), "expired", "")
	})
	t.Run("is gone already", func(t *testing.T) {
		b := dial(t, s.URL, client.DialOptions{})
		wantError(t, b.Close(limit(t)), nil)
		wantDown(t, monitor(t, a, b.Address()), b.Address(), "closed", "")
	})
	t.Run("never was", func(t *testing.T) {
		wantDown(t, monitor(t, a, nobody), nobody, "gone", "")
	})
	t.Run("needs the right", func(t *testing.T) {
		b := dial(t, s.URL, client.DialOptions{})
		to, err := b.Address().Attenuate(address.Only(address.Send | address.Call))
		if err != nil {
			t.Fatal(err)
		}
		_, err = a.Monitor(limit(t), to)
		wantProblem(t, err, problem.MissingRight, "monitor")
	})
	t.Run("times out", func(t *testing.T) {
		b := dial(t, s.URL, client.DialOptions{})
		ctx, cancel := context.WithCancel(limit(t))
		cancel()
		_, err := monitor(t, a, b.Address()).Wait(ctx)
		wantError(t, err, context.Canceled)
	})
}

// One that was stopped tells nothing: the other one, asked for after it, tells first.
func TestMonitorStopped(t *testing.T) {
	s := start(t, siteOptions{})
	a, b := dial(t, s.URL, client.DialOptions{}), dial(t, s.URL, client.DialOptions{})
	stopped, other := monitor(t, a, b.Address()), monitor(t, a, b.Address())
	for range 2 {
		wantError(t, stopped.Stop(limit(t)), nil)
	}
	wantError(t, b.Close(limit(t)), nil)
	wantDown(t, other, b.Address(), "closed", "")
	if d, ok := <-stopped.C(); ok {
		t.Errorf("it tells %v", d)
	}
	if _, err := stopped.Wait(limit(t)); err == nil {
		t.Error("Wait says nothing")
	}
}

// exits makes a service that hands on the ends of what it is linked with.
type exits struct {
	service
	c chan client.Down
}

func (e exits) Exited(_ context.Context, d client.Down) { e.c <- d }

func wantExited(t testing.TB, m client.Message, reason string) {
	t.Helper()
	if d, ok := m.End(); !ok || m.Kind != "exited" || d.Reason != reason {
		t.Errorf("got %s %s, want an exited with %q", m.Kind, m.Body, reason)
	}
}

func TestLinkBothWays(t *testing.T) {
	s := start(t, siteOptions{})
	for name, first := range map[string]bool{"who linked ends": true, "who was linked ends": false} {
		t.Run(name, func(t *testing.T) {
			a, b := dial(t, s.URL, client.DialOptions{}), dial(t, s.URL, client.DialOptions{})
			for range 2 { // linking again changes nothing
				wantError(t, a.Link(limit(t), b.Address()), nil)
			}
			ends, lives := b, a
			if first {
				ends, lives = a, b
			}
			wantError(t, ends.Close(limit(t)), nil)
			wantExited(t, receive(t, lives), "closed")
			wantError(t, dial(t, s.URL, client.DialOptions{}).Send(limit(t), lives.Address(), "only one came"), nil)
			if m := receive(t, lives); m.Kind != "message" {
				t.Errorf("got %+v", m)
			}
			if _, ok := (client.Message{}).End(); ok {
				t.Error("a message is an end")
			}
		})
	}
}

func TestLinkWithWhatIsGone(t *testing.T) {
	s := start(t, siteOptions{})
	a, b := dial(t, s.URL, client.DialOptions{}), dial(t, s.URL, client.DialOptions{})
	wantError(t, b.Close(limit(t)), nil)
	wantError(t, a.Link(limit(t), b.Address()), nil)
	wantExited(t, receive(t, a), "closed")
	wantError(t, a.Unlink(limit(t), b.Address()), nil)
}

func TestUnlink(t *testing.T) {
	s := start(t, siteOptions{})
	a, b, c := dial(t, s.URL, client.DialOptions{}), dial(t, s.URL, client.DialOptions{}), dial(t, s.URL, client.DialOptions{})
	wantError(t, a.Link(limit(t), b.Address()), nil)
	for range 2 {
		wantError(t, a.Unlink(limit(t), b.Address()), nil)
	}
	wantError(t, a.Link(limit(t), c.Address()), nil)
	wantError(t, b.Close(limit(t)), nil)
	wantError(t, c.Close(limit(t)), nil)
	m := receive(t, a) // of b none came before
	wantExited(t, m, "closed")
	wantError(t, dial(t, s.URL, client.DialOptions{}).Send(limit(t), a.Address(), 1), nil)
	if m := receive(t, a); m.Kind != "message" {
		t.Errorf("got %+v", m)
	}
	sendOnly, err := a.Address().Attenuate(address.Only(address.Send))
	if err != nil {
		t.Fatal(err)
	}
	wantProblem(t, a.Link(limit(t), sendOnly), problem.MissingRight, "link")
}

// A link that could not be taken back can be again, and another made in its place.
func TestUnlinkThatFails(t *testing.T) {
	var kinds []string
	serve := func(s *uplinkScript, _ int, u *upload) {
		for l, ok := u.next(); ok; l, ok = u.next() {
			if kinds = append(kinds, l.Kind); l.Kind == "unlink" {
				<-time.After(2 * time.Second)
			}
			u.answer(l.ID, accepted)
		}
	}
	playUplink(t, client.DialOptions{}, serve, func(s *uplinkScript) {
		link := func() { wantError(t, s.Link(s.ctx, s.to), nil) }
		fail := func() {
			ctx, cancel := context.WithTimeout(s.ctx, time.Second)
			defer cancel()
			wantError(t, s.Unlink(ctx, s.to), client.ErrUnanswered)
		}
		link()
		fail()
		for range 2 {
			wantError(t, s.Unlink(s.ctx, s.to), nil)
		}
		link()
		fail()
		link()
		if got, want := strings.Join(kinds, " "), "link unlink unlink link unlink link"; got != want {
			t.Errorf("the server is asked to %s, want %s", got, want)
		}
	})
}

// An exit or a reply whose answer was lost with its connection did what it was to do; one that was refused at first did not.
func TestWhatEndsWithoutAnAnswer(t *testing.T) {
	serve := func(s *uplinkScript, n int, u *upload) {
		for l, ok := u.next(); ok; l, ok = u.next() {
			if n == 1 && l.Body == "lost" {
				return
			}
			u.answer(l.ID, `"type":"urn:gen-browser:closed","title":"The mailbox was closed","status":410`)
		}
	}
	for name, do := range map[string]func(s *uplinkScript, body string) error{
		"exit": func(s *uplinkScript, body string) error { return s.Exit(s.ctx, s.to, body) },
		"reply": func(s *uplinkScript, body string) error {
			return s.Reply(s.ctx, client.Message{Kind: "call", Ref: body, Reply: s.to}, body)
		},
	} {
		t.Run(name, func(t *testing.T) {
			playUplink(t, client.DialOptions{}, serve, func(s *uplinkScript) {
				wantError(t, do(s, "refused"), problem.Closed)
				wantError(t, do(s, "lost"), nil)
				wantError(t, do(s, "refused"), problem.Closed)
			})
		})
	}
}

// Of a link or monitor that had no answer nobody knows whether it is there: it is taken back all the same.
func TestWatchesWithoutAnAnswer(t *testing.T) {
	var asked []string
	serve := func(s *uplinkScript, _ int, u *upload) {
		for l, ok := u.next(); ok; l, ok = u.next() {
			if asked = append(asked, l.Kind+" "+l.Ref); l.Kind == "link" || l.Kind == "monitor" {
				<-time.After(2 * time.Second)
			}
			u.answer(l.ID, accepted)
		}
	}
	playUplink(t, client.DialOptions{}, serve, func(s *uplinkScript) {
		late := func() context.Context {
			ctx, cancel := context.WithTimeout(s.ctx, 700*time.Millisecond)
			context.AfterFunc(ctx, cancel)
			return ctx
		}
		wantError(t, s.Link(late(), s.to), client.ErrUnanswered)
		if err := s.Link(late(), s.to); err == nil {
			t.Error("a link whose turn does not come is there")
		}
		wantError(t, s.Unlink(s.ctx, s.to), nil)
		wantError(t, s.Unlink(s.ctx, s.to), nil)
		_, err := s.Monitor(late(), s.to)
		wantError(t, err, client.ErrUnanswered)
		wantError(t, s.Send(s.ctx, s.to, 1), nil)
		var kinds []string
		refs := make(map[string]bool)
		for _, ask := range asked {
			kind, ref, _ := strings.Cut(ask, " ")
			kinds = append(kinds, kind)
			refs[ref] = true
		}
		if got, want := strings.Join(kinds, " "), "link unlink monitor demonitor "; got != want || len(refs) != 3 { // and none
			t.Errorf("the server is asked to %s, for %d refs; want %s, for a link, a monitor and none", got, len(refs), want)
		}
	})
}

// A service ends with what it is linked with, unless it is an Exiter.
func TestServeAndLinks(t *testing.T) {
	s := start(t, siteOptions{})
	a, b, c := dial(t, s.URL, client.DialOptions{}), dial(t, s.URL, client.DialOptions{}), dial(t, s.URL, client.DialOptions{})
	wantError(t, a.Link(limit(t), c.Address()), nil)
	wantError(t, b.Link(limit(t), c.Address()), nil)
	ends := serve(t, a, service{})
	lives := exits{c: make(chan client.Down, 1)}
	serve(t, b, lives)
	wantError(t, c.Close(limit(t)), nil)
	var exit *client.ExitError
	if err := <-ends; !errors.As(err, &exit) || exit.Reason != "closed" {
		t.Errorf("Serve = %v", err)
	}
	if d := <-lives.c; d.Reason != "closed" {
		t.Errorf("got %v", d)
	}
	wantCall(t, a, b.Address(), 1, "1")
}

func TestExit(t *testing.T) {
	s := start(t, siteOptions{})
	a, b := dial(t, s.URL, client.DialOptions{}), dial(t, s.URL, client.DialOptions{})
	m := monitor(t, a, b.Address())
	wantProblem(t, a.Exit(limit(t), b.Address(), "please"), problem.MissingRight, "exit")
	may, err := b.Key().AddressFor(address.Exit)
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, a.Exit(limit(t), may, "please"), nil)
	wantDown(t, m, b.Address(), "exit", `"please"`)
	<-b.Done()
	if !errors.Is(b.Err(), problem.Closed) && !errors.Is(b.Err(), problem.Gone) {
		t.Errorf("b ended with %v", b.Err())
	}
}

func TestWhereis(t *testing.T) {
	s := start(t, siteOptions{})
	for _, name := range []string{"hidden", "shown", "a/b:c@d"} {
		h := server.HandlerFunc(func(context.Context, server.Message) error { return nil })
		if _, err := s.office.Handle(name, h); err != nil {
			t.Fatal(err)
		}
		if name != "hidden" {
			if err := s.office.Export(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	a := dial(t, s.URL, client.DialOptions{})
	for _, name := range []string{"shown", "a/b:c@d"} {
		to, err := a.Whereis(limit(t), name)
		if err != nil {
			t.Errorf("Whereis(%q) = %v", name, err)
			continue
		}
		wantError(t, a.Cast(limit(t), to, 1), nil)
	}
	for _, name := range []string{"hidden", "nobody"} {
		_, err := a.Whereis(limit(t), name)
		wantProblem(t, err, problem.NotExported, "")
	}
	for _, name := range []string{"", "a b", "a?b", "a#b"} {
		if _, err := a.Whereis(limit(t), name); err == nil || errors.Is(err, problem.NotExported) {
			t.Errorf("Whereis(%q) = %v", name, err)
		}
	}
}

// The server's own processes call peers.
func TestCallFromTheServer(t *testing.T) {
	s := start(t, siteOptions{})
	a := dial(t, s.URL, client.DialOptions{})
	serve(t, a, service{})
	got, err := s.office.Call(limit(t), a.Address(), []int{1})
	if err != nil || string(got) != "[1]" {
		t.Errorf("the server's call = %s, %v", got, err)
	}
}

// Neither is a mailbox needed to call.
func TestClientCall(t *testing.T) {
	s := start(t, siteOptions{})
	a, c := dial(t, s.URL, client.DialOptions{}), connect(t, s.URL, client.Options{})
	serve(t, a, service{call: func(ctx context.Context, m client.Message) (any, error) {
		switch string(m.Body) {
		case "1":
			return nil, problem.Refused
		case "2":
			<-ctx.Done()
		}
		return m.Body, nil
	}})
	var n int
	if err := c.Call(limit(t), a.Address(), 42, &n); err != nil || n != 42 {
		t.Errorf("Call = %d, %v", n, err)
	}
	wantError(t, c.Call(limit(t), a.Address(), 1, nil), problem.Refused)
	ctx, cancel := context.WithTimeout(limit(t), 50*time.Millisecond)
	defer cancel()
	wantError(t, c.Call(ctx, a.Address(), 2, nil), problem.CallTimeout)
}

// A page to log in at is no reply.
func TestClientCallOfAStranger(t *testing.T) {
	to, err := ring(t).Process("x")
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		answer func(*http.Request) (*http.Response, error)
		want   string // in the error's text
	}{
		"a page":         {answer(200, "Content-Type: text/html; charset=utf-8", "<html>"), "text/html"},
		"nothing":        {answer(200, "", ""), "somebody answers in the server's place"},
		"another status": {answer(202, "Content-Type: application/json", "1"), "somebody answers in the server's place"},
		"a reply":        {answer(200, "Content-Type: application/json", "1"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := awkward(t, test.answer)
			err := c.Call(limit(t), to, 1, nil)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("Call = %v, want %q", err, test.want)
			}
		})
	}
}

// A monitor tells whether the mailbox has a reader, and is over when it has had none for too long.
func TestMonitorStates(t *testing.T) {
	s := start(t, siteOptions{})
	changes, onStatus := statuses()
	a, b := dial(t, s.URL, client.DialOptions{}), dial(t, s.URL, client.DialOptions{OnStatus: onStatus})
	sleeper := open(t, connect(t, s.URL, client.Options{}))
	await(t, changes, client.Open)
	m, err := a.Monitor(limit(t), b.Address(), client.MonitorOptions{States: true})
	if err != nil {
		t.Fatal(err)
	}
	wantState(t, m, "connected")
	wantError(t, b.Close(limit(t)), nil)
	wantDown(t, m, b.Address(), "closed", "")
	for state := range m.States() { // its stream may have ended before it
		if state != "asleep" {
			t.Errorf("on its way down it is %q", state)
		}
	}

	if m, err = a.Monitor(limit(t), sleeper.Address(), client.MonitorOptions{States: true, Grace: time.Second}); err != nil {
		t.Fatal(err)
	}
	wantState(t, m, "asleep")
	wantDown(t, m, sleeper.Address(), "disconnected", "")
	wantError(t, a.Send(limit(t), sleeper.Address(), "it lives on"), nil)

	if m, err = a.Monitor(limit(t), sleeper.Address(), client.MonitorOptions{States: true}); err != nil {
		t.Fatal(err)
	}
	wantError(t, m.Stop(limit(t)), nil)
	for range m.States() { // the first may have come
	}
	for _, grace := range []time.Duration{-time.Second, time.Millisecond, 24*time.Hour + time.Second} {
		if _, err := a.Monitor(limit(t), sleeper.Address(), client.MonitorOptions{Grace: grace}); err == nil {
			t.Errorf("a grace of %v is taken", grace)
		}
	}
}

func wantState(t testing.TB, m *client.Monitor, want string) {
	t.Helper()
	select {
	case got := <-m.States():
		if got != want {
			t.Errorf("the state is %q, want %q", got, want)
		}
	case <-limit(t).Done():
		t.Errorf("no state, want %q", want)
	}
}

// TestStopAgain: what could not be taken back can be later.
func TestStopAgain(t *testing.T) {
	s := start(t, siteOptions{web: web.Options{MonitorsPerClient: 1}})
	p := dial(t, s.URL, client.DialOptions{})
	to := open(t, connect(t, s.URL, client.Options{})).Address()
	m, err := p.Monitor(limit(t), to)
	if err != nil {
		t.Fatal(err)
	}
	late, cancel := context.WithCancel(t.Context())
	cancel()
	wantError(t, m.Stop(late), context.Canceled)
	wantError(t, m.Stop(limit(t)), nil)
	if _, err = p.Monitor(limit(t), to); err != nil {
		t.Errorf("another monitor, of one that may be: %v", err)
	}
}
