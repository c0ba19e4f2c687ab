package server

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/genbrowser/genbrowser/mailbox"
)

// member is the server as one of those who write to the log: it owns shards, and stores what happens in them.
type member struct {
	server *Server
	log    mailbox.Log

	mu      sync.Mutex
	journal *journal // of the current lane
}

const (
	// renewAlone is how often a server that is alone shows in the log that time goes on: what sleeps must not
	// sleep anew after each restart.
	renewAlone = 30 * time.Second
	// claimPatience is how long claiming shards may take, with reading the log.
	claimPatience = 2 * time.Minute
)

// join begins to write to the log. A server that is alone owns all shards once it returns; in a cluster it will own
// some.
func (s *Server) join(log mailbox.Log, mesh Mesh, name string) error {
	if err := s.checkEntrySize(log); err != nil {
		return err
	}
	s.member = &member{server: s, log: log}
	if mesh != nil {
		return s.joinCluster(mesh, name)
	}
	m := s.member
	m.begin(0)
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
	if err != nil {
		return err
	}
	s.background.Go(m.keepAlive)
	s.background.Go(s.keepLogShort)
	return nil
}

// checkEntrySize reports limits under which one record could be longer than an entry.
func (s *Server) checkEntrySize(log mailbox.Log) error {
	const (
		perName = 16 + 5  // in a restated mailbox
		other   = 8 << 10 // an envelope's members, numbers, the entry's header
	)
	most := log.MaxEntry() - other
	if s.limits.Body > most {
		return fmt.Errorf("server: limit of a body: this log takes at most %d bytes", most)
	}
	if s.limits.Names*perName > most-maxConfig {
		return fmt.Errorf("server: limit of names: this log takes at most %d", (most-maxConfig)/perName)
	}
	return nil
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
	claimed := j.add(&mailbox.Record{Type: mailbox.Claimed, Shards: shards})
	if err := claimed.waitUntil(ctx); err != nil {
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

// take makes a shard this server's, as the history leaves it.
func (s *Server) take(h *history, shard uint8, j *journal, since uint64) {
	for _, b := range h.boxes[shard] {
		b.resume(j)
	}
	s.shards[shard].own(h.boxes[shard], j, since, h.replay.Seen().First)
}

// resume lets a mailbox go on that was read from the log.
func (b *box) resume(j *journal) {
	s := b.server
	b.log = j
	b.visible = b.mail.Last().Seq
	_, bytes := b.mail.Len()
	s.account(bytes)
	s.mailboxes.Add(1)
	if deadline, asleep := b.mail.Deadline(); asleep {
		s.wheel.Set(b, deadline)
	}
	b.resumePresence()
}

// release gives shards up, for others to claim.
func (m *member) release(ctx context.Context, shards []uint8) error {
	m.disown(shards)
	c := m.current().add(&mailbox.Record{Type: mailbox.Released, Shards: shards})
	return c.waitUntil(ctx)
}

// disown forgets shards that are, or are about to be, another's.
func (m *member) disown(shards []uint8) {
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

// trim forgets the log before an entry, from which on it tells everything anew.
func (m *member) trim(ctx context.Context, floor uint64) error {
	// whoever reads the log must know that nothing is missing before floor, or it would be taken for damaged
	if err := m.current().announce(ctx, floor); err != nil {
		return err
	}
	return m.log.Trim(ctx, floor)
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
