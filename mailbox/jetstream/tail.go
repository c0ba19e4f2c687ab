package jetstream

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
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

// subjects is what the subject of each entry begins with.
func subjects(log string) []byte { return []byte(log + ".log.") }

// cut returns how many bytes are gone from the end, and whether an entry is among them that was acknowledged.
func (t *tail) cut(log string) (size int, acknowledged bool, err error) {
	is, err := os.ReadFile(t.file)
	gone, beginsSo := bytes.CutPrefix(t.was, is)
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return 0, false, err
	case !beginsSo && bytes.Contains(is, subjects(log)):
		return 0, false, nil // what was trimmed is left out
	case !beginsSo:
		gone = t.was
	}
	subject, last := string(subjects(log)), lastEntry(t.was[:len(t.was)-len(gone)])
	return len(gone), entryAndMore(gone, subject) || endsWithEntry(gone, subject, last+2), nil
}

// checkTail reports what the server cut off. It is an error if entries are lost that were on the disk for sure.
func (l *Log) checkTail(o Options) error {
	t := l.embedded.tail
	if t == nil {
		return nil
	}
	l.embedded.tail = nil
	size, acknowledged, err := t.cut(l.name)
	if err != nil {
		return err
	}
	if acknowledged && o.Cluster == nil { // other nodes have them
		if err := l.checkLoss(o, t, len(t.was)-size); err != nil {
			return err
		}
	}
	if size > 0 {
		l.logger.Warn("the end of the log can't be read, and was cut off", "file", t.file, "bytes", size)
	}
	return t.forget()
}

// checkLoss is for when entries that were acknowledged are gone, and of the file only its first bytes are left. It is an error,
// unless they were not on the disk for sure when the log was written, whatever o says of what is written next. Either way the
// log is in doubt, for whoever goes on without them.
func (l *Log) checkLoss(o Options, t *tail, left int) error {
	s, boot := l.embedded.dir.state(l.name), bootID()
	if o.Restored {
		boot = "" // a copy of a log that was open is as after a power cut
	}
	_, possible := s.brokenOff(boot)
	s.Doubt = true
	err := l.embedded.dir.setState(l.name, s)
	if possible {
		return err
	}
	last := lastEntry(t.was[:left])
	if last == 0 {
		last = l.embedded.lastEntry(l.name)
	}
	return errors.Join(err, fmt.Errorf("%w: entries that were stored can't be read any more, from entry %d on: %s is damaged behind byte %d of %d (to go on without them: truncate -s %[4]d %[3]s)",
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
