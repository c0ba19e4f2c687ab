package server

import (
	"errors"
	"slices"
	"sync"

	"github.com/google/uuid"

	"github.com/genbrowser/genbrowser/mailbox"
)

// shardCount is how many shards the mailboxes are spread over. In a cluster each has one node that owns it.
const shardCount = 64

// shardOf returns the shard of a mailbox, which the last byte of its id names.
func shardOf(id uuid.UUID) uint8 { return id[15] % shardCount }

// shard is the mailboxes of one shard, if this node owns it.
type shard struct {
	number uint8

	mu      sync.RWMutex
	owned   bool
	boxes   boxes
	journal *journal // nil: mailboxes end with the process
	floor   uint64   // the log tells everything about the shard from this entry on
	since   uint64   // the entry by which it was claimed
}

// errElsewhere says that another node owns the mailbox.
var errElsewhere = errors.New("owned by another node")

func (s *Server) shard(id uuid.UUID) *shard { return &s.shards[shardOf(id)] }

// box returns the mailbox id, or the reason why there is none.
func (s *Server) box(id uuid.UUID) (*box, error) {
	sh := s.shard(id)
	sh.mu.RLock()
	b, owned := sh.boxes.get(id), sh.owned
	sh.mu.RUnlock()
	switch {
	case b != nil:
		return b, nil
	case owned:
		return nil, s.gone.why(id)
	}
	return nil, errElsewhere
}

// find is box for who acts on the answer: that there is no mailbox can only say who is sure to own its shard. The
// error is [ErrUnavailable] while this node may have been given up: another may have opened it.
func (s *Server) find(id uuid.UUID) (*box, error) {
	b, err := s.box(id)
	if err != nil && !errors.Is(err, errElsewhere) && !s.shard(id).isSure() {
		return nil, ErrUnavailable
	}
	return b, err
}

func (sh *shard) isSure() bool {
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	j := sh.journal
	return j == nil || j.lease == 0 || j.sure() && !j.stalled.Load()
}

func (sh *shard) all() []*box {
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return slices.Clone(sh.boxes.list)
}

// open adds a mailbox, and tells the log of it before anybody can change it.
func (sh *shard) open(b *box, r *mailbox.Record) (*commit, error) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if !sh.owned {
		return nil, errElsewhere
	}
	if b.log = sh.journal; b.log != nil {
		b.visible = 0
	}
	sh.boxes.add(b)
	return b.note(r), nil
}

// own makes the shard this node's. The entry since claimed it, and those from floor on tell what is in it.
func (sh *shard) own(all boxes, j *journal, since, floor uint64) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.owned, sh.boxes, sh.journal, sh.since, sh.floor = true, all, j, since, floor
}

// raiseFloor notes that the log tells everything anew from floor on, if it is still owned by the same claim.
func (sh *shard) raiseFloor(since, floor uint64) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.owned && sh.since == since {
		sh.floor = floor
	}
}

// disown returns the mailboxes of a shard that is this node's no longer.
func (sh *shard) disown() []*box {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	all := sh.boxes.list
	sh.owned, sh.boxes, sh.journal = false, boxes{}, nil
	return all
}

func (sh *shard) isOwned() bool {
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	return sh.owned
}

// ownedShard is a shard that a node owns.
type ownedShard struct {
	Shard uint8  `json:"shard"`
	Since uint64 `json:"since"` // the entry by which it was claimed
	Floor uint64 `json:"floor"` // the log tells everything about it from this entry on
}

// ownedShards returns the shards that this server owns.
func (s *Server) ownedShards() (owned []ownedShard) {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.RLock()
		if sh.owned {
			owned = append(owned, ownedShard{sh.number, sh.since, sh.floor})
		}
		sh.mu.RUnlock()
	}
	return owned
}
