package server

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/genbrowser/genbrowser/internal/yield"
	"github.com/genbrowser/genbrowser/mailbox"
)

// journal is the server's end of its log. Records that come while an entry is being stored gather in the next
// one: under load, many messages share the cost of one write to the disk.
type journal struct {
	log   mailbox.Log
	clock clock
	slog  *slog.Logger
	count *logCounters

	ctx     context.Context // of run
	cancel  context.CancelFunc
	kick    chan struct{}
	done    chan struct{} // closed when run has returned
	stalled atomic.Bool   // entries cannot be stored now
	pending atomic.Int64  // bytes of records that wait to be stored
	written atomic.Int64  // what the log costs its next reader, in bytes, since it was last trimmed

	mu      sync.Mutex
	spare   []byte    // an entry that was stored, to be used again
	current *commit   // is being stored
	queue   []*commit // the last one is being gathered
	ended   error     // nothing is taken any more

	// lease is how long after an entry was sent this node may be sure that it still owns its shards; 0: for ever.
	lease time.Duration
	sent  atomic.Int64 // when the newest entry was, by clock, in nanoseconds since 1970

	floor atomic.Uint64 // up to here the log may be trimmed

	last   uint64      // place of the newest entry; run's
	others yield.Point // who may have something to add; run's
}

const (
	// impatience is how long an entry may take until those who wait for it are told that they wait in vain.
	impatience = time.Second
	// retryStore is how long run waits between attempts to store an entry that was refused.
	retryStore = 200 * time.Millisecond
	// entryCost is what an entry costs a reader of the log, beside its bytes, in bytes.
	entryCost = 200
	// gatherFor is how long a node of a cluster lets records gather, from one entry to the next, while entries have
	// gatherFrom records or more: each entry is a turn of NATS, which all nodes share.
	gatherFor  = 3 * time.Millisecond
	gatherFrom = 16
	// maxSpareEntry is how long an entry may be that is kept to be used again.
	maxSpareEntry = 256 << 10
	// maxPending is how many bytes of records may wait to be stored.
	maxPending = 64 << 20
)

// commit is records that are stored together, as one entry.
type commit struct {
	entry   []byte // room for the header, then the records
	added   []added
	then    []func() // called once it is stored
	records int
	floor   uint64 // to be announced, if above 0
	alive   bool   // to be stored even if there are no records: it shows that the writer lives
	seq     uint64 // its place, once it is stored

	told bool          // done is closed
	err  error         // why it was not stored in time
	done chan struct{} // closed when those who wait may go on
}

// added is a message that a commit stores.
type added struct {
	box *box
	seq uint64
}

// wait returns when the records are stored. The error is [ErrUnavailable] if that takes too long, when they may
// still be stored later. A nil commit is stored.
func (c *commit) wait() error {
	if c == nil {
		return nil
	}
	<-c.done
	return c.err
}

func newJournal(log mailbox.Log, clock clock, lease time.Duration, slog *slog.Logger, count *logCounters) *journal {
	j := &journal{log: log, clock: clock, lease: lease, slog: slog, count: count, kick: make(chan struct{}, 1), done: make(chan struct{})}
	j.ctx, j.cancel = context.WithCancel(context.Background())
	go j.run()
	return j
}

// add notes a record, in the order of the calls, and returns what to wait for.
func (j *journal) add(r *mailbox.Record) *commit {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.addLocked(r)
}

// addFor notes a record of a message in b, which becomes visible once it is stored.
func (j *journal) addFor(b *box, r *mailbox.Record) *commit {
	j.mu.Lock()
	defer j.mu.Unlock()
	c := j.addLocked(r)
	c.added = append(c.added, added{b, r.Message.Seq})
	return c
}

// addThen notes a record, and calls then once it is stored, before those who wait for it go on.
func (j *journal) addThen(r *mailbox.Record, then func()) *commit {
	j.mu.Lock()
	defer j.mu.Unlock()
	c := j.addLocked(r)
	c.then = append(c.then, then)
	return c
}

func (j *journal) addLocked(r *mailbox.Record) *commit {
	c := j.gathering()
	before := len(c.entry)
	c.entry = r.AppendTo(c.entry)
	size := len(c.entry) - before
	if size > j.log.MaxEntry()-mailbox.EntryHeaderSize { // or nothing behind it could be stored, ever
		c.entry = c.entry[:before]
		j.slog.Error("a record is longer than the log takes, and is not stored", "type", r.Type, "bytes", size)
		refused := &commit{done: make(chan struct{})}
		refused.tell(ErrUnavailable)
		return refused
	}
	if len(c.entry) > j.log.MaxEntry() && before > mailbox.EntryHeaderSize {
		next := j.begin()
		next.entry = append(next.entry, c.entry[before:]...)
		c.entry = c.entry[:before]
		c = next
	}
	j.pending.Add(int64(size))
	c.records++
	return c
}

// announce stores, with what is gathered, that the log may be trimmed up to floor.
func (j *journal) announce(ctx context.Context, floor uint64) error {
	j.mu.Lock()
	c := j.gathering()
	c.floor = max(c.floor, floor)
	j.mu.Unlock()
	return c.waitUntil(ctx)
}

// flush waits until all that was added is stored.
func (j *journal) flush(ctx context.Context) error {
	j.mu.Lock()
	c := j.gathering()
	j.mu.Unlock()
	return c.waitUntil(ctx)
}

// renew shows that the writer lives, if it has stored nothing for a while.
func (j *journal) renew(every time.Duration) {
	if j.clock.now().Sub(time.Unix(0, j.sent.Load())) < every {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.queue) == 0 && j.ended == nil {
		j.gathering().alive = true
	}
}

// refused returns why the commit is known already not to be stored, if it is.
func (c *commit) refused() (error, bool) {
	select {
	case <-c.done:
		return c.err, c.err != nil
	default:
		return nil, false
	}
}

func (c *commit) waitUntil(ctx context.Context) error {
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// gathering returns the commit that takes what comes next; mu is held.
func (j *journal) gathering() *commit {
	if n := len(j.queue); n > 0 {
		return j.queue[n-1]
	}
	return j.begin()
}

func (j *journal) begin() *commit {
	c := &commit{entry: j.spare, done: make(chan struct{})}
	if j.spare = nil; c.entry == nil {
		c.entry = make([]byte, mailbox.EntryHeaderSize, 1024)
	}
	j.queue = append(j.queue, c)
	switch {
	case j.ended != nil:
		c.tell(j.ended)
	case j.stalled.Load():
		c.tell(ErrUnavailable)
	}
	select {
	case j.kick <- struct{}{}:
	default:
	}
	return c
}

// take returns the oldest commit that is not stored; nil if there is none.
func (j *journal) take() *commit {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.queue) == 0 {
		return nil
	}
	c := j.queue[0]
	j.queue[0] = nil
	j.queue = j.queue[1:]
	j.current = c
	return c
}

// newest returns the commit of the newest record; nil if that is stored.
func (j *journal) newest() *commit {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.ended != nil { // what that was is not known any more, and it may not have been stored
		c := &commit{done: make(chan struct{})}
		c.tell(j.ended)
		return c
	}
	if n := len(j.queue); n > 0 {
		return j.queue[n-1]
	}
	return j.current
}

// run stores one commit after the other.
func (j *journal) run() {
	defer close(j.done)
	for {
		select {
		case <-j.kick:
		case <-j.ctx.Done():
			j.end(ErrShuttingDown)
			return
		}
		for {
			j.letOthersAdd()
			c := j.take()
			if c == nil {
				break
			}
			began := time.Now()
			if err := j.store(c); err != nil {
				j.end(err)
				j.settle(c, err)
				return
			}
			if j.lease > 0 && c.records >= gatherFrom {
				time.Sleep(gatherFor - time.Since(began))
			}
		}
	}
}

// letOthersAdd lets those run who are ready to, and may have something to add. The first of them woke this goroutine, which
// would store that one's record alone.
func (j *journal) letOthersAdd() {
	before := j.waiting()
	j.others.Yield(time.Now(), func() time.Duration {
		return time.Duration(4+j.waiting()-before) * time.Millisecond
	})
}

// waiting returns how many records the next commit has.
func (j *journal) waiting() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.queue) == 0 {
		return 0
	}
	return j.queue[0].records
}

// store tries until the commit is stored, or can never be.
func (j *journal) store(c *commit) error {
	if len(c.entry) == mailbox.EntryHeaderSize && c.floor == 0 && !c.alive {
		j.settle(c, nil)
		return nil
	}
	j.noteFloor(c.floor)
	header := mailbox.EntryHeader{Clock: j.clock.now(), Prev: j.last, Floor: j.floor.Load()}
	header.Put(c.entry)
	sent := header.Clock
	for {
		ctx, cancel := context.WithTimeout(j.ctx, impatience)
		seq, err := j.log.Append(ctx, c.entry)
		cancel()
		if err == nil {
			j.sent.Store(sent.UnixNano())
			j.last, c.seq = seq, seq
			j.written.Add(int64(len(c.entry)) + entryCost)
			j.count.committed(c, j.clock.now().Sub(sent))
			j.recovered()
			j.settle(c, nil)
			return nil
		}
		if errors.Is(err, mailbox.ErrSealed) || j.lease > 0 && errors.Is(err, mailbox.ErrLost) {
			return ErrMoved // what was stored is in the log alone; nodes can begin anew from there
		}
		j.stall(c, err)
		select {
		case <-time.After(retryStore):
		case <-j.ctx.Done():
			return ErrShuttingDown
		}
	}
}

// noteFloor notes that the log may be trimmed up to floor.
func (j *journal) noteFloor(floor uint64) {
	for {
		now := j.floor.Load()
		if floor <= now || j.floor.CompareAndSwap(now, floor) {
			return
		}
	}
}

// settle lets those who wait for the commit go on. If they were told already that it is not stored, and now it
// is, its messages are shown to their readers.
func (j *journal) settle(c *commit, err error) {
	j.pending.Add(int64(mailbox.EntryHeaderSize - len(c.entry)))
	if err == nil {
		for _, then := range c.then {
			then()
		}
	}
	j.mu.Lock()
	j.current = nil
	if cap(c.entry) <= maxSpareEntry && err == nil {
		j.spare = c.entry[:mailbox.EntryHeaderSize]
	}
	c.entry = nil
	told := c.told
	if !told {
		c.tell(err)
	}
	j.mu.Unlock()
	if !told || err != nil {
		return
	}
	for _, a := range c.added {
		if r := a.box.stored(a.seq); r != nil {
			r.Wake()
		}
	}
}

// stall lets everybody know who waits that nothing can be stored now.
func (j *journal) stall(c *commit, err error) {
	if !j.stalled.Swap(true) {
		j.count.stalls.Add(1)
		j.slog.Error("the log takes nothing; senders are refused until it does", "error", err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, c := range append([]*commit{c}, j.queue...) {
		if !c.told {
			c.tell(ErrUnavailable)
		}
	}
}

func (j *journal) recovered() {
	if j.stalled.Load() {
		j.stalled.Store(false)
		j.slog.Info("the log takes entries again")
	}
}

// end takes nothing any more.
func (j *journal) end(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ended = err
	if !errors.Is(err, ErrShuttingDown) {
		j.stalled.Store(true)
	}
	for _, c := range j.queue {
		if !c.told {
			c.tell(err)
		}
	}
	j.queue = nil
}

// ready returns [ErrUnavailable] while nothing can be stored, or too much waits for it.
func (j *journal) ready() error {
	if j != nil && (j.stalled.Load() || j.pending.Load() > maxPending || !j.sure()) {
		return ErrUnavailable
	}
	return nil
}

// sure reports whether nobody else can own this node's shards. It was so when the newest entry was sent, and others
// wait for longer than the lease until they seal a lane.
func (j *journal) sure() bool {
	return j.lease == 0 || j.clock.now().UnixNano()-j.sent.Load() < int64(j.lease)
}

// abandon ends it, whatever is left.
func (j *journal) abandon() {
	j.cancel()
	<-j.done
}

// stop stores what is left to store, until ctx ends, and seals the lane.
func (j *journal) stop(ctx context.Context) error {
	err := j.flush(ctx)
	for errors.Is(err, ErrUnavailable) && ctx.Err() == nil { // the log may take longer than senders are let wait
		select {
		case <-time.After(retryStore):
			err = j.flush(ctx)
		case <-ctx.Done():
		}
	}
	j.abandon()
	if err == nil && j.last != 0 {
		err = j.log.Seal(ctx, j.log.Lane(), j.last)
	}
	return err
}

// tell lets those who wait for the commit go on; the journal's mu is held.
func (c *commit) tell(err error) {
	c.told, c.err = true, err
	close(c.done)
}
