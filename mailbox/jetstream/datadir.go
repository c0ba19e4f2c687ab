package jetstream

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// formatVersion is of what we keep in a data directory. JetStream has versions of its own.
const formatVersion = 1

// format is the file of that name. A directory is bound to its node, because a NATS that finds streams of an
// alone server when it is in a cluster, or the other way round, throws them away.
type format struct {
	Version int    `json:"version"`
	Cluster string `json:"cluster,omitempty"`
	Node    string `json:"node,omitempty"`
}

func newFormat(c *Cluster) format {
	if c == nil {
		return format{Version: formatVersion}
	}
	return format{Version: formatVersion, Cluster: c.Name, Node: c.Node}
}

// dataDir is a directory that this process has for itself.
type dataDir struct {
	path string
	lock *os.File
}

// openDataDir makes, checks and locks a directory. Its errors name it, and come before a server starts on it.
func openDataDir(path string, want format) (*dataDir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	lock, err := lockFile(filepath.Join(path, "lock"))
	if errors.Is(err, errLocked) {
		return nil, fmt.Errorf("data directory %s is in use by process %s", path, owner(filepath.Join(path, "lock")))
	}
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	d := &dataDir{path: path, lock: lock}
	if err := d.claim(want); err != nil {
		return nil, errors.Join(fmt.Errorf("data directory %s: %w", path, err), d.close())
	}
	return d, nil
}

func (d *dataDir) claim(want format) error {
	if err := d.lock.Truncate(0); err != nil {
		return err
	}
	if _, err := d.lock.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		return err
	}
	return checkFormat(filepath.Join(d.path, "format"), want)
}

func checkFormat(path string, want format) error {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return writeFormat(path, want)
	}
	if err != nil {
		return err
	}
	var have format
	if err := json.Unmarshal(text, &have); err != nil {
		return fmt.Errorf("the file format can't be read: %w", err)
	}
	switch {
	case have.Version > formatVersion:
		return fmt.Errorf("it has format %d, and this program knows formats up to %d: use a newer one", have.Version, formatVersion)
	case have != want:
		return fmt.Errorf("it was made for %s: it can't be used for %s", have, want)
	}
	return nil
}

// String says which node a directory is for.
func (f format) String() string {
	if f.Cluster == "" {
		return "a server alone"
	}
	return fmt.Sprintf("node %s of cluster %s", f.Node, f.Cluster)
}

func writeFormat(path string, f format) error {
	text, err := json.Marshal(f)
	if err != nil {
		return err
	}
	return replaceFile(path, text)
}

func replaceFile(path string, text []byte) error {
	if err := os.WriteFile(path+".new", append(text, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// keepLast notes the newest entry of a log that is closed: JetStream cuts off what it can't read at the end of a
// stream, and does not always say so. lastKept is 0 if there is no note.
func (d *dataDir) keepLast(log string, seq uint64) error {
	return replaceFile(filepath.Join(d.path, log+".last"), []byte(decimal(seq)))
}

func (d *dataDir) lastKept(log string) uint64 {
	text, _ := os.ReadFile(filepath.Join(d.path, log+".last"))
	seq, _ := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	return seq
}

// IsDataDir reports whether a directory was used as one before.
func IsDataDir(path string) bool {
	_, err := os.Stat(filepath.Join(path, "format"))
	return err == nil
}

func owner(path string) string {
	text, err := os.ReadFile(path)
	if pid := strings.TrimSpace(string(text)); err == nil && pid != "" {
		return pid
	}
	return "unknown"
}

// close lets others have the directory. The lock file stays: if it went, two processes could lock two files.
func (d *dataDir) close() error { return d.lock.Close() }
