package server

import (
	"bufio"
	crand "crypto/rand"
	"math/rand/v2"
	"sync"

	"github.com/google/uuid"
)

// together is how many mailboxes that are opened one after the other are in the same shard. They are near each other in
// memory, and the garbage collector goes through it by shards.
const together = 8

// allotter chooses the shards and ids of new mailboxes.
type allotter struct {
	random *bufio.Reader // reads the system's randomness for several ids at once
	shard  int
	used   int // how often in a row
}

var allotters = sync.Pool{New: func() any {
	return &allotter{random: bufio.NewReaderSize(crand.Reader, 1024), shard: rand.IntN(shardCount)}
}}

// allot returns a shard that a new mailbox can be in, and its id.
func (s *Server) allot() (*shard, uuid.UUID, error) {
	a := allotters.Get().(*allotter)
	defer allotters.Put(a)
	if a.used == together {
		a.next()
	}
	for range shardCount {
		sh := &s.shards[a.shard]
		sh.mu.RLock()
		owned, journal := sh.owned, sh.journal
		sh.mu.RUnlock()
		if owned {
			a.used++
			return sh, a.newID(sh), journal.ready()
		}
		a.next()
	}
	return nil, uuid.UUID{}, errElsewhere
}

func (a *allotter) next() { a.shard, a.used = (a.shard+1)%shardCount, 0 }

// newID returns a random id of the shard.
func (a *allotter) newID(sh *shard) uuid.UUID {
	id := uuid.Must(uuid.NewRandomFromReader(a.random))
	id[15] = id[15]&^(shardCount-1) | sh.number
	return id
}
