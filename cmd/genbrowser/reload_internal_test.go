package main

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestReload(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		file, reads := filepath.Join(dir, "f"), 0
		put := func(text string, at int64) {
			if err := errors.Join(os.WriteFile(file, []byte(text), 0o600), os.Chtimes(file, time.Time{}, time.Unix(at, 0))); err != nil {
				t.Fatal(err)
			}
		}
		var log bytes.Buffer
		load := func() (string, error) {
			reads++
			b, err := os.ReadFile(file)
			if err == nil && strings.HasPrefix(string(b), "bad") {
				err = errors.New("it is bad")
			}
			return string(b), err
		}
		put("bad", 1)
		if _, err := reload(slog.New(slog.NewTextHandler(&log, nil)), load, file); err == nil {
			t.Error("starts with a bad file")
		}
		put("1", 1)
		r, err := reload(slog.New(slog.NewTextHandler(&log, nil)), load, file)
		if err != nil {
			t.Fatal(err)
		}
		reads = 0
		want := func(value string, read, reports int) {
			t.Helper()
			if got := r.get(); got != value || reads != read {
				t.Errorf("got %q after %d reads, want %q after %d", got, reads, value, read)
			}
			if got := strings.Count(log.String(), "level=ERROR"); got != reports {
				t.Errorf("%d reports, want %d:\n%s", got, reports, &log)
			}
		}
		put("2", 2)
		want("1", 0, 0) // not within a second
		time.Sleep(looking)
		want("2", 1, 0)
		time.Sleep(looking)
		want("2", 1, 0) // it did not change
		put("22", 2)    // its size did
		time.Sleep(looking)
		want("22", 2, 0)
		put("bad", 3)
		time.Sleep(looking)
		want("22", 3, 1)
		time.Sleep(looking)
		want("22", 4, 1) // is tried again, and reported once
		os.Remove(file)
		time.Sleep(looking)
		want("22", 5, 2)
		put("3", 4)
		time.Sleep(looking)
		want("3", 6, 2)

		// who looks holds up nobody
		put("4", 5)
		time.Sleep(looking)
		r.mu.Lock()
		want("3", 6, 2)
		r.mu.Unlock()
		want("4", 7, 2)
	})
}
