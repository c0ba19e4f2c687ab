package jetstream

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/mailbox"
)

const childDir = "GENBROWSER_TEST_LOG_DIR"

// appendForEver is what the child process does: it prints each entry that is stored.
func appendForEver(dir string) {
	l, err := Open(context.Background(), Options{Dir: dir, Logger: quiet})
	for n := 0; err == nil; n++ {
		entry := fmt.Sprintf("%d.%d", os.Getpid(), n)
		if _, err = l.Append(context.Background(), []byte(entry)); err == nil {
			fmt.Println(entry)
		}
	}
	fmt.Println("error", err)
	os.Exit(1)
}

// kill runs a child until it has stored some entries, kills it, and returns what it had acknowledged.
func kill(t *testing.T, dir string, after int) (acked []string) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childDir+"="+dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "error") {
			t.Error(lines.Text())
			break
		}
		if acked = append(acked, lines.Text()); len(acked) == after {
			child.Process.Kill()
		}
	}
	child.Wait()
	return acked
}

func TestKilled(t *testing.T) {
	dir := t.TempDir()
	var want []string
	for round := range 10 {
		want = append(want, kill(t, dir, 20+7*round)...)
	}
	l := mustOpen(t, Options{Dir: dir})
	stored := map[string]int{}
	var order []string
	for _, e := range entries(t, l) {
		stored[string(e.Data)]++
		order = append(order, string(e.Data))
	}
	next := 0
	for _, entry := range order {
		if stored[entry] != 1 {
			t.Errorf("%s is stored %d times", entry, stored[entry])
		}
		if next < len(want) && entry == want[next] {
			next++
		}
	}
	if next < len(want) {
		t.Errorf("of %d acknowledged entries %s and those after it are missing", len(want), want[next])
	}
	if lanes, err := l.Lanes(within(t)); err != nil || len(lanes) != 10 {
		t.Errorf("%d lanes, %v; want one of each process that was killed", len(lanes), err)
	}
}

func entries(t testing.TB, l *Log) (all []mailbox.Entry) {
	t.Helper()
	if err := l.Read(within(t), 0, func(e mailbox.Entry) error { all = append(all, e); return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

// lines is a log that a test reads.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *lines) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// TestDamaged: what comes before the damage is there, and the damage is told.
func TestDamaged(t *testing.T) {
	const count = 20
	for _, test := range []struct {
		name   string
		damage func(block []byte) []byte
		kept   int
	}{
		{"cut in the last entry", func(b []byte) []byte { return b[:len(b)-5] }, count - 1},
		{"cut in the middle", func(b []byte) []byte { return b[:len(b)/2] }, count/2 - 1},
		{"a bit flipped in the last entry", func(b []byte) []byte { b[len(b)-50] ^= 4; return b }, count - 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			l := mustOpen(t, Options{Dir: dir})
			for n := range count {
				mustAppend(t, l, strings.Repeat(fmt.Sprintf("%03d", n), 100))
			}
			l.Close()
			blocks, err := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", "*", "msgs", "*.blk"))
			if err != nil || len(blocks) != 1 {
				t.Fatalf("blocks %v, %v", blocks, err)
			}
			block, err := os.ReadFile(blocks[0])
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(blocks[0], test.damage(block), 0o600); err != nil {
				t.Fatal(err)
			}
			var told lines
			l = mustOpen(t, Options{Dir: dir, Logger: told.logger()})
			got := entries(t, l)
			if len(got) < test.kept {
				t.Fatalf("%d entries are left, want %d at least", len(got), test.kept)
			}
			for i, e := range got[:test.kept] {
				if e.Seq != uint64(i+1) || string(e.Data) != strings.Repeat(fmt.Sprintf("%03d", i), 100) {
					t.Errorf("entry %d at %d is damaged", i, e.Seq)
				}
			}
			if !strings.Contains(told.String(), fmt.Sprintf("missing=%d", count-len(got))) {
				t.Errorf("%d of %d entries are left, and that is told: %s", len(got), count, told.String())
			}
			mustAppend(t, l, "after")
		})
	}
}

// TestDamagedInside: a log is not opened, and not touched, when entries follow one that can't be read.
func TestDamagedInside(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, Options{Dir: dir})
	for n := range 20 {
		mustAppend(t, l, strings.Repeat(fmt.Sprintf("%03d", n), 100))
	}
	l.Close()
	tail, err := readTail(dir, "genbrowser")
	if err != nil {
		t.Fatal(err)
	}
	at := len(tail.was) / 2
	tail.was[at] ^= 4
	if err := l.embedded.dir.setState(l.name, state{Boot: bootID()}); err != nil { // as after a crash
		t.Fatal(err)
	}
	if err := os.WriteFile(tail.file, tail.was, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		wantRefused(t, Options{Dir: dir}, dir, "entries that were stored can't be read", "from entry 11 on", tail.file, "truncate -s ")
		if now, err := readTail(dir, "genbrowser"); err != nil || !bytes.Equal(now.was, tail.was) {
			t.Errorf("the damaged file was changed, %v", err)
		}
	}
	if err := os.Truncate(tail.file, int64(at)); err != nil { // as the error says, by and large
		t.Fatal(err)
	}
	l = mustOpen(t, Options{Dir: dir})
	if got := len(entries(t, l)); got != 10 || !l.MayHaveLost() {
		t.Errorf("%d entries are left, in doubt: %v; want 10 of 20, in doubt", got, l.MayHaveLost())
	}
	mustAppend(t, l, "after")
}

func mustAppend(t testing.TB, l *Log, entry string) uint64 {
	t.Helper()
	seq, err := l.Append(within(t), []byte(entry))
	if err != nil {
		t.Fatal(err)
	}
	return seq
}

func until(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !f(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}
