package jetstream

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/internal/standstill"
)

// smallDisk mounts one of 32 MiB.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=32m"); err != nil {
		t.Skipf("a small disk can't be mounted here: %v", err)
	}
	t.Cleanup(func() {
		// a process that another test starts has our files until it runs its program
		until(t, "the disk to be free", func() bool { return syscall.Unmount(dir, 0) == nil })
	})
	return dir
}

func appendUntilFull(t *testing.T, l *Log) error {
	t.Helper()
	entry := []byte(strings.Repeat("x", 256<<10))
	running := standstill.Start(t)
	for range 1000 {
		began := running.Elapsed()
		if _, err := l.Append(within(t), entry); err != nil {
			if took := running.Elapsed() - began; !errors.Is(err, ErrFull) || took > 3*time.Second {
				t.Fatalf("append to a full disk: %v after %v; want ErrFull at once", err, took)
			}
			return err
		}
	}
	t.Fatal("the disk does not get full")
	return nil
}

// TestDiskShare: a log leaves a quarter of the disk, and goes on when there is room again.
func TestDiskShare(t *testing.T) {
	l := mustOpen(t, Options{Dir: filepath.Join(smallDisk(t), "d")})
	t.Log(appendUntilFull(t, l))
	if err := l.Trim(within(t), l.last); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, "room again")
	l.Close()
}

// TestDiskFull: somebody else fills the disk.
func TestDiskFull(t *testing.T) {
	disk := smallDisk(t)
	l := mustOpen(t, Options{Dir: filepath.Join(disk, "d")})
	mustAppend(t, l, "1")
	ballast := filepath.Join(disk, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 26<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Log(appendUntilFull(t, l))
	acknowledged := l.last
	l.Close()
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	l = mustOpen(t, Options{Dir: filepath.Join(disk, "d")})
	if got := entries(t, l); uint64(len(got)) < acknowledged {
		t.Errorf("%d entries are there, and %d were acknowledged", len(got), acknowledged)
	}
	mustAppend(t, l, "2")
	l.Close()
}

func TestReadOnlyDisk(t *testing.T) {
	disk := smallDisk(t)
	dir := filepath.Join(disk, "d")
	mustOpen(t, Options{Dir: dir}).Close()
	if err := syscall.Mount("", disk, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Skipf("a disk can't be made read-only here: %v", err)
	}
	wantRefused(t, Options{Dir: dir}, dir, "read-only file system")
}
