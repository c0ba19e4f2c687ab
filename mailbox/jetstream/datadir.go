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
	path  string
	lock  *os.File
	isNew bool // nothing was in it
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
	used, err := IsDataDir(path)
	d.isNew = !used
	if err == nil {
		err = d.claim(want)
	}
	if err != nil {
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
	return replaceFile(path, append(text, '\n'))
}

// unfinished is how the name of a file ends that is to replace another one, until it is on the disk.
const unfinished = ".new"

func replaceFile(path string, text []byte) error {
	f, err := os.OpenFile(path+unfinished, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path+unfinished)) // the disk may be full
	}
	if err := os.Rename(path+unfinished, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// files returns those of the log's stream that match a pattern.
func (d *dataDir) files(log, pattern string) ([]string, error) {
	return streamFiles(d.path, log, pattern)
}

func streamFiles(dir, log, pattern string) ([]string, error) {
	return filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", log, "msgs", pattern))
}

// IsDataDir reports whether a directory was used as one before. The error is one that keeps it from being known.
func IsDataDir(path string) (bool, error) {
	_, err := os.Stat(filepath.Join(path, "format"))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
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
