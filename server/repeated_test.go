package server

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/mailbox/jetstream"
)

// closeGate makes the log wait from now on, until what is returned is closed.
func (d *durable) closeGate(t *testing.T) (gate chan struct{}) {
	t.Helper()
	j := d.member.current()
	if err := j.flush(ctx); err != nil {
		t.Fatal(err)
	}
	gate = make(chan struct{})
	j.mu.Lock() // run looks at the log only after it took a commit
	defer j.mu.Unlock()
	j.log = &gated{j.log, gate}
	return gate
}

// expectUnder expects something to wait for the log.
func expectUnder(t *testing.T, what string, c *commit) {
	t.Helper()
	if c == nil {
		t.Fatalf("%s waits for nothing", what)
	}
	select {
	case <-c.done:
		t.Errorf("%s is done before it is stored", what)
	default:
	}
}

// Whoever repeats an answer that is being stored is told that there is one once it is stored, and no sooner: the server may be
// killed before.
func TestRepeatedAnswerWaits(t *testing.T) {
	s := startDurable(t, t.TempDir(), Options{})
	caller := open(t, s.Server)
	send := func() (Posted, error) {
		letter := &Letter{Body: []byte(`"the answer"`), Meta: mailbox.Meta{Kind: mailbox.KindReply, Ref: "1"}}
		return s.Post(replyAddress(t, caller, "1"), letter)
	}
	gate := s.closeGate(t)
	var answers []Posted
	for range 2 {
		p, err := send()
		if err != nil {
			t.Fatal(err)
		}
		expectUnder(t, "an answer", p.commit)
		answers = append(answers, p)
	}
	close(gate)
	for i, want := range []error{nil, ErrReplied} {
		if _, err := answers[i].Wait(); !errors.Is(err, want) {
			t.Errorf("answer %d: %v, want %v", i, err, want)
		}
	}
	expectTold(t, s.Server, caller, `reply 1 "the answer"`)
	p, err := send()
	if err == nil {
		_, err = p.Wait()
	}
	if !errors.Is(err, ErrReplied) {
		t.Errorf("an answer to what has one: %v, want %v", err, ErrReplied)
	}
}

// The same goes for a monitor that is taken back again.
func TestRepeatedDemonitorWaits(t *testing.T) {
	s := startDurable(t, t.TempDir(), Options{})
	watcher, watched := open(t, s.Server), open(t, s.Server)
	ask(t, s.Server, mailbox.KindMonitor, "m", watcher, watched.Address)
	b, err := s.box(grant(t, s.Server, watched.Key.Reveal()).Mailbox())
	if err != nil {
		t.Fatal(err)
	}
	gate := s.closeGate(t)
	w := mailbox.Watch{Ref: "m", Reply: replyAddress(t, watcher, "m")}
	var all []*commit
	for range 2 {
		stored, err := b.watch(&w, true)
		if err != nil {
			t.Fatal(err)
		}
		expectUnder(t, "a demonitor", stored)
		all = append(all, stored)
	}
	close(gate)
	for _, stored := range all {
		if err := stored.wait(); err != nil {
			t.Error(err)
		}
	}
	ask(t, s.Server, mailbox.KindDemonitor, "m", watcher, watched.Address)
}

// small is a log whose entries are shorter than they were.
type small struct {
	mailbox.Log
	most int
}

func (l small) MaxEntry() int { return l.most }

// TestSnapshotOfWhatDoesNotFit: a snapshot that can't have all fails, and what came before it stays.
func TestSnapshotOfWhatDoesNotFit(t *testing.T) {
	dir := t.TempDir()
	s := startDurable(t, dir, Options{})
	m := open(t, s.Server)
	long := quoted(50_000)
	mustPost(t, s.Server, m.Address, "1", long, "2")
	j := s.member.current()
	if err := j.flush(ctx); err != nil {
		t.Fatal(err)
	}
	j.mu.Lock()
	j.log = small{j.log, 40_000}
	j.mu.Unlock()
	if err := s.Snapshot(ctx); err == nil {
		t.Error("a snapshot without a message is taken")
	}
	s.crash(t)
	s = startDurable(t, dir, Options{})
	expectHolds(t, s.Server, m, "1", long, "2")
}

// TestSnapshotsThatFailAreRare: each makes the log longer.
func TestSnapshotsThatFailAreRare(t *testing.T) {
	t.Parallel()
	var l logged
	log, err := jetstream.Open(ctx, jetstream.Options{Dir: t.TempDir(), Logger: l.logger()})
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t, Options{Log: log, Logger: l.logger(), Snapshot: 1})
	defer s.Stop(ctx)
	m := open(t, s)
	mustPost(t, s, m.Address, quoted(50_000))
	j := s.member.current()
	j.mu.Lock()
	j.log = small{j.log, 40_000}
	j.mu.Unlock()
	j.written.Add(1 << 20) // though there may have been a snapshot by now
	await(t, 10*time.Second, "it failed twice", func() bool { return strings.Contains(l.String(), "again=4s") })
	var at []time.Time
	for line := range strings.Lines(l.String()) {
		if strings.Contains(line, "the log was not shortened") {
			when, err := time.Parse("time=2006-01-02T15:04:05.000Z07:00", strings.Fields(line)[0])
			if err != nil {
				t.Fatal(err)
			}
			at = append(at, when)
		}
	}
	if len(at) != 2 || at[1].Sub(at[0]) < 2*time.Second-time.Millisecond {
		t.Errorf("they failed at %v, want 2, 2s apart", at)
	}
	mustPost(t, s, m.Address, "1")
}

// TestForwardedThatDoesNotFit: what another node takes, and the log of this one does not, is refused before it counts.
func TestForwardedThatDoesNotFit(t *testing.T) {
	dir := t.TempDir()
	s := startDurable(t, dir, Options{})
	m := open(t, s.Server)
	most := mostBody(s.log)
	for size, want := range map[int]error{most: nil, most + 1: mailbox.ErrTooLarge} {
		r := mailbox.Record{Mailbox: grant(t, s.Server, m.Key.Reveal()).Mailbox(), Message: mailbox.Message{Body: []byte(quoted(size))}}
		p, err := s.postHere(&r, 0)
		if err == nil {
			_, err = p.Wait()
		}
		if !errors.Is(err, want) {
			t.Errorf("a body of %d bytes: %v, want %v", size, err, want)
		}
	}
	mustPost(t, s.Server, m.Address, "1")
	s.crash(t)
	s = startDurable(t, dir, Options{})
	expectHolds(t, s.Server, m, quoted(most), "1")
}
