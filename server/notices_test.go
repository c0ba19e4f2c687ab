package server

import (
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/mailbox/jetstream"
)

// TestToldAfterACrash holds that who watches is told of an end that was stored, if the server crashed before it told;
// and only then.
func TestToldAfterACrash(t *testing.T) {
	dir := t.TempDir()
	s := startDurable(t, dir, Options{})
	watcher, target, other := open(t, s.Server), open(t, s.Server), open(t, s.Server)
	ask(t, s.Server, mailbox.KindMonitor, "m", watcher, target.Address)
	ask(t, s.Server, mailbox.KindMonitor, "told", watcher, other.Address)
	closeBox(t, s.Server, other)
	expectTold(t, s.Server, watcher, `down told {"reason":"closed"}`)
	s.notices.end()
	closeBox(t, s.Server, target)
	s.crash(t)

	s = startDurable(t, dir, Options{})
	expectTold(t, s.Server, watcher, `down told {"reason":"closed"}`, `down m {"reason":"closed"}`)
	s.notices.end()
	if err := s.member.current().flush(ctx); err != nil {
		t.Fatal(err)
	}
	h, err := s.readHistory(ctx, s.log, []uint8{shardOf(grant(t, s.Server, target.Key.Reveal()).Mailbox()), shardOf(grant(t, s.Server, other.Key.Reveal()).Mailbox())}, nil)
	if err != nil || len(h.untold) != 0 {
		t.Errorf("the log says that %d ends were not told, %v", len(h.untold), err)
	}
}

// TestSnapshotKeepsWhatIsToTell holds that a snapshot forgets nobody who is still to be told of an end, and does not say
// again what was told.
func TestSnapshotKeepsWhatIsToTell(t *testing.T) {
	dir := t.TempDir()
	s := startDurable(t, dir, Options{})
	watcher, target, other := open(t, s.Server), open(t, s.Server), open(t, s.Server)
	ask(t, s.Server, mailbox.KindMonitor, "told", watcher, other.Address)
	closeBox(t, s.Server, other)
	expectTold(t, s.Server, watcher, `down told {"reason":"closed"}`)
	await(t, 5*time.Second, "that is done", s.notices.isIdle)
	ask(t, s.Server, mailbox.KindMonitor, "m", watcher, target.Address)
	ask(t, s.Server, mailbox.KindLink, "l", watcher, target.Address)
	ask(t, s.Server, mailbox.KindCall, "c", watcher, target.Address)
	s.notices.end()
	mayExit, err := target.Key.AddressFor(address.Exit)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Exit(ctx, mayExit, "why"); err != nil {
		t.Fatal(err)
	}
	for range 2 { // of which one trims the other
		if err := s.Snapshot(ctx); err != nil {
			t.Fatal(err)
		}
	}
	s.crash(t)

	s = startDurable(t, dir, Options{})
	told := []string{`down told {"reason":"closed"}`, `down m {"reason":"exit","detail":"why"}`, `exited l {"reason":"exit","detail":"why"}`,
		`failure c {"type":"urn:gen-browser:closed","title":"The mailbox was closed","status":410}`}
	expectTold(t, s.Server, watcher, told...)
	await(t, 5*time.Second, "that is done", s.notices.isIdle)
	if left := s.untold.mailboxes(); len(left) > 0 {
		t.Errorf("%d ends are still to be told", len(left))
	}
	if err := s.Snapshot(ctx); err != nil {
		t.Fatal(err)
	}
	h, err := s.readHistory(ctx, s.log, []uint8{shardOf(grant(t, s.Server, target.Key.Reveal()).Mailbox()), shardOf(grant(t, s.Server, other.Key.Reveal()).Mailbox())}, nil)
	if err != nil || len(h.untold) != 0 {
		t.Errorf("the log says that %d ends were not told, %v", len(h.untold), err)
	}
}

// TestDisconnectedAsItEnds holds that a mailbox that ends while its monitor is told of its want of a reader leaves nothing to
// be told.
func TestDisconnectedAsItEnds(t *testing.T) {
	s := startDurable(t, t.TempDir(), Options{})
	watcher, target := open(t, s.Server), open(t, s.Server)
	b := mustBox(t, s.Server, target)
	w := mailbox.Watch{Ref: "m", Reply: replyAddress(t, watcher, "m"), Grace: 3600}
	if err := s.watch(b.id, &w, false); err != nil {
		t.Fatal(err)
	}
	sh := s.shard(b.id)
	sh.mu.Lock() // so that the end can't be finished
	stored, err := b.end(ErrClosed, nil, func() bool { return true })
	b.toldWatch(&w, true)
	sh.mu.Unlock()
	if err == nil {
		err = stored.wait()
	}
	if err != nil {
		t.Fatal(err)
	}
	expectTold(t, s.Server, watcher, `down m {"reason":"closed"}`)
	await(t, 5*time.Second, "nothing is left to be told", func() bool { return len(s.untold.mailboxes()) == 0 })
}

// TestWhatPassesIsTriedAgain holds that who can't be told for now will be, until it is too late.
func TestWhatPassesIsTriedAgain(t *testing.T) {
	s := newServer(t, Options{})
	for failed, again := range map[error]bool{
		ErrUnavailable: true, ErrOverloaded: true, ErrShuttingDown: true, ErrFull: true, mailbox.ErrFull: true,
		ErrGone: false, address.ErrExpired: false, nil: false,
	} {
		for _, late := range []bool{false, true} {
			n := notice{server: s, tellings: []telling{{failed: failed}}, late: late}
			if got, want := !n.settle(), again && !late; got != want || n.missed != (again && late) {
				t.Errorf("%v, late %v: tried again %v, missed %v; want %v, %v", failed, late, got, n.missed, want, again && late)
			}
		}
	}
}

// TestUntoldIsOnesOwn holds that an end that was read from the log since is not forgotten with an older attempt to tell.
func TestUntoldIsOnesOwn(t *testing.T) {
	var u untold
	id := uuid.New()
	u.add(id, []telling{{ref: "m"}})
	before := u.now(id)
	u.add(id, []telling{{ref: "m"}})
	u.settle(id, before, false, nil)
	now := u.now(id)
	if now == nil {
		t.Fatal("the newer one is forgotten")
	}
	if u.settle(id, now, false, nil); u.now(id) != nil {
		t.Error("it is still there")
	}
}

// TestEveryAttemptCounts holds that what can't be told is tried again, however long the first attempt took.
func TestEveryAttemptCounts(t *testing.T) {
	s := newServer(t, Options{})
	n := notice{server: s, tellings: []telling{{failed: ErrUnavailable}}}
	n.begin()
	n.deadline = time.Now().Add(-time.Second)
	if n.settle() {
		t.Error("it was given up after the first attempt")
	}
	n.begin()
	if !n.settle() || !n.missed {
		t.Error("it was not given up once its time was over")
	}
}

// TestTellingDoesNotWaitForAWay holds that who tells does not wait for a shard that nobody owns: others are told meanwhile.
func TestTellingDoesNotWaitForAWay(t *testing.T) {
	nodes := startNodes(t, 2, Options{})
	a, b := nodes[0], nodes[1]
	watcher := farMailbox(t, b, a)
	c := a.cluster
	c.mu.Lock() // the routes stay as they are
	defer c.mu.Unlock()
	routes := c.routes.Load()
	lost := *routes
	lost.shards = [shardCount]*node{}
	c.routes.Store(&lost)
	defer c.routes.Store(routes)
	for _, one := range []telling{
		{reply: replyAddress(t, watcher, "m"), ref: "m", kind: mailbox.KindDown, body: []byte("{}")},
		{of: watcher.Address, reply: replyAddress(t, watcher, "m"), ref: "m", kind: mailbox.KindDemonitor},
	} {
		if _, err := a.tell(&one); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%v without a way: %v, want %v", one.kind, err, ErrUnavailable)
		}
	}
}

// TestUntoldOnce holds that what both the end itself and a snapshot say is to be told once.
func TestUntoldOnce(t *testing.T) {
	s := newServer(t, Options{})
	id, now := uuid.New(), time.Now()
	h := s.newHistory(nil, []uint8{shardOf(id)})
	w := mailbox.Watch{Ref: "m", Reply: "gba_"}
	down := mailbox.Message{Body: []byte(`{"reason":"closed"}`), Meta: &mailbox.Meta{Kind: mailbox.KindDown, Ref: "m", Reply: "gba_"}}
	other := mailbox.Message{Body: down.Body, Meta: &mailbox.Meta{Kind: mailbox.KindDown, Ref: "n", Reply: "gba_"}}
	for _, r := range []mailbox.Record{
		{Type: mailbox.Opened}, {Type: mailbox.Watched, Watch: w}, {Type: mailbox.Ended, Reason: mailbox.Closed},
		{Type: mailbox.Untold, Message: down}, {Type: mailbox.Untold, Message: other},
	} {
		r.Mailbox = id
		if err := h.apply(&r, &mailbox.Origin{Lane: "l", Clock: now}); err != nil {
			t.Fatal(err)
		}
	}
	if all := h.untold[id]; len(all) != 2 || all[0].ref != "m" || all[1].ref != "n" {
		t.Errorf("to be told: %+v; want m and n", all)
	}
}

// TestToldTogether holds that who watches one end is told with few commits: what waits for one stands in the way of other
// ends.
func TestToldTogether(t *testing.T) {
	const watchers = 500
	s := startDurable(t, t.TempDir(), Options{})
	target := open(t, s.Server)
	all := make([]Mailbox, watchers)
	for i := range all {
		all[i] = open(t, s.Server)
		ask(t, s.Server, mailbox.KindMonitor, "m", all[i], target.Address)
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // or what is stored at the same time makes entries of few records
	before := s.Metrics().Log.Records.Count()
	closeBox(t, s.Server, target)
	await(t, 10*time.Second, "all were told", s.notices.isIdle)
	if commits := s.Metrics().Log.Records.Count() - before; commits > 15 {
		t.Errorf("%d were told with %d commits", watchers, commits)
	}
	for _, m := range all {
		expectTold(t, s.Server, m, `down m {"reason":"closed"}`)
	}
}

// TestToldAfterAnOutage: who watches a process with a mailbox is told of its end, however long nothing could be stored.
func TestToldAfterAnOutage(t *testing.T) {
	t.Parallel()
	var l logged
	log := &stalling{Log: openLog(t, jetstream.Options{Dir: t.TempDir()})}
	s := newServer(t, Options{Log: log, Logger: l.logger()})
	watcher := open(t, s)
	ask(t, s, mailbox.KindMonitor, "m", watcher, handle(t, s, "only", HandlerFunc(nothing)))
	log.full.Store(true)
	j := s.member.current()
	j.renew(0)
	await(t, 5*time.Second, "nothing can be stored", j.stalled.Load)
	s.Release("only")
	began := time.Now()
	await(t, 2*tellPatience, "it was tried for long", func() bool { return time.Since(began) > tellPatience+2*retryTell })
	log.full.Store(false)
	await(t, 5*time.Second, "messages can be stored", func() bool { return !j.stalled.Load() })
	expectTold(t, s, watcher, `down m {"reason":"normal"}`)
	await(t, 5*time.Second, "that is done", s.notices.isIdle)
	if strings.Contains(l.String(), "could not be told") {
		t.Error("the log says that somebody could not be told")
	}
	stopServer(t, s)
}

func (q *notices) isIdle() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return !q.running
}
