package mailbox

import (
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// goldenEntry is the format of entries, field by field. Its checksum was computed by another program.
const goldenEntry = "01 0e1f11e2 18fae27693b4003f 0000000000000102 0000000000000003 5265636f726473"

var goldenHeader = EntryHeader{Clock: time.Unix(1_800_000_000, 63), Prev: 0x102, Floor: 3}

func entryBytes(t testing.TB) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(goldenEntry, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestEntryFormat(t *testing.T) {
	want := entryBytes(t)
	got := append(make([]byte, EntryHeaderSize), "Records"...)
	goldenHeader.Put(got)
	if !slices.Equal(got, want) {
		t.Errorf("Put =\n%x, want\n%x", got, want)
	}
	h, records, err := ParseEntry(want)
	if err != nil || !h.Clock.Equal(goldenHeader.Clock) || h.Prev != goldenHeader.Prev || h.Floor != goldenHeader.Floor || string(records) != "Records" {
		t.Errorf("ParseEntry = %+v, %q, %v; want %+v", h, records, err, goldenHeader)
	}

	bare := make([]byte, EntryHeaderSize) // a header may come alone
	goldenHeader.Put(bare)
	if h, records, err := ParseEntry(bare); err != nil || h.Prev != goldenHeader.Prev || len(records) > 0 {
		t.Errorf("ParseEntry of a header = %+v, %q, %v", h, records, err)
	}
}

func TestDamagedEntry(t *testing.T) {
	for bit := range 8 * len(entryBytes(t)) {
		b := entryBytes(t)
		b[bit/8] ^= 1 << (bit % 8)
		// the checksum does not cover the version, for other versions may have another
		if h, _, err := ParseEntry(b); err == nil || bit >= 8 && !errors.Is(err, ErrDamaged) {
			t.Errorf("with bit %d of byte %d flipped: %+v, %v; want ErrDamaged", bit%8, bit/8, h, err)
		}
	}
	for n := range entryBytes(t) {
		if h, _, err := ParseEntry(entryBytes(t)[:n]); !errors.Is(err, ErrDamaged) {
			t.Errorf("its first %d bytes are %+v, %v; want ErrDamaged", n, h, err)
		}
	}
	if h, _, err := ParseEntry([]byte{1, 0, 0, 0, 0}); !errors.Is(err, ErrDamaged) {
		t.Errorf("nothing, with its right checksum: %+v, %v; want ErrDamaged", h, err)
	}
}

func TestNewerEntry(t *testing.T) {
	b := entryBytes(t)
	b[0] = 2
	_, _, err := ParseEntry(b)
	if err == nil || errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("ParseEntry = %v; want that it is of version 2, not damaged", err)
	}
}
