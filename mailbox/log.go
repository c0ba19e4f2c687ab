package mailbox

import (
	"context"
	"errors"
	"time"
)

// Log makes mailboxes outlive the process that keeps them. It is one sequence of entries, in the same order for
// all who read it. Several processes may append to it, each to a lane of its own, until somebody seals that
// lane: so one that was given up for dead can store nothing behind the back of who took its place.
//
// Anyone may read at any time; Append is for one goroutine at a time.
type Log interface {
	// Lane names the lane that Append appends to. It is new, and empty, for each opened log and after each Renew.
	Lane() string
	// Renew begins a new lane, when the old one is sealed. It must not be called during Append.
	Renew()
	// Append stores an entry, of 1 to MaxEntry bytes, after all others, and returns its place. If the answer is
	// lost it finds out, or tries again, until ctx ends; whether the entry was stored is then unknown, and the
	// next Append must be of the same entry, whose bytes must not change before. Otherwise none are kept. [ErrSealed] says
	// that nothing can be appended any more.
	Append(ctx context.Context, entry []byte) (seq uint64, err error)
	// Seal appends the end of a lane, if the entry last is still its newest one; [ErrNotLast] if not. Sealing
	// its own lane is how a writer says goodbye.
	Seal(ctx context.Context, lane string, last uint64) error
	// Lanes returns the newest entry of each lane that is not sealed, its data left out.
	Lanes(ctx context.Context) ([]Entry, error)
	// Read calls f with every entry from a place on, 0 for all, that was stored before Read began, oldest first, until f
	// returns an error, which it returns. Data is f's to keep.
	Read(ctx context.Context, from uint64, f func(Entry) error) error
	// Trim forgets the entries before seq, at once.
	Trim(ctx context.Context, seq uint64) error
	// Stats tells how much is kept.
	Stats(ctx context.Context) (LogStats, error)
	// MaxEntry is how long an entry may be, in bytes.
	MaxEntry() int
	// Close lets go of the log. It seals nothing.
	Close() error
}

// Entry is what one Append or Seal stored.
type Entry struct {
	Seq  uint64 // its place in the log, from 1 on; each entry has the next one
	Lane string
	Data []byte

	Seal  bool   // the end of its lane; Data is empty
	After uint64 // of a Seal: the place of the newest entry that it sealed
}

// LogStats is how much a log keeps.
type LogStats struct {
	First, Last uint64 // places of the oldest and the newest entry; an empty log has First = Last + 1
	Entries     uint64
	Bytes       uint64 // as stored
}

// Replicated is a [Log] that several servers may keep.
type Replicated interface {
	// Replicas returns those servers; nil if there is only the one.
	Replicas(ctx context.Context) ([]Replica, error)
}

// Lossy is a [Log] that may lose what was appended last, such as when the power fails.
type Lossy interface {
	// Settles is how long it takes at most until what was appended is safe from that; 0: not even while it is appended.
	Settles() time.Duration
	// MayHaveLost reports whether that may have happened, and nobody said yet that it is known.
	MayHaveLost() bool
	// LossKnown says that it is: what is in the log tells those whom it concerns.
	LossKnown() error
}

// Replica is a server that keeps a log.
type Replica struct {
	Name    string
	Leader  bool // it decides what is stored
	Offline bool
	Lag     uint64 // entries that it lacks; 0 if it is offline, when that is not known
}

var (
	// ErrSealed is why a writer must stop: another took its place.
	ErrSealed = errors.New("the log's lane is sealed")
	// ErrLost says that the log forgot an entry that it had acknowledged: a disk lost it, or an old copy came
	// back. Its writer must stop, for its memory and the log do not fit any more.
	ErrLost = errors.New("the log lost an entry that it had acknowledged")
	// ErrTrimmed is why a log could not be read: what was read was trimmed meanwhile. Read it again.
	ErrTrimmed = errors.New("the log was trimmed while it was read")
	// ErrNotLast is why a lane was not sealed: its writer appended to it meanwhile.
	ErrNotLast = errors.New("the lane has a newer entry")
)
