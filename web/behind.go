package web

import (
	"errors"
	"fmt"
	"hash/maphash"
	"time"

	"github.com/genbrowser/genbrowser/server"
)

// behind keeps the lines of an upload in order of which one was refused for a moment: its sender sends that again, and what
// follows it to the same address must not have passed it meanwhile.
type behind struct {
	until     time.Time
	addresses map[uint64]struct{} // their hashes
	all       bool                // there were too many of them
}

const (
	// behindFor is for how long lines are refused that would pass one: by then its sender knows, and has broken off what it sent.
	behindFor = 5 * time.Second
	// maxBehind is to how many addresses, until it is all.
	maxBehind = 1000
)

var errBehind = fmt.Errorf("%w: a message before this one, to the same address, is to come first", server.ErrUnavailable)

var addressSeed = maphash.MakeSeed()

func hashAddress(to string) uint64 { return maphash.String(addressSeed, to) }

// noting notes what became of a line to that address.
func (b *behind) noting(address uint64, err error) {
	if err == nil || !errors.Is(err, server.ErrUnavailable) && !errors.Is(err, server.ErrShuttingDown) && !errors.Is(err, server.ErrMoved) {
		return
	}
	b.until = time.Now().Add(behindFor)
	if b.addresses == nil {
		b.addresses = make(map[uint64]struct{})
	}
	b.addresses[address] = struct{}{}
	b.all = b.all || len(b.addresses) > maxBehind
	if b.all {
		clear(b.addresses)
	}
}

// pass returns errBehind for a line that would pass one.
func (b *behind) pass(address uint64) error {
	if b.until.IsZero() {
		return nil
	}
	if time.Now().After(b.until) {
		*b = behind{}
		return nil
	}
	if _, waits := b.addresses[address]; waits || b.all {
		return errBehind
	}
	return nil
}
