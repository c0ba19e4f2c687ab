//go:build linux

package e2e

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestPowerCut holds that nobody is kept waiting by a cursor of messages that were lost. A directory as it was before the
// last messages, of a system that was started anew, is what a power cut leaves with --sync interval: the places of those
// messages are given to others, which a reader with its old cursor would never see. A crash of the program alone loses
// nothing, and cursors stay good.
func TestPowerCut(t *testing.T) {
	for _, test := range []struct {
		name     string
		flags    []string
		cut      func(t *testing.T, dir, before string) // what becomes of dir
		restored bool
		lost     bool // what is not in before
		doubt    bool
	}{
		{name: "power cut", flags: interval, cut: func(t *testing.T, dir, before string) {
			putBack(t, dir, before)
			otherBoot(t, dir)
		}, lost: true, doubt: true},
		{name: "power cut that lost nothing", flags: interval, cut: func(t *testing.T, dir, _ string) { otherBoot(t, dir) }, doubt: true},
		{name: "crash", flags: interval, cut: func(*testing.T, string, string) {}},
		{name: "power cut, sync always", cut: func(t *testing.T, dir, _ string) { otherBoot(t, dir) }},
		{name: "back-up", cut: putBack, restored: true, lost: true, doubt: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir, before := t.TempDir(), filepath.Join(t.TempDir(), "before")
			p := startDurable(t, dir, test.flags...)
			a := openAccount(t, p)
			p.sendTo(t, a, "202", `"kept 1"`)
			p.sendTo(t, a, "202", `"kept 2"`)
			if err := exec.Command("cp", "-a", dir, before).Run(); err != nil {
				t.Fatal(err)
			}
			p.sendTo(t, a, "202", `"late 1"`)
			p.sendTo(t, a, "202", `"late 2"`)
			cursor := p.expectStream(t, a, "", `"kept 1"`, `"kept 2"`, `"late 1"`, `"late 2"`)
			p.kill()
			test.cut(t, dir, before)

			flags := test.flags
			if test.restored {
				flags = append(slices.Clone(flags), "--restored")
			}
			p = startDurable(t, dir, flags...)
			for _, body := range []string{`"new 1"`, `"new 2"`, `"new 3"`} {
				p.sendTo(t, a, "202", body)
			}
			if got, want := p.lines("the end of the log may be lost, as in a power cut: readers of its mailboxes are told of a gap"), test.doubt; (got > 0) != want {
				t.Errorf("the program says %d times that the end may be lost, want it: %v", got, want)
			}
			if !test.doubt {
				p.expectStream(t, a, cursor, `"new 1"`, `"new 2"`, `"new 3"`)
				return
			}
			_, _, _, err := p.subscribe(http.DefaultClient, a, cursor)
			if no := new(refused); !errors.As(err, &no) || no.status != 409 || !strings.Contains(no.text, "unknown-cursor") {
				t.Errorf("the old cursor: %v, want 409 unknown-cursor", err)
			}
			all := []string{`"kept 1"`, `"kept 2"`, `"late 1"`, `"late 2"`, `"new 1"`, `"new 2"`, `"new 3"`}
			if test.lost {
				all = append(all[:2], all[4:]...)
			}
			cursor = p.expectStream(t, a, "", all...)
			p.kill()
			p = startDurable(t, dir, test.flags...) // and only once
			p.sendTo(t, a, "202", `"newer"`)
			p.expectStream(t, a, cursor, `"newer"`)
		})
	}
}

// interval keeps what comes for an hour before it has to be on the disk.
var interval = []string{"--sync", "interval", "--sync-every", "1h"}

func putBack(t *testing.T, dir, before string) {
	t.Helper()
	if err := errors.Join(os.RemoveAll(dir), os.Rename(before, dir)); err != nil {
		t.Fatal(err)
	}
}

// otherBoot has a directory be of a system that was started before this one.
func otherBoot(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(dir, "genbrowser.state")
	text, err := os.ReadFile(path)
	state := make(map[string]any)
	if err == nil {
		err = json.Unmarshal(text, &state)
	}
	if boot, ok := state["boot"].(string); !ok || boot == "" {
		t.Fatalf("the state %s has no boot, %v", text, err)
	}
	state["boot"] = "another"
	if text, err = json.Marshal(state); err == nil {
		err = os.WriteFile(path, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// expectStream reads messages from a position on, and returns the one after them.
func (p *program) expectStream(t *testing.T, a account, cursor string, want ...string) string {
	t.Helper()
	s, gap, body, err := p.subscribe(http.DefaultClient, a, cursor)
	if err != nil || gap != 0 {
		t.Fatalf("subscribe after %q: a gap of %d, %v", cursor, gap, err)
	}
	defer body.Close()
	for _, message := range want {
		e, err := s.event()
		if err != nil || !strings.Contains(e.data, message) {
			t.Fatalf("%+v, %v; want %s", e, err, message)
		}
		cursor = e.id
	}
	return cursor
}
