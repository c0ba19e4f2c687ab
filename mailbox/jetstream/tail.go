package jetstream

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"github.com/genbrowser/genbrowser/mailbox"
)

// tail is the newest file of a log, as it was before a server read it. Where it can't read on, JetStream cuts the
// file off, and says nothing. That is right for the one entry whose write a crash broke off: nobody was told that it
// is stored. If a record follows an entry, that was acknowledged.
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
	newest := slices.MaxFunc(files, byNumber)
	was, err := os.ReadFile(newest)
	return &tail{newest, was}, err
}

// byNumber compares files of one directory, which have numbers without leading zeros.
func byNumber(a, b string) int { return cmp.Or(len(a)-len(b), strings.Compare(a, b)) }

// cut returns how many bytes are gone from the end, and whether an entry is among them that was acknowledged.
func (t *tail) cut(log string) (size int, acknowledged bool) {
	is, err := os.ReadFile(t.file)
	subject := log + ".log." // each entry has it
	gone, beginsSo := bytes.CutPrefix(t.was, is)
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return 0, false
	case !beginsSo && bytes.Contains(is, []byte(subject)):
		return 0, false // what was trimmed is left out
	case !beginsSo:
		gone = t.was
	}
	last := lastEntry(t.was[:len(t.was)-len(gone)])
	return len(gone), entryAndMore(gone, subject) || endsWithEntry(gone, subject, last+2)
}

// restore brings back what was cut off. A file that the server began behind it, to note how far it thinks that the log goes,
// would be the newest one for who starts it again, and the damage out of sight.
func (t *tail) restore(log string) error {
	if size, _ := t.cut(log); size == 0 {
		return nil
	}
	files, err := filepath.Glob(filepath.Join(filepath.Dir(t.file), "*.blk"))
	for _, file := range files {
		if byNumber(file, t.file) > 0 {
			err = errors.Join(err, removeNotes(file))
		}
	}
	return errors.Join(err, os.WriteFile(t.file, t.was, 0o600))
}

// removeNotes removes a file that has no entries.
func removeNotes(file string) error {
	records, err := os.ReadFile(file)
	if err != nil || lastEntry(records) > 0 {
		return err
	}
	return os.Remove(file)
}

// checkTail reports what the server cut off. It is an error if entries are lost that were on the disk for sure.
func (l *Log) checkTail(o Options) error {
	t := l.embedded.tail
	if t == nil {
		return nil
	}
	l.embedded.tail = nil
	size, acknowledged := t.cut(l.name)
	if size == 0 {
		return nil
	}
	if !acknowledged || o.SyncEvery > 0 || o.Cluster != nil {
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
