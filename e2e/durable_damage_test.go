//go:build linux

package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestDamage spoils a log behind the program's back. Where it is seen that something is missing which was
// acknowledged, the program does not start, says where, and changes nothing. What was cut off at the end may be one
// entry whose write was broken off: the program starts, and says so.
func TestDamage(t *testing.T) {
	inNewest := []string{"entries that were stored can't be read any more", ".blk is damaged behind byte ", "truncate -s "}
	for _, test := range []struct {
		name    string
		stop    string // SIGKILL if empty
		spoil   func(t *testing.T, blocks []string)
		lost    int      // messages at the end, if it starts
		says    string   // then, in its log
		refuses []string // the error's parts, if it does not
	}{
		{name: "nothing", spoil: func(*testing.T, []string) {}},
		{name: "end cut", spoil: change(-1, cut(5)), lost: 1, says: "the end of the log can't be read, and was cut off"},
		{name: "end flipped", spoil: change(-1, flip(50)), lost: 1, says: "the end of the log can't be read, and was cut off"},
		{name: "newest flipped", spoil: change(-1, flip(200_000)), refuses: inNewest},
		{name: "newest flipped in its first entry", spoil: change(-1, flip(-1000)), refuses: inNewest},
		{name: "oldest flipped", spoil: change(0, flip(200_000)), refuses: []string{"entry ", "the log is damaged: it follows entry "}},
		{name: "oldest cut", spoil: change(0, cut(200_000)), refuses: []string{"entry ", "the log is damaged: it follows entry "}},
		{name: "oldest removed", spoil: remove(0), refuses: []string{"the log is damaged: it begins with entry ", "; entries from 1 on are missing"}},
		{name: "middle removed", spoil: remove(1), refuses: []string{"entry ", "the log is damaged: it follows entry "}},
		{name: "end cut", stop: "SIGTERM", spoil: change(-1, cut(5)), says: "entries inside the log are lost"},
		{name: "newest cut", stop: "SIGTERM", spoil: change(-1, cut(1_000_000)), refuses: []string{"entry ", "the log is damaged: entries ", " are missing"}},
		{name: "newest flipped", stop: "SIGTERM", spoil: change(-1, flip(200_000)), refuses: []string{"entry ", "the log is damaged: it follows entry "}},
		{name: "oldest flipped", stop: "SIGTERM", spoil: change(0, flip(200_000)), refuses: []string{"entry ", "the log is damaged: it follows entry "}},
		{name: "oldest removed", stop: "SIGTERM", spoil: remove(0), refuses: []string{"the log is damaged: it begins with entry ", "; entries from 1 on are missing"}},
	} {
		t.Run(test.name+test.stop, func(t *testing.T) {
			dir := t.TempDir()
			p := startDurable(t, dir, "--backlog-bytes", "100000000")
			a := openAccount(t, p)
			var sent []string
			for n := range 300 {
				sent = append(sent, fmt.Sprintf(`"%d %s"`, n, strings.Repeat("x", 60_000)))
				p.sendTo(t, a, "202", sent[n])
			}
			if test.stop != "" {
				p.terminate(t)
			} else {
				p.kill()
			}
			test.spoil(t, blocks(t, dir, 3))
			if len(test.refuses) == 0 {
				p = startDurable(t, dir, "--backlog-bytes", "100000000")
				p.expectArrived(t, a, sent[:len(sent)-test.lost])
				p.sendTo(t, a, "202", `"goes on"`)
				if !strings.Contains(p.log.String(), test.says) {
					t.Errorf("the program does not say %q:\n%s", test.says, p.log)
				}
				return
			}
			newest := pick(blocks(t, dir, 2), -1)
			spoiled, err := os.ReadFile(newest)
			if err != nil {
				t.Fatal(err)
			}
			text := expectNoStart(t, durable(dir), test.refuses...)
			expectNoStart(t, durable(dir), test.refuses...)
			if now, err := os.ReadFile(newest); err != nil || !bytes.Equal(now, spoiled) && slices.Equal(test.refuses, inNewest) {
				t.Errorf("a program that does not start changed the newest file: it has %d bytes, and had %d; %v", len(now), len(spoiled), err)
			}
			way := regexp.MustCompile(`truncate -s \d+ [^)]+`).FindString(text)
			if way == "" {
				return
			}
			if out, err := exec.Command("sh", "-c", strings.ReplaceAll(way, "$", `\$`)).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v %s", way, err, out)
			}
			p = startDurable(t, dir, "--backlog-bytes", "100000000")
			p.expectArrived(t, a, sent[:200])
			p.sendTo(t, a, "202", `"goes on"`)
		})
	}
}

// blocks returns the files of a log, oldest first, at least as many as said.
func blocks(t *testing.T, dir string, least int) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", "*", "msgs", "*.blk"))
	if err != nil || len(all) < least || len(all) > 9 {
		t.Fatalf("%d blocks, want %d to 9; %v", len(all), least, err)
	}
	slices.Sort(all)
	return all
}

func pick(blocks []string, i int) string { return blocks[(i+len(blocks))%len(blocks)] }

// change rewrites one of the blocks, the last one being -1.
func change(i int, f func([]byte) []byte) func(*testing.T, []string) {
	return func(t *testing.T, blocks []string) {
		t.Helper()
		text, err := os.ReadFile(pick(blocks, i))
		if err == nil {
			err = os.WriteFile(pick(blocks, i), f(text), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func remove(i int) func(*testing.T, []string) {
	return func(t *testing.T, blocks []string) {
		t.Helper()
		if err := os.Remove(pick(blocks, i)); err != nil {
			t.Fatal(err)
		}
	}
}

func cut(n int) func([]byte) []byte { return func(b []byte) []byte { return b[:len(b)-n] } }

// flip changes a bit n bytes before the end; below 0: behind the beginning.
func flip(n int) func([]byte) []byte {
	return func(b []byte) []byte {
		b[(len(b)-n)%len(b)] ^= 4
		return b
	}
}
