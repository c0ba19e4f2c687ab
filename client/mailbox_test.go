package client_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/client"
	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/server"
	"github.com/genbrowser/genbrowser/web"
	"github.com/genbrowser/genbrowser/web/problem"
)

func TestEnvelope(t *testing.T) {
	s := start(t, siteOptions{})
	c := connect(t, s.URL, client.Options{})
	box := open(t, c)
	to, err := box.Address().Attenuate(address.Label("a"), address.Label("b"))
	if err != nil {
		t.Fatal(err)
	}
	reply, err := box.Address().Attenuate(address.Only(address.Send), address.Reply("8"))
	if err != nil {
		t.Fatal(err)
	}
	const trace = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"
	all := slices.Values([]client.Outgoing{
		{To: to, Body: "called", Kind: "call", Ref: "7", Reply: to, Trace: trace, TTL: 1500 * time.Millisecond},
		{To: reply, Body: nil, Kind: "reply", Ref: "8"},
		{To: box.Address(), Body: "plain"},
	})
	for i, err := range c.SendMany(limit(t), all) {
		if err != nil {
			t.Errorf("message %d: %v", i, err)
		}
	}
	var got []client.Message
	for m, err := range box.Messages(limit(t)) {
		if got = append(got, m); err != nil || len(got) == 3 {
			break
		}
	}
	want := `[{"body":"called","kind":"call","ref":"7","reply":"` + to.String() + `","via":["a","b"],"trace":"` + trace + `"},` +
		`{"body":null,"kind":"reply","ref":"8","reply":"","via":null,"trace":""},` +
		`{"body":"plain","kind":"message","ref":"","reply":"","via":null,"trace":""}]`
	if marshal(t, got) != want {
		t.Errorf("got  %s\nwant %s", marshal(t, got), want)
	}
}

func TestLoopGoesOnWhereItWasLeft(t *testing.T) {
	s := start(t, siteOptions{})
	c := connect(t, s.URL, client.Options{})
	box := open(t, c)
	send(t, c, box.Address(), 1, 2, 3)
	for range box.Messages(limit(t)) {
		break
	}
	read(t, limit(t), box).want("2", "3")
}

func TestResume(t *testing.T) {
	s := start(t, siteOptions{})
	c := connect(t, s.URL, client.Options{})
	box := open(t, c)
	send(t, c, box.Address(), 1, 2, 3)
	for m, err := range box.Messages(limit(t)) {
		if err != nil || string(m.Body) == "2" {
			break
		}
	}

	resumed := connect(t, s.URL, client.Options{}).Resume(box.Key(), box.Cursor())
	if resumed.Address() != box.Address() || resumed.Cursor() != box.Cursor() {
		t.Errorf("resumed %v at %s, want %v at %s", resumed.Address(), resumed.Cursor(), box.Address(), box.Cursor())
	}
	inbox := read(t, limit(t), resumed)
	inbox.want("3")
	if got := string(resumed.Config()); got != "{}" {
		t.Errorf("Config = %s", got)
	}

	// without a cursor: all that was not acknowledged
	if err := box.Ack(limit(t)); err != nil { // up to 2
		t.Fatal(err)
	}
	again := connect(t, s.URL, client.Options{}).Resume(box.Key(), "")
	read(t, limit(t), again).want("3")
	inbox.wantEnd(problem.TakenOver)
}

func TestResumeOfADeadMailbox(t *testing.T) {
	s := start(t, siteOptions{server: server.Options{Limits: mailbox.Limits{Asleep: 20 * time.Millisecond}}})
	c := connect(t, s.URL, client.Options{})
	box := open(t, c)
	expired := func() bool { return errors.Is(c.Send(limit(t), box.Address(), 1), problem.Expired) }
	for !expired() {
		<-time.After(5 * time.Millisecond)
	}
	read(t, limit(t), box).wantEnd(problem.Expired)
	wantError(t, box.Close(limit(t)), problem.Expired)
	lost := ring(t).MailboxKey([16]byte{1})
	read(t, limit(t), c.Resume(lost, "")).wantEnd(problem.Gone)
}

func TestCursorOfAnotherHistory(t *testing.T) {
	s := start(t, siteOptions{})
	c := connect(t, s.URL, client.Options{})
	box := open(t, c)
	send(t, c, box.Address(), 1, 2)
	for _, cursor := range []string{"00000000.1", box.Cursor()[:9] + "99"} {
		inbox := read(t, limit(t), c.Resume(box.Key(), cursor))
		inbox.wantGap(0)
		inbox.want("1", "2")
	}
}

func TestDroppedMessagesAreAGap(t *testing.T) {
	s := start(t, siteOptions{server: server.Options{Limits: mailbox.Limits{Backlog: 2, Overflow: mailbox.DropOldest}}})
	c := connect(t, s.URL, client.Options{})
	box := open(t, c)
	send(t, c, box.Address(), 1, 2, 3, 4, 5)
	inbox := read(t, limit(t), box)
	inbox.wantGap(3)
	inbox.want("4", "5")
}

func TestCloseEndsReading(t *testing.T) {
	s := start(t, siteOptions{})
	c := connect(t, s.URL, client.Options{})
	box := open(t, c)
	send(t, c, box.Address(), 1)
	ctx := limit(t)
	inbox := read(t, ctx, box)
	inbox.want("1")
	for range 2 { // the second time changes nothing
		if err := box.Close(ctx); err != nil {
			t.Errorf("Close = %v", err)
		}
	}
	inbox.wantEnd(nil)
	read(t, ctx, box).wantEnd(nil)
	wantError(t, c.Send(ctx, box.Address(), 2), problem.Closed)
}

func TestCloseElsewhereIsAnError(t *testing.T) {
	s := start(t, siteOptions{})
	c := connect(t, s.URL, client.Options{})
	box := open(t, c)
	send(t, c, box.Address(), 1)
	inbox := read(t, limit(t), box)
	inbox.want("1")
	if err := connect(t, s.URL, client.Options{}).Resume(box.Key(), "").Close(limit(t)); err != nil {
		t.Fatal(err)
	}
	inbox.wantEnd(problem.Closed)
}

func TestKeyThatEnds(t *testing.T) {
	t.Parallel()
	s := start(t, siteOptions{web: web.Options{Heartbeat: 20 * time.Millisecond}})
	c := connect(t, s.URL, client.Options{})
	box := open(t, c)
	send(t, c, box.Address(), 1)
	key, err := box.Key().Attenuate(address.Expires(time.Now().Add(2 * time.Second)))
	if err != nil {
		t.Fatal(err)
	}
	inbox := read(t, limit(t), c.Resume(key, ""))
	inbox.want("1")
	inbox.wantEnd(problem.CapabilityExpired)
}

func TestServerThatShutsDownAndLosesTheMailbox(t *testing.T) {
	t.Parallel()
	s := start(t, siteOptions{})
	p := newProxy(t, s.Listener.Addr().String())
	c := connect(t, p.url(), client.Options{MaxPause: 50 * time.Millisecond})
	box := open(t, c)
	send(t, c, box.Address(), 1)
	inbox := read(t, limit(t), box)
	inbox.want("1")
	send(t, c, box.Address(), 2)
	go s.shutDown(t)
	inbox.want("2") // what was accepted is delivered
	next := start(t, siteOptions{})
	p.to(next.Listener.Addr().String())
	inbox.wantEnd(problem.Gone)
}

func TestMailboxIsNeverFullForAReaderThatKeepsUp(t *testing.T) {
	s := start(t, siteOptions{server: server.Options{Limits: mailbox.Limits{Body: 20, Backlog: 8, BacklogBytes: 32}}})
	c := connect(t, s.URL, client.Options{})
	box := open(t, c)
	inbox := read(t, limit(t), box)
	for n := range 200 {
		body := map[string]int{"n": n}
		for {
			err := c.Send(limit(t), box.Address(), body)
			if err == nil {
				break
			}
			if !errors.Is(err, problem.Full) { // its acknowledgement is under way
				t.Fatal(err)
			}
		}
		inbox.want(marshal(t, body))
	}
}

func TestReadingEndsWithItsContext(t *testing.T) {
	s := start(t, siteOptions{})
	c := connect(t, s.URL, client.Options{})
	box := open(t, c)
	send(t, c, box.Address(), 1)
	ctx, cancel := context.WithCancel(limit(t))
	inbox := read(t, ctx, box)
	inbox.want("1")
	cancel()
	inbox.wantEnd(context.Canceled)
}
