package server

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/genbrowser/genbrowser/mailbox"
)

// member is the server as one of those who write to the log: it owns shards, and stores what happens in them.
type member struct {
	server  *Server
	log     mailbox.Log
	follows []*followed // of mailboxes that were claimed just now; theirs who claims

	mu      sync.Mutex
	journal *journal  // of the current lane
	trims   []trim    // to come, in their order
	began   time.Time // of the newest snapshot
}

// trim is a part of the log that can be forgotten, after a time: what is in its place must be as safe as it was.
type trim struct {
	floor uint64
	due   time.Time
}

const (
	// renewAlone is how often a server that is alone shows in the log that time goes on: what sleeps must not
	// sleep anew after each restart.
	renewAlone = 30 * time.Second
	// claimPatience is how long the log may take to seal a lane or to store a claim.
	claimPatience = 2 * time.Minute
)

// join begins to write to the log. A server that is alone owns all shards once it returns; in a cluster it will own
// some.
func (s *Server) join(o Options) error {
	if err := s.checkEntrySize(o.Log); err != nil {
		return err
	}
	s.member = &member{server: s, log: o.Log}
	if o.Mesh != nil {
		return s.joinCluster(o)
	}
	m := s.member
	if err := m.joinAlone(m.begin(0)); err != nil {
		return err
	}
	m.lossKnown()
	m.inheritFollows()
	s.background.Go(m.keepAlive)
	if !s.offline {
		s.background.Go(s.keepLogShort)
	}
	return nil
}

// joinAlone takes all shards, or ends the journal.
func (m *member) joinAlone(j *journal) (err error) {
	defer func() {
		if err != nil {
			j.abandon()
		}
	}()
	if err := m.sealOthers(); err != nil {
		return err
	}
	all := make([]uint8, shardCount)
	for i := range all {
		all[i] = uint8(i)
	}
	won, _, err := m.claim(context.Background(), all, nil)
	debug.FreeOSMemory() // reading the log left as much garbage as there is state
	if err == nil && len(won) < shardCount {
		err = errors.New("server: others write to this log, or it is damaged where one of them ended")
	}
	return err
}

// checkEntrySize reports limits under which one record could be longer than an entry.
func (s *Server) checkEntrySize(log mailbox.Log) error {
	if most := mostBody(log); s.limits.Body > most {
		return fmt.Errorf("server: limit of a body: this log takes at most %d bytes", most)
	}
	if most := mostNames(log); s.limits.Names > most {
		return fmt.Errorf("server: limit of names: this log takes at most %d", most)
	}
	return nil
}

// mostBody is how long a body may be of which a record has room in an entry, with an envelope's members, numbers and the
// entry's header.
func mostBody(log mailbox.Log) int { return log.MaxEntry() - 8<<10 }

// mostNames is how many names a mailbox may remember that is restated in one record.
func mostNames(log mailbox.Log) int {
	const perName = 16 + 5
	return (mostBody(log) - maxConfig) / perName
}

// begin starts a journal on a lane of its own.
func (m *member) begin(lease time.Duration) *journal {
	j := newJournal(m.log, m.server.clock, lease, m.server.log, &m.server.counters.log)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.journal = j
	return j
}

func (m *member) current() *journal {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.journal
}

// sealOthers makes sure that nobody else appends to the log.
func (m *member) sealOthers() error {
	ctx, cancel := context.WithTimeout(context.Background(), claimPatience)
	defer cancel()
	lanes, err := m.log.Lanes(ctx)
	for _, newest := range lanes {
		err = errors.Join(err, m.log.Seal(ctx, newest.Lane, newest.Seq))
	}
	if err != nil {
		return fmt.Errorf("server: %w", err)
	}
	return nil
}

// claim asks for shards and returns those that this server owns now, with their mailboxes as they are in the log, of which
// something may be known. It also returns what is known then of those that it does not own.
func (m *member) claim(ctx context.Context, shards []uint8, known *history) (won []uint8, rest *history, err error) {
	began := time.Now()
	s, j := m.server, m.current()
	claimed := j.add(&mailbox.Record{Type: mailbox.Claimed, Shards: shards, Epoch: m.renewal()})
	storing, cancel := context.WithTimeout(ctx, claimPatience)
	defer cancel()
	if err := claimed.waitUntil(storing); err != nil {
		return nil, known, fmt.Errorf("server: claim shards: %w", err)
	}
	h, err := s.readHistory(ctx, m.log, shards, known)
	if err != nil {
		return nil, nil, fmt.Errorf("server: %w", err)
	}
	seen := h.replay.Seen()
	s.counters.log.replay(h, time.Since(began))
	j.noteFloor(seen.Floor)
	won = h.ownedBy(m.log.Lane())
	records := s.mailboxes.Load()
	for _, i := range won {
		m.follows = append(m.follows, h.boxes[i].follows(s.clock.now())...)
		s.take(h, i, j, claimed.seq)
	}
	for _, e := range h.ended {
		s.gone.add(e.id, e.why)
	}
	h.ended = nil
	s.endNamesIn(won)
	for id, all := range h.untold {
		if slices.Contains(won, shardOf(id)) {
			s.untold.add(id, all)
			s.tellEnd(id, all, j)
		}
	}
	if seen.Records > 1 {
		j.written.Add(int64(seen.Bytes + seen.Entries*entryCost))
		s.log.Info("shards taken", "shards", len(won), "mailboxes", s.mailboxes.Load()-records,
			"entries", seen.Entries, "records", seen.Records, "took", time.Since(began))
	}
	h.forget(won)
	return won, h, nil
}

// renewal is how epochs change with a claim: not at all, unless what was stored last may be lost.
func (m *member) renewal() uint32 {
	if !m.inDoubt() && !m.server.cluster.hearsDoubt() {
		return 0
	}
	m.server.log.Warn("the end of the log may be lost, as in a power cut: readers of its mailboxes are told of a gap")
	return 1 + rand.Uint32N(math.MaxUint32)
}

func (m *member) inDoubt() bool {
	log, ok := m.log.(mailbox.Lossy)
	return ok && log.MayHaveLost()
}

// lossKnown is for once all shards are owned, by those who were in doubt, or heard of it, when they claimed them.
func (m *member) lossKnown() {
	if !m.inDoubt() {
		return
	}
	if err := m.log.(mailbox.Lossy).LossKnown(); err != nil {
		m.server.log.Warn("readers will be told again that messages may be lost", "error", err)
	}
}

// take makes a shard this server's, as the history leaves it.
func (s *Server) take(h *history, shard uint8, j *journal, since uint64) {
	for _, b := range h.boxes[shard].list {
		b.resume(j)
	}
	s.placement.Add(1)
	s.shards[shard].own(*h.boxes[shard], j, since, h.replay.Seen().First)
	for _, b := range s.shards[shard].all() {
		b.resumeTimers()
	}
}

// resume lets a mailbox go on that was read from the log.
func (b *box) resume(j *journal) {
	s := b.server
	b.log = j
	b.visible = b.mail.Last().Seq
	_, bytes := b.mail.Len()
	s.account(bytes)
	s.mailboxes.Add(1)
}

// resumeTimers comes once the mailbox can be found: one that expires is looked for.
func (b *box) resumeTimers() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.why() != nil {
		return
	}
	if deadline, asleep := b.mail.Deadline(); asleep {
		b.server.wheel.Set(b, deadline)
	}
	b.resumePresence()
}

// release gives shards up, for others to claim.
func (m *member) release(ctx context.Context, shards []uint8) error {
	m.disown(shards)
	m.server.leaveProcesses(shards)
	c := m.current().add(&mailbox.Record{Type: mailbox.Released, Shards: shards})
	return c.waitUntil(ctx)
}

// disown forgets shards that are, or are about to be, another's.
func (m *member) disown(shards []uint8) {
	m.server.placement.Add(1)
	for _, i := range shards {
		for _, b := range m.server.shards[i].disown() {
			b.moveAway()
		}
	}
}

// owned returns the numbers of the shards that this server owns.
func (m *member) owned() (shards []uint8) {
	for _, o := range m.server.ownedShards() {
		shards = append(shards, o.Shard)
	}
	return shards
}

// trim forgets the log before an entry, from which on it tells everything anew; or has it be forgotten later, by trimDue.
func (m *member) trim(ctx context.Context, floor uint64) error {
	// whoever reads the log must know that nothing is missing before floor, or it would be taken for damaged
	if err := m.current().announce(ctx, floor); err != nil {
		return err
	}
	after := m.settles()
	if after == 0 {
		return m.log.Trim(ctx, floor)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.trims = append(m.trims, trim{floor, time.Now().Add(after)})
	return nil
}

// settles is how long it takes until what was stored can't be lost any more.
func (m *member) settles() time.Duration {
	if log, ok := m.log.(mailbox.Lossy); ok {
		return log.Settles()
	}
	return 0
}

// noteSnapshot notes that one begins.
func (m *member) noteSnapshot(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.began = now
}

// mayTrim reports whether nothing that the newest snapshot made superfluous is still to be kept for a while.
func (m *member) mayTrim() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return time.Since(m.began) > m.settles()
}

// trimDue does what trim put off, once it is time.
func (m *member) trimDue(ctx context.Context) error {
	m.mu.Lock()
	due := 0
	for due < len(m.trims) && time.Now().After(m.trims[due].due) {
		due++
	}
	if due == 0 {
		m.mu.Unlock()
		return nil
	}
	floor := m.trims[due-1].floor
	m.mu.Unlock()
	if err := m.log.Trim(ctx, floor); err != nil {
		return fmt.Errorf("server: trim the log: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.trims = slices.Delete(m.trims, 0, due)
	return nil
}

func (m *member) keepAlive() {
	ticker := time.NewTicker(renewAlone)
	defer ticker.Stop()
	for {
		select {
		case <-m.server.done:
			return
		case <-ticker.C:
			m.current().renew(renewAlone)
		}
	}
}

// leave stores what is left, says goodbye, and lets go of the log.
func (m *member) leave(ctx context.Context) error {
	err := m.current().stop(ctx)
	if c := m.server.cluster; c != nil {
		c.leave()
	}
	return errors.Join(err, m.log.Close())
}
