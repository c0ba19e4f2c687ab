//go:build linux

package e2e

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/internal/standstill"
)

// soaking reports whether the long forms of the tests are wanted: make soak.
func soaking() bool { return os.Getenv("GENBROWSER_SOAK") != "" }

// loadFlags keep mailboxes from filling up and from expiring, and let the log be rewritten often.
var loadFlags = []string{"--snapshot", "200000", "--backlog", "100000", "--backlog-bytes", "100000000", "--names", "20000", "--asleep", "1h", "--name-window", "1h"}

// TestKilled kills the program again and again, under load, as it starts, and as it rewrites its log. What got its
// 202 arrives, once and in order; what was acknowledged does not come again; who opened or closed a mailbox finds it
// so.
func TestKilled(t *testing.T) {
	rounds := 6
	if soaking() {
		rounds = 200
	}
	killUnderLoad(t, rounds, true)
}

// TestKilledBetweenSyncs does so when nothing says that a message is on the disk: the system has it. Nor is the log shortened
// then, for what is in its place is not on the disk either.
func TestKilledBetweenSyncs(t *testing.T) {
	killUnderLoad(t, 2, false, interval...)
}

func killUnderLoad(t *testing.T, rounds int, shortened bool, flags ...string) {
	dir := t.TempDir()
	flags = append(slices.Clone(flags), loadFlags...)
	p := startDurable(t, dir, flags...)
	l := newLoad(t)
	l.start(p)
	snapshots, running := 0, standstill.Start(t)
	for round := range rounds {
		l.moment(round, p)
		p.kill()
		snapshots += p.lines("snapshot")
		for range round % 3 {
			startAndKill(t, dir, flags...)
		}
		began := running.Elapsed()
		p = startDurable(t, dir, flags...)
		if took := running.Elapsed() - began; took > 5*time.Second {
			t.Errorf("it took %v to start after round %d", took, round)
		}
		l.use(p)
	}
	l.finish(p)
	l.checkMailboxes(p)
	p.terminate(t)
	lanes, stats := readLog(t, dir)
	t.Logf("%d snapshots; the log has %d bytes in %d entries, from %d on; the directory %d bytes", snapshots, stats.Bytes, stats.Entries, stats.First, size(t, dir))
	if len(lanes) != 0 {
		t.Errorf("after SIGTERM the log has lanes without an end: %v", lanes)
	}
	if snapshots == 0 || stats.First > 1 != shortened {
		t.Errorf("the log was rewritten %d times, and shortened: %v, want %v", snapshots, stats.First > 1, shortened)
	}
	// JetStream keeps what was removed from a block of 8 MiB while that is not half of it
	if size := size(t, dir); stats.Bytes > 20<<20 || size > int64(stats.Bytes)+4<<20 {
		t.Errorf("the log has %d bytes, the directory %d", stats.Bytes, size)
	}
	// once more: what SIGTERM leaves is read as what SIGKILL leaves
	p = startDurable(t, dir, flags...)
	l.checkMailboxes(p)
}

// TestKilledCompacting kills the program while it writes anew what is in a mailbox, over many entries: until the last
// of them is stored, what was written before is what counts.
func TestKilledCompacting(t *testing.T) {
	dir := t.TempDir()
	p := startDurable(t, dir, loadFlags...)
	a := openAccount(t, p)
	var sent []string
	for n := range 300 {
		sent = append(sent, fmt.Sprintf(`"%d %s"`, n, strings.Repeat("x", 60_000)))
		p.sendTo(t, a, "202", sent[n])
	}
	p.kill()
	compact := func(most time.Duration) time.Duration {
		ctx, cancel := context.WithTimeout(t.Context(), most)
		defer cancel()
		began := time.Now()
		exec.CommandContext(ctx, programPath, "data", "compact", dir).Run()
		return time.Since(began)
	}
	whole := compact(20 * time.Second)
	for part := range 12 {
		compact(whole * time.Duration(part+1) / 12)
		p = startDurable(t, dir, loadFlags...)
		p.expectArrived(t, a, sent)
		p.kill()
	}
}

// size is how much a directory holds, in bytes.
func size(t *testing.T, dir string) (bytes int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			bytes += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}

// TestTerminatedUnderLoad ends the program as an operator does. Nothing is lost, the next one starts at once, and
// the log says that its writer ended.
func TestTerminatedUnderLoad(t *testing.T) {
	dir := t.TempDir()
	p := startDurable(t, dir, loadFlags...)
	l := newLoad(t)
	l.start(p)
	running := standstill.Start(t)
	for range 3 {
		l.moment(0, p)
		began := running.Elapsed()
		p.terminate(t)
		ended := running.Elapsed() - began
		if lanes, _ := readLog(t, dir); len(lanes) != 0 {
			t.Errorf("the log has lanes without an end: %v", lanes)
		}
		began = running.Elapsed()
		p = startDurable(t, dir, loadFlags...)
		if started := running.Elapsed() - began; ended > 8*time.Second || started > 2*time.Second {
			t.Errorf("it took %v to end and %v to start", ended, started)
		}
		l.use(p)
	}
	l.finish(p)
	l.checkMailboxes(p)
}
