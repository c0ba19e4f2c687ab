package jetstream

import (
	"bytes"
	"encoding/binary"
	"iter"
	"strings"
)

// A file of JetStream's is records one after the other. A record is its length, of 4 bytes, whose highest bit says that it
// has headers; its place, of 8, whose two highest bits say that it is no entry; the time, of 8; the length of its subject, of
// 2; the subject; headers and body; and a checksum of 8, which does not cover the length. A note, of an entry that was
// trimmed, has nothing between head and checksum.
const (
	headSize = 22
	noteSize = headSize + 8
)

// recordSize is what a record's head says, whether or not that can be.
func recordSize(head []byte) int { return int(binary.LittleEndian.Uint32(head) &^ (1 << 31)) }

// recordPlace is 0 if the record is no entry.
func recordPlace(head []byte) uint64 {
	if place := binary.LittleEndian.Uint64(head[4:]); place>>62 == 0 {
		return place
	}
	return 0
}

// lastEntry is the place of the last entry in a part of the file; 0 for none. The server may still go by its index, which counts
// what was cut off.
func lastEntry(records []byte) (last uint64) {
	for place := range places(records) {
		last = place
	}
	return last
}

// places yields those of the entries, up to the first record that can't be one.
func places(records []byte) iter.Seq[uint64] {
	return func(yield func(uint64) bool) {
		for len(records) >= headSize {
			size := recordSize(records)
			if size < noteSize || size > len(records) {
				return
			}
			if place := recordPlace(records); place != 0 && !yield(place) {
				return
			}
			records = records[size:]
		}
	}
}

// isEntry reports whether an entry's head is here. The subject behind it may be cut off.
func isEntry(b []byte, subject string) bool {
	if len(b) < headSize || recordPlace(b) == 0 {
		return false
	}
	size, there := recordSize(b), b[headSize:min(len(b), headSize+len(subject))]
	return size > noteSize+len(subject) && size < maxEntry+headerRoom && strings.HasPrefix(subject, string(there))
}

func isNote(b []byte) bool {
	return len(b) >= headSize && recordPlace(b) == 0 && recordSize(b) == noteSize
}

// entryAndMore reports whether another record follows an entry, which may be damaged. It goes by their lengths, and by nothing
// in a body: a sender may write there what a record looks like.
func entryAndMore(records []byte, subject string) bool {
	for len(records) >= headSize {
		size := recordSize(records)
		if size < noteSize || size >= len(records) {
			break
		}
		records = records[size:]
		if size > noteSize && (isEntry(records, subject) || isNote(records)) {
			return true
		}
	}
	return false
}

// endsWithEntry is for where a length can't be trusted: it reports whether there is an entry, at a place from atLeast on and
// not the first one, that ends where all ends, or where notes begin that do. A sender can't know where a crash will break off
// what he writes, to have it end so; but as it could end in any of many notes, these don't count if it looks broken off.
func endsWithEntry(records []byte, subject string, atLeast uint64) bool {
	brokenOff := isEntry(records, subject) && recordSize(records) > len(records)
	for !brokenOff && len(records) >= noteSize && isNote(records[len(records)-noteSize:]) {
		records = records[:len(records)-noteSize]
	}
	for at := headSize + 1; at < len(records); at++ {
		next := bytes.Index(records[at:], []byte(subject))
		if next < 0 {
			break
		}
		at += next
		entry := records[at-headSize:]
		if isEntry(entry, subject) && recordSize(entry) == len(entry) && recordPlace(entry) >= atLeast {
			return true
		}
	}
	return false
}
