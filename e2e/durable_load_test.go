//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// load is senders, readers, and people who open and close mailboxes, who go on from one run of a program to the next.
// They note what they were told.
type load struct {
	t        *testing.T
	client   *http.Client
	boxes    []account
	readers  []*loadReader
	senders  []*loadSender
	churners []*churner

	accepted, again, refused atomic.Int64 // messages; messages that came again, before they were acknowledged; 503s
	stopping                 atomic.Bool  // senders and churners finish what they are at

	sending, reading sync.WaitGroup

	mu      sync.Mutex
	changed sync.Cond
	program *program
	over    bool
}

const (
	loadBoxes   = 50
	loadSenders = 8
	churners    = 2
)

// errOver ends who waits for a program when there will be none.
var errOver = errors.New("the test is over")

func newLoad(t *testing.T) *load {
	l := &load{t: t, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}}}
	l.changed.L = &l.mu
	t.Cleanup(l.client.CloseIdleConnections)
	return l
}

// start opens the mailboxes of the readers at a program, and lets everybody begin.
func (l *load) start(p *program) {
	l.program = p
	for range loadBoxes {
		a := openAccount(l.t, p)
		l.boxes = append(l.boxes, a)
		r := &loadReader{load: l, account: a, seen: map[uint64]string{}}
		l.readers = append(l.readers, r)
		l.reading.Go(r.run)
	}
	for i := range loadSenders {
		s := &loadSender{load: l, number: i, named: i%2 == 0, bulk: i%4 >= 2}
		l.senders = append(l.senders, s)
		l.sending.Go(s.run)
	}
	for range churners {
		c := &churner{load: l}
		l.churners = append(l.churners, c)
		l.sending.Go(c.run)
	}
}

// use makes everybody go on with a program.
func (l *load) use(p *program) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.program = p
	l.changed.Broadcast()
}

// end lets nobody wait any longer.
func (l *load) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	l.changed.Broadcast()
}

func (l *load) now() *program {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.program
}

// next waits for the program after one that is gone.
func (l *load) next(gone *program) (*program, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.program == gone && !l.over {
		l.changed.Wait()
	}
	if l.over {
		return nil, errOver
	}
	return l.program, nil
}

// afterRefusal waits as long as one who was refused with 503 has to.
func (l *load) afterRefusal(p *program, problem string) (*program, error) {
	l.refused.Add(1)
	if problem == "shutting-down" {
		return l.next(p)
	}
	select {
	case <-time.After(200 * time.Millisecond):
		return p, nil
	case <-l.t.Context().Done():
		return nil, errOver
	}
}

// finish lets the senders finish, the readers read all that there is, and checks what came of it.
func (l *load) finish(p *program) {
	l.t.Helper()
	l.stopping.Store(true)
	l.join(p, &l.sending)
	for _, a := range l.boxes {
		within(l.t, 10*time.Second, "the last message is taken", func() bool {
			got, err := ask(l.client, "POST", p.url+"/_gb/send/"+a.Address, "", lastWords, "Idempotency-Key", "last")
			return err == nil && got.status == 202
		})
	}
	l.join(p, &l.reading)
	total, extra := 0, 0
	for box, r := range l.readers {
		t, e := l.check(box, r)
		total, extra = total+t, extra+e
	}
	if total != int(l.accepted.Load()) {
		l.t.Errorf("%d messages were accepted, and %d were noted", l.accepted.Load(), total)
	}
	opened, closed := 0, 0
	for _, c := range l.churners {
		opened += len(c.open)
		closed += len(c.closed)
	}
	l.t.Logf("%d messages were accepted, and arrived; %d more arrived, and %d again before they were acknowledged; %d refusals; %d mailboxes were opened, and %d more closed",
		total, extra, l.again.Load(), l.refused.Load(), opened, closed)
}

// join waits for senders or readers, and not for ever.
func (l *load) join(p *program, who *sync.WaitGroup) {
	l.t.Helper()
	done := make(chan struct{})
	go func() { who.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		l.t.Errorf("somebody waits for something that does not come")
		l.end()
		p.kill()
		<-done
	}
}

// check looks at what one mailbox got.
func (l *load) check(box int, r *loadReader) (total, extra int) {
	arrived := map[string]uint64{}
	var newest [loadSenders]int
	for i := range newest {
		newest[i] = -1
	}
	for seq := uint64(1); seq <= r.last; seq++ {
		var m letter
		text, ok := r.seen[seq]
		if !ok {
			l.t.Errorf("mailbox %d: message %d is missing", box, seq)
			continue
		}
		if text == lastWords {
			continue
		}
		if err := json.Unmarshal([]byte(text), &m); err != nil || m.Box != box || text != m.body() {
			l.t.Errorf("mailbox %d: message %d is %s", box, seq, text)
			continue
		}
		if before, ok := arrived[m.name()]; ok {
			l.t.Errorf("mailbox %d: %s arrived twice, as %d and %d", box, m.name(), before, seq)
		}
		arrived[m.name()] = seq
		sent := l.senders[m.Sender].sent[box]
		if m.Number >= len(sent) {
			l.t.Errorf("mailbox %d: %s was never sent", box, m.name())
			continue
		}
		if sent[m.Number] == unknown {
			extra++
		}
		if m.Number <= newest[m.Sender] && sent[m.Number] != late {
			l.t.Errorf("mailbox %d: %s arrived after number %d", box, m.name(), newest[m.Sender])
		}
		newest[m.Sender] = max(newest[m.Sender], m.Number)
	}
	for _, s := range l.senders {
		for n, f := range s.sent[box] {
			m := letter{Sender: s.number, Box: box, Number: n}
			if f == unknown {
				continue
			}
			total++
			if arrived[m.name()] == 0 {
				l.t.Errorf("mailbox %d: %s was accepted, and is lost", box, m.name())
			}
		}
	}
	return total, extra
}

// checkMailboxes looks whether those that were opened are there, and those that were closed are not.
func (l *load) checkMailboxes(p *program) {
	l.t.Helper()
	var wg sync.WaitGroup
	for _, c := range l.churners {
		wg.Go(func() {
			for _, a := range c.closed {
				for _, way := range []struct{ method, path, key string }{{"POST", "/_gb/send/" + a.Address, ""}, {"POST", "/_gb/mailbox", a.Key}} {
					if got, err := ask(l.client, way.method, p.url+way.path, way.key, "1"); err != nil || got.problem != "closed" {
						l.t.Errorf("a closed mailbox: %v, %v", got, err)
					}
				}
			}
			for _, a := range c.open {
				want := []string{fmt.Sprintf("%q", a.Address)}
				got := p.waiting(l.t, a)
				if slices.Equal(got, want) || len(got) == 0 && !slices.Contains(c.full, a) {
					continue
				}
				l.t.Errorf("a mailbox that was opened holds %q, want %q", got, want)
			}
		})
	}
	wg.Wait()
}

// moment waits for a random one, of a kind that each round has in turn, to end the program at.
func (l *load) moment(round int, p *program) {
	l.t.Helper()
	after := func(n int64) {
		target := l.accepted.Load() + n
		within(l.t, 30*time.Second, fmt.Sprintf("%d messages more are accepted", n), func() bool { return l.accepted.Load() >= target })
	}
	switch round % 4 {
	case 0, 2: // under load
		after(1 + rand.Int64N(600))
	case 1: // after a snapshot
		within(l.t, 30*time.Second, "a snapshot", func() bool { return p.lines("snapshot") > 0 })
		after(1 + rand.Int64N(50))
	case 3: // about when it is looked whether a snapshot is due
		after(1)
		<-time.After(time.Second - 50*time.Millisecond + rand.N(100*time.Millisecond))
	}
}

// startAndKill starts the program and kills it at once, or a little later, as it reads its log.
func startAndKill(t *testing.T, dir string, flags ...string) {
	t.Helper()
	cmd := durable(dir, flags...)
	ctx, cancel := context.WithTimeout(t.Context(), rand.N(120*time.Millisecond))
	defer cancel()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-ctx.Done()
	cmd.Process.Kill()
	cmd.Wait()
}
