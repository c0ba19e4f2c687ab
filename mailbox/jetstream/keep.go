package jetstream

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// While a server starts, a copy of the newest file is on the disk beside it: what JetStream cuts off is gone at once, and this
// process may be killed before it has judged that. In the end the copy is deleted, if the log can go on, or takes the file's
// place. So whoever starts after an interruption has what the first one had.

// copyPrefix is of names that JetStream leaves alone: its own begin with a number.
const copyPrefix = "before-"

func (t *tail) copy() string {
	dir, name := filepath.Split(t.file)
	return dir + copyPrefix + strings.TrimSuffix(name, ".blk")
}

func (t *tail) keep() error {
	if err := replaceFile(t.copy(), t.was); err != nil {
		return fmt.Errorf("%s needs a copy of %d bytes while it is read: %w", t.file, len(t.was), err)
	}
	return nil
}

// forget deletes the copy, for good: what the log gets from then on must not be replaced by it.
func (t *tail) forget() error {
	err := os.Remove(t.copy())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(err, syncDir(filepath.Dir(t.file)))
}

// putBack restores the files whose copies are still there.
func (d *dataDir) putBack(log string) error {
	copies, err := d.files(log, copyPrefix+"*")
	for _, name := range copies {
		if err == nil {
			err = putBack(name, log)
		}
	}
	return err
}

func putBack(name, log string) error {
	if strings.HasSuffix(name, unfinished) {
		return os.Remove(name)
	}
	dir, number := filepath.Split(name)
	t := &tail{file: dir + strings.TrimPrefix(number, copyPrefix) + ".blk"}
	var err error
	if t.was, err = os.ReadFile(name); err != nil {
		return err
	}
	size, _, err := t.cut(log)
	if err != nil {
		return err
	}
	notes, overtaken, err := t.newer(log)
	switch {
	case err != nil:
		return err
	case size == 0 || overtaken: // of which a file system may have forgotten that it was deleted
		return t.forget()
	}
	return t.restore(notes)
}

// newer returns the files that the server began behind this one to note how far it thinks that the log goes, unless there
// are entries in one.
func (t *tail) newer(log string) (notes []string, overtaken bool, err error) {
	files, err := filepath.Glob(filepath.Join(filepath.Dir(t.file), "*.blk"))
	for _, file := range files {
		if byNumber(file, t.file) <= 0 {
			continue
		}
		records, err := os.ReadFile(file)
		if err != nil || bytes.Contains(records, subjects(log)) {
			return nil, true, err
		}
		notes = append(notes, file)
	}
	return notes, false, err
}

// restore has the copy take the file's place. Notes behind it go first: one of them would be the newest file for who starts
// the server again, and the damage out of sight.
func (t *tail) restore(notes []string) error {
	dir := filepath.Dir(t.file)
	for _, file := range notes {
		if err := os.Remove(file); err != nil {
			return err
		}
	}
	if err := syncDir(dir); err != nil {
		return err
	}
	return errors.Join(os.Rename(t.copy(), t.file), syncDir(dir))
}
