package mailbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"
)

// EntryHeader begins each entry that a server appends to a [Log]; the records follow it.
type EntryHeader struct {
	Clock time.Time // when its records were made, by the writer's clock
	Prev  uint64    // place of the writer's entry before this one; 0 for its first
	Floor uint64    // the writer saw the log trimmed up to here, this place not included
}

const (
	entryVersion = 1
	// EntryHeaderSize is how many bytes of an entry come before its records.
	EntryHeaderSize = 1 + 4 + 8 + 8 + 8
)

// ErrDamaged says that a log is not what was written to it.
var ErrDamaged = errors.New("the log is damaged")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Put writes the header to the first EntryHeaderSize bytes of entry, whose records are complete:
//
//	version:1 crc32c:4 clock:8 prev:8 floor:8        big endian; the clock in nanoseconds since 1970
//
// The checksum (RFC 3720, appendix B.4) is of all that follows it.
func (h *EntryHeader) Put(entry []byte) {
	entry[0] = entryVersion
	binary.BigEndian.PutUint64(entry[5:], uint64(h.Clock.UnixNano()))
	binary.BigEndian.PutUint64(entry[13:], h.Prev)
	binary.BigEndian.PutUint64(entry[21:], h.Floor)
	binary.BigEndian.PutUint32(entry[1:], crc32.Checksum(entry[5:], castagnoli))
}

// ParseEntry returns an entry's header and records. The error is an [ErrDamaged], or says that the entry is of a
// newer version.
func ParseEntry(entry []byte) (h EntryHeader, records []byte, err error) {
	if len(entry) < EntryHeaderSize {
		return h, nil, fmt.Errorf("%w: an entry of %d bytes", ErrDamaged, len(entry))
	}
	if v := entry[0]; v != entryVersion {
		return h, nil, fmt.Errorf("the log has entries of version %d; this program knows version %d", v, entryVersion)
	}
	if crc32.Checksum(entry[5:], castagnoli) != binary.BigEndian.Uint32(entry[1:]) {
		return h, nil, fmt.Errorf("%w: checksum", ErrDamaged)
	}
	h.Clock = time.Unix(0, int64(binary.BigEndian.Uint64(entry[5:])))
	h.Prev = binary.BigEndian.Uint64(entry[13:])
	h.Floor = binary.BigEndian.Uint64(entry[21:])
	return h, entry[EntryHeaderSize:], nil
}
