package jetstream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"github.com/genbrowser/genbrowser/mailbox"
)

// tail is the newest file of a log, as it was before a server read it. Where it can't read on, JetStream cuts the
// file off, and says nothing. That is right for the one entry whose write a crash broke off: nobody was told that it
// is stored. If more entries follow, those before were acknowledged.
type tail struct {
	file string
	was  []byte
}

// readTail returns nil if there is no log yet.
func readTail(dir, log string) (*tail, error) {
	files, err := streamFiles(dir, log, "*.blk")
	if err != nil || len(files) == 0 {
		return nil, err
	}
	newest := slices.MaxFunc(files, func(a, b string) int { // numbers without leading zeros
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return bytes.Compare([]byte(a), []byte(b))
	})
	was, err := os.ReadFile(newest)
	return &tail{newest, was}, err
}

// cut returns how many bytes are gone from the end, and whether these were more than one entry.
func (t *tail) cut(log string) (size int, entries bool) {
	is, err := os.ReadFile(t.file)
	subject := []byte(log + ".log.") // each entry has it
	gone, beginsSo := bytes.CutPrefix(t.was, is)
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return 0, false
	case !beginsSo && bytes.Contains(is, subject):
		return 0, false // what was trimmed is left out
	case !beginsSo:
		gone = t.was
	}
	return len(gone), bytes.Count(gone, subject) > 1
}

// restore brings back what was cut off.
func (t *tail) restore(log string) error {
	if size, _ := t.cut(log); size == 0 {
		return nil
	}
	return os.WriteFile(t.file, t.was, 0o600)
}

// checkTail reports what the server cut off. It is an error if entries are lost that were on the disk for sure.
func (l *Log) checkTail(o Options) error {
	t := l.embedded.tail
	if t == nil {
		return nil
	}
	l.embedded.tail = nil
	size, entries := t.cut(l.name)
	if size == 0 {
		return nil
	}
	if !entries || o.SyncEvery > 0 || o.Cluster != nil {
		l.logger.Warn("the end of the log can't be read, and was cut off", "file", t.file, "bytes", size)
		return nil
	}
	left := len(t.was) - size
	last := lastEntry(t.was[:left])
	if last == 0 {
		last = l.embedded.lastEntry(l.name)
	}
	l.embedded.tail = t
	s := l.embedded.dir.state(l.name)
	s.Doubt = true // of who goes on without them
	return errors.Join(l.embedded.dir.setState(l.name, s), fmt.Errorf("%w: entries that were stored can't be read any more, from entry %d on: %s is damaged behind byte %d of %d (to go on without them: truncate -s %[4]d %[3]s)",
		mailbox.ErrDamaged, last+1, t.file, left, len(t.was)))
}

// lastEntry is the place of the last entry in a part of the file; 0 for none. The server may still go by its index, which counts
// what was cut off. A record begins with its length, of 4 bytes, and its place, of 8; the highest bits say what it is.
func lastEntry(records []byte) (last uint64) {
	const head = 22
	for len(records) >= head {
		size := int(binary.LittleEndian.Uint32(records) &^ (1 << 31))
		if size < head || size > len(records) {
			break
		}
		if place := binary.LittleEndian.Uint64(records[4:]); place>>62 == 0 {
			last = place
		}
		records = records[size:]
	}
	return last
}

// lastEntry is the place of the last entry that the server says there is; 0 for none.
func (e *embedded) lastEntry(log string) uint64 {
	info, err := e.server.Jsz(&natsserver.JSzOptions{Accounts: true, Streams: true})
	if err != nil {
		return 0
	}
	for _, account := range info.AccountDetails {
		for _, stream := range account.Streams {
			if stream.Name == log {
				return stream.State.LastSeq
			}
		}
	}
	return 0
}
