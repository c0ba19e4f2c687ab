package main

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// looking is how often files are looked at, at most.
const looking = time.Second

// reloaded is what files hold. They are looked at when it is asked for, and read again if they changed; what can't be
// used is reported, and the value stays as it was.
type reloaded[T any] struct {
	files []string
	load  func() (T, error)
	log   *slog.Logger
	value atomic.Pointer[T]

	mu       sync.Mutex // held by who looks; others take the value as it is
	looked   time.Time
	loaded   string // the files' stamp when the value was read
	reported string // the stamp that failed last
}

// reload reads files for the first time.
func reload[T any](log *slog.Logger, load func() (T, error), files ...string) (*reloaded[T], error) {
	r := &reloaded[T]{files: files, load: load, log: log, looked: time.Now(), loaded: stamp(files)}
	value, err := load()
	if err != nil {
		return nil, err
	}
	r.value.Store(&value)
	return r, nil
}

func (r *reloaded[T]) get() T {
	if r.mu.TryLock() {
		r.look()
		r.mu.Unlock()
	}
	return *r.value.Load()
}

// look reads the files again if they changed. The stamp is taken first: a change in between is seen the next time. What
// failed is tried each time, for a pair of files is not replaced at one instant.
func (r *reloaded[T]) look() {
	if time.Since(r.looked) < looking {
		return
	}
	r.looked = time.Now()
	now := stamp(r.files)
	if now == r.loaded {
		return
	}
	value, err := r.load()
	if err != nil {
		if r.reported != now {
			r.log.Error("what changed on the disk can't be used; what was read before stays", "files", r.files, "error", err)
		}
		r.reported = now
		return
	}
	r.value.Store(&value)
	r.loaded, r.reported = now, ""
	r.log.Info("read again", "files", r.files)
}

// stamp changes when a file does.
func stamp(files []string) string {
	var b strings.Builder
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			fmt.Fprintln(&b, err)
			continue
		}
		fmt.Fprintln(&b, info.ModTime().UnixNano(), info.Size())
	}
	return b.String()
}
