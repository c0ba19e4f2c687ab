package client_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/client"
	"github.com/genbrowser/genbrowser/web"
)

// The connections of both sides are cut at random bytes: the reader resumes, the sender repeats what had no
// answer.
func TestAHundredCutsUnderLoad(t *testing.T) {
	s := start(t, siteOptions{})
	in, out := newProxy(t, s.Listener.Addr().String()), newProxy(t, s.Listener.Addr().String())
	in.chop(6000)
	out.chop(3000)
	box := open(t, connect(t, in.url(), client.Options{MaxPause: 20 * time.Millisecond}))

	ctx, cancel := context.WithCancel(limit(t))
	l := &load{t: t, client: connect(t, out.url(), client.Options{}), to: box.Address(), progress: make(chan struct{}, 1)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.run(ctx, func() bool { return in.cut() >= 100 })
	}()
	defer func() { cancel(); <-done }()

	next := 0
	for m, err := range box.Messages(ctx) {
		if err != nil {
			t.Fatalf("after %d messages: %v", next, err)
		}
		if string(m.Body) == `"end"` {
			break
		}
		if want := marshal(t, padded(next)); string(m.Body) != want {
			t.Fatalf("message %d is %s", next, m.Body)
		}
		next++
		l.handled(next)
	}
	<-done
	if next != l.sent {
		t.Errorf("%d messages came, %d were sent", next, l.sent)
	}
	if next < 1000 || out.cut() < 10 {
		t.Errorf("%d messages, and the sender was cut %d times: that is no load", next, out.cut())
	}
	t.Logf("%d messages; the reader was cut %d times, the sender %d times", next, in.cut(), out.cut())
}

// load sends numbered messages, and repeats them until they are answered.
type load struct {
	t        *testing.T
	client   *client.Client
	to       address.Address
	sent     int
	read     atomic.Int64
	progress chan struct{}
}

func (l *load) handled(n int) {
	l.read.Store(int64(n))
	select {
	case l.progress <- struct{}{}:
	default:
	}
}

// run sends until there was enough, and not more than the mailbox holds; then it says "end".
func (l *load) run(ctx context.Context, enough func() bool) {
	for !enough() && ctx.Err() == nil {
		for l.sent-int(l.read.Load()) > 400 {
			select {
			case <-l.progress:
			case <-ctx.Done():
				return
			}
		}
		l.until(ctx, l.sent+50)
	}
	for err := errors.New("not sent"); err != nil && ctx.Err() == nil; {
		for _, err = range l.client.SendMany(ctx, slices.Values([]client.Outgoing{{To: l.to, Body: "end", ID: "end"}})) {
		}
	}
}

// until sends the messages up to n.
func (l *load) until(ctx context.Context, n int) {
	for l.sent < n && ctx.Err() == nil {
		for _, err := range l.client.SendMany(ctx, l.numbered(l.sent, n)) {
			switch {
			case err == nil:
				l.sent++
			case !errors.Is(err, client.ErrUnanswered):
				l.t.Errorf("message %d: %v", l.sent, err)
			}
		}
	}
}

func (l *load) numbered(from, to int) iter.Seq[client.Outgoing] {
	return func(yield func(client.Outgoing) bool) {
		for n := from; n < to && yield(client.Outgoing{To: l.to, Body: padded(n), ID: fmt.Sprint(n)}); n++ {
		}
	}
}

func padded(n int) string { return fmt.Sprint(n, " ", strings.Repeat("x", n%97)) }

func TestMuteStreamOfARealServer(t *testing.T) {
	s := start(t, siteOptions{web: web.Options{Heartbeat: 40 * time.Millisecond}})
	p := newProxy(t, s.Listener.Addr().String())
	box := open(t, connect(t, p.url(), client.Options{}))
	direct := connect(t, s.URL, client.Options{})
	send(t, direct, box.Address(), 1)
	inbox := read(t, limit(t), box)
	inbox.want("1")
	p.set(func() { p.mute = true })
	send(t, direct, box.Address(), "in the dark")
	<-p.swallow
	p.set(func() { p.mute = false })
	inbox.want(`"in the dark"`)
}
