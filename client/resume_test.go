package client_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/client"
	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/server"
	"github.com/genbrowser/genbrowser/web/problem"
)

// doomed returns a peer whose connections end for good when kill is called, with nothing said to the server: as that of
// a program that is killed.
func doomed(t testing.TB, s *site, o client.DialOptions) (p *client.Peer, kill func()) {
	t.Helper()
	proxy := newProxy(t, s.Listener.Addr().String())
	return dial(t, proxy.url(), o), proxy.end
}

// resume dials by a state that was stored meanwhile.
func resume(t testing.TB, s *site, state client.State, o client.DialOptions) *client.Peer {
	t.Helper()
	stored, err := client.ParseState(state.Reveal())
	if err != nil || stored != state {
		t.Fatalf("%v becomes %v, %v", state, stored, err)
	}
	o.Resume = &stored
	return dial(t, s.URL, o)
}

func mustSend(t testing.TB, p *client.Peer, to address.Address, bodies ...any) {
	t.Helper()
	for _, body := range bodies {
		if err := p.Send(limit(t), to, body); err != nil {
			t.Fatalf("Send(%v) = %v", body, err)
		}
	}
}

func wantReceived(t testing.TB, p *client.Peer, bodies ...string) {
	t.Helper()
	for _, want := range bodies {
		if m := receive(t, p); string(m.Body) != want {
			t.Fatalf("got %s %s, want %s", m.Kind, m.Body, want)
		}
	}
}

// TestPeerResumes holds that a program that was killed and started again is the same peer: it is reached by its address,
// gets what it had not taken, and nothing of what it had.
func TestPeerResumes(t *testing.T) {
	s := start(t, siteOptions{})
	other := dial(t, s.URL, client.DialOptions{})
	old, kill := doomed(t, s, client.DialOptions{})
	mustSend(t, other, old.Address(), 1, 2, 3)
	wantReceived(t, old, "1", "2")
	state := old.State()
	mustSend(t, old, other.Address(), "old")
	kill()
	mustSend(t, other, old.Address(), 4) // nobody reads it

	p := resume(t, s, state, client.DialOptions{})
	if p.Address() != old.Address() || p.Key() != old.Key() {
		t.Errorf("resumed as %v, want %v", p.Address(), old.Address())
	}
	wantReceived(t, p, "3", "4")
	mustSend(t, p, other.Address(), "new") // an idempotency key of the old one would have it dropped
	wantReceived(t, other, `"old"`, `"new"`)
	serve(t, other, service{})
	serve(t, p, service{})
	wantCall(t, p, other.Address(), 1, "1")
	wantCall(t, other, old.Address(), 2, "2")
}

// TestPeerResumesByItsKey holds that without a cursor the messages come that were not acknowledged, and with one those
// before it are.
func TestPeerResumesByItsKey(t *testing.T) {
	s := start(t, siteOptions{server: server.Options{Limits: mailbox.Limits{Backlog: 8}}}) // two are acknowledged
	other := dial(t, s.URL, client.DialOptions{})
	old, kill := doomed(t, s, client.DialOptions{})
	if state := old.State(); state != (client.State{Key: old.Key()}) {
		t.Errorf("the state of a new peer is %+v", state)
	}
	mustSend(t, other, old.Address(), 1, 2)
	wantReceived(t, old, "1", "2")
	until(t, func() bool { return s.office.Stats().Bytes == 0 })
	mustSend(t, other, old.Address(), 3, 4)
	wantReceived(t, old, "3")
	state := old.State()
	kill()

	p := resume(t, s, client.State{Key: old.Key()}, client.DialOptions{})
	wantReceived(t, p, "3")
	p = resume(t, s, state, client.DialOptions{})
	until(t, func() bool { return s.office.Stats().Bytes == 1 }) // it had taken 3
	wantReceived(t, p, "4")
}

// TestResumeTakesOver holds that the peer before ends, and leaves the mailbox alone from then on.
func TestResumeTakesOver(t *testing.T) {
	s := start(t, siteOptions{})
	other := dial(t, s.URL, client.DialOptions{})
	changes, onStatus := statuses()
	old := dial(t, s.URL, client.DialOptions{OnStatus: onStatus})
	await(t, changes, client.Open)
	served := serve(t, old, service{})
	p := resume(t, s, old.State(), client.DialOptions{})
	await(t, changes, client.Closed)
	wantError(t, old.Err(), problem.TakenOver)
	wantError(t, <-served, problem.TakenOver)
	wantError(t, old.Send(limit(t), other.Address(), 1), problem.TakenOver)
	wantError(t, old.Close(limit(t)), nil)
	mustSend(t, other, old.Address(), 1)
	wantReceived(t, p, "1")
	wantError(t, p.Close(limit(t)), nil)
	wantError(t, other.Send(limit(t), old.Address(), 2), problem.Closed)
}

// TestResumedPeerInheritsLittle holds what becomes of what the program before had under way: answers to its calls, and
// what its monitors tell, are dropped; its links hold, and calls that it had not taken are answered.
func TestResumedPeerInheritsLittle(t *testing.T) {
	s := start(t, siteOptions{})
	callee, caller := dial(t, s.URL, client.DialOptions{}), dial(t, s.URL, client.DialOptions{})
	monitored, linked := dial(t, s.URL, client.DialOptions{}), dial(t, s.URL, client.DialOptions{})
	old, kill := doomed(t, s, client.DialOptions{})
	monitor(t, old, monitored.Address())
	if _, err := old.Monitor(limit(t), callee.Address(), client.MonitorOptions{States: true}); err != nil {
		t.Fatal(err)
	}
	if err := old.Link(limit(t), linked.Address()); err != nil {
		t.Fatal(err)
	}
	go old.Call(limit(t), callee.Address(), "from old", nil)
	pending := receive(t, callee)
	state := old.State()
	kill()
	called := make(chan error, 1)
	go func() {
		_, err := call(t, caller, old.Address(), "to old")
		called <- err
	}()
	wantError(t, callee.Reply(limit(t), pending, "too late"), nil)
	wantError(t, monitored.Close(limit(t)), nil)
	wantError(t, linked.Close(limit(t)), nil)

	p := resume(t, s, state, client.DialOptions{})
	var got []string
	for len(got) < 2 {
		m := receive(t, p)
		switch m.Kind {
		case "call":
			wantError(t, p.Reply(limit(t), m, nil), nil)
		case "exited":
			if d, ok := m.End(); !ok || d.Reason != "closed" {
				t.Errorf("the end of the link is %s", m.Body)
			}
		}
		got = append(got, m.Kind)
	}
	if !slices.Contains(got, "call") || !slices.Contains(got, "exited") {
		t.Errorf("got %v, want a call and an exited", got)
	}
	wantError(t, <-called, nil)
	mustSend(t, callee, p.Address(), "after")
	wantReceived(t, p, `"after"`) // and nothing of the call and the monitors
	mustSend(t, callee, p.Address(), "last")
	q := resume(t, s, p.State(), client.DialOptions{}) // what was dropped counts as taken
	wantReceived(t, q, `"last"`)
}

// TestResumeAfterAGap holds that who kept a state and acknowledged more since then is told.
func TestResumeAfterAGap(t *testing.T) {
	s := start(t, siteOptions{server: server.Options{Limits: mailbox.Limits{Backlog: 8}}}) // two are acknowledged
	other := dial(t, s.URL, client.DialOptions{})
	old, kill := doomed(t, s, client.DialOptions{})
	mustSend(t, other, old.Address(), 1)
	wantReceived(t, old, "1")
	state := old.State()
	mustSend(t, other, old.Address(), 2)
	wantReceived(t, old, "2")
	until(t, func() bool { return s.office.Stats().Bytes == 0 })
	kill()
	p := resume(t, s, state, client.DialOptions{})
	var gap *client.GapError
	if m, err := p.Receive(limit(t)); !errors.As(err, &gap) || gap.Missing != 1 {
		t.Errorf("got %s, %v, want a gap of 1", m.Body, err)
	}
	mustSend(t, other, p.Address(), 3)
	wantReceived(t, p, "3")
}

// TestPeerResumesOverARestart: the server was started anew meanwhile, too.
func TestPeerResumesOverARestart(t *testing.T) {
	dir := t.TempDir()
	s := durable(t, dir)
	old, kill := doomed(t, s, client.DialOptions{})
	mustSend(t, old, old.Address(), 1, 2)
	wantReceived(t, old, "1")
	state := old.State()
	kill()
	s.stop(t)
	s = durable(t, dir)
	p := resume(t, s, state, client.DialOptions{})
	wantReceived(t, p, "2")
	p.Close(limit(t))
	old.Close(limit(t))
	s.stop(t)
}

func TestResumeRefused(t *testing.T) {
	s := start(t, siteOptions{server: server.Options{Limits: mailbox.Limits{Asleep: time.Second}}})
	c := connect(t, s.URL, client.Options{})
	closed, expired := open(t, c), open(t, c)
	wantError(t, closed.Close(limit(t)), nil)
	until(t, func() bool { return errors.Is(c.Send(limit(t), expired.Address(), 1), problem.Expired) })
	blind, err := ring(t).MailboxKey([16]byte{1}).Attenuate(address.Only(address.Ack))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		key  address.Key
		want *problem.Kind
	}{
		{closed.Key(), problem.Closed},
		{expired.Key(), problem.Expired},
		{ring(t).MailboxKey([16]byte{1}), problem.Gone},
		{blind, problem.MissingRight},
	} {
		_, err := client.Dial(limit(t), s.URL, client.DialOptions{Resume: &client.State{Key: tt.key}})
		wantProblem(t, err, tt.want, "client: resume: ")
	}
	if _, err := client.Dial(limit(t), s.URL, client.DialOptions{Resume: &client.State{}}); err == nil || s.office.Stats().Mailboxes != 0 {
		t.Errorf("a state without a key: %v, and %d mailboxes", err, s.office.Stats().Mailboxes)
	}
	for _, text := range []string{"", "5f3a9c1b.2", "gbk_x.5f3a9c1b.2", closed.Address().String() + ".5f3a9c1b.2"} {
		if state, err := client.ParseState(text); err == nil || len(text) > 0 && strings.Contains(err.Error(), text) {
			t.Errorf("%q becomes %v, %v", text, state, err)
		}
	}
}

// TestStateIsSecret holds that a state that is logged or encoded by mistake gives nothing away.
func TestStateIsSecret(t *testing.T) {
	state := client.State{Key: ring(t).MailboxKey([16]byte{1}), Cursor: "5f3a9c1b.2"}
	secret := state.Key.Reveal()
	if text := state.Reveal(); text != secret+".5f3a9c1b.2" {
		t.Errorf("Reveal = %s", text)
	}
	for _, text := range []string{marshal(t, state), fmt.Sprintf("%v %+v %#v %v", state, state, state, &state)} {
		if strings.Contains(text, secret[10:]) {
			t.Errorf("%s gives the key away", text)
		}
	}
}

// TestLeave holds that a peer that leaves is none any more, and that its mailbox waits for who resumes it.
// What a loop takes while its peer leaves is taken there, and the rest comes to who resumes: nothing twice, nothing not at all.
func TestLeaveWhileMessagesAreTaken(t *testing.T) {
	s := start(t, siteOptions{})
	other := dial(t, s.URL, client.DialOptions{})
	var all []string
	var state *client.State
	for round := range 20 {
		p := dial(t, s.URL, client.DialOptions{Resume: state})
		var more []any
		for i := range 10 {
			more = append(more, 10*round+i)
		}
		mustSend(t, other, p.Address(), more...)
		some, taken := make(chan struct{}), make(chan []string)
		go func() {
			var took []string
			for m, err := range p.Messages(limit(t)) {
				if err != nil {
					t.Error(err)
					break
				}
				if took = append(took, string(m.Body)); len(took) == 3 {
					close(some)
				}
			}
			taken <- took
		}()
		<-some
		left, err := p.Leave(limit(t))
		wantError(t, err, nil)
		state = &left
		all = append(all, <-taken...)
	}
	last := resume(t, s, *state, client.DialOptions{})
	for len(all) < 200 {
		all = append(all, string(receive(t, last).Body))
	}
	for i, body := range all {
		if body != strconv.Itoa(i) {
			t.Fatalf("message %d is %s", i, body)
		}
	}
}

func TestLeave(t *testing.T) {
	s := start(t, siteOptions{})
	other := dial(t, s.URL, client.DialOptions{})
	p := dial(t, s.URL, client.DialOptions{})
	m := monitor(t, other, p.Address())
	mustSend(t, other, p.Address(), 1, 2)
	wantReceived(t, p, "1")
	wantError(t, p.Cast(limit(t), other.Address(), "bye"), nil)
	state, err := p.Leave(limit(t))
	wantReceived(t, other, `"bye"`)
	if err != nil || state != p.State() || state.Cursor == "" {
		t.Fatalf("Leave = %v, %v", state, err)
	}
	wantProblem(t, p.Err(), problem.Closed, "left by its own program")
	wantProblem(t, p.Send(limit(t), other.Address(), 1), problem.Closed, "left by its own program")
	if m, err := p.Receive(limit(t)); !errors.Is(err, problem.Closed) {
		t.Errorf("a peer that left receives %s, %v", m.Body, err)
	}
	wantError(t, <-serve(t, p, service{}), nil)
	for range p.Messages(limit(t)) {
		t.Error("a peer that left yields something")
	}
	if n := s.office.Stats().Bytes; n != int64(len(`2"bye"`)) { // what was taken when it left is gone
		t.Errorf("%d bytes wait, want those of 2 and of bye", n)
	}
	again, err := p.Leave(limit(t))
	if err != nil || again != state {
		t.Errorf("Leave again = %v, %v", again, err)
	}
	wantError(t, p.Close(limit(t)), nil)
	mustSend(t, other, p.Address(), 3)
	q := resume(t, s, again, client.DialOptions{})
	wantReceived(t, q, "2")
	wantReceived(t, q, "3")
	select {
	case d := <-m.C():
		t.Errorf("who watches it is told %v", d)
	default:
	}

	r := resume(t, s, q.State(), client.DialOptions{})
	<-q.Done()
	_, err = q.Leave(limit(t))
	wantError(t, err, problem.TakenOver)
	wantError(t, r.Close(limit(t)), nil)
	if _, err := r.Leave(limit(t)); !errors.Is(err, problem.Closed) {
		t.Errorf("Leave after Close = %v", err)
	}
}

// TestPeerOfNarrowedKey: a peer whose key was narrowed has an address that is as narrow, or none, and then asks nothing that
// would be answered.
func TestPeerOfNarrowedKey(t *testing.T) {
	s := start(t, siteOptions{})
	other, owner := dial(t, s.URL, client.DialOptions{}), dial(t, s.URL, client.DialOptions{})
	serve(t, other, client.CallFunc(func(context.Context, client.Message) (any, error) { return "yes", nil }))
	wantError(t, owner.Call(limit(t), other.Address(), 1, nil), nil) // it reads, and does not take over from those that follow
	narrow := func(r address.Rights) *client.Peer {
		key, err := owner.Key().Attenuate(address.Only(address.Read | address.Ack | r))
		if err != nil {
			t.Fatal(err)
		}
		return resume(t, s, client.State{Key: key}, client.DialOptions{})
	}

	reader := narrow(0)
	_, monitor := reader.Monitor(limit(t), other.Address())
	for asked, err := range map[string]error{"call": reader.Call(limit(t), other.Address(), 1, nil), "monitor": monitor} {
		if err == nil || !strings.Contains(err.Error(), "the peer has no address, since its key was narrowed") {
			t.Errorf("%s: %v", asked, err)
		}
	}
	if a := reader.Address(); a != (address.Address{}) {
		t.Errorf("a key that reads has the address %v", a)
	}
	mustSend(t, other, owner.Address(), 1)
	wantReceived(t, reader, "1")

	sender := narrow(address.Send)
	wantError(t, sender.Call(limit(t), other.Address(), 1, nil), nil)
	wantError(t, other.Call(limit(t), sender.Address(), 1, nil), problem.MissingRight)
}
