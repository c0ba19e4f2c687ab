package main_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPrintingFails: whoever takes what a command prints learns that it is not there, for a disk that is full, say.
func TestPrintingFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	unwritable, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer unwritable.Close()
	refused := func(args ...string) {
		t.Helper()
		var complaint bytes.Buffer
		cmd := command(t, nil, args...)
		cmd.Stdout, cmd.Stderr = unwritable, &complaint
		cmd.Run()
		if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(complaint.String(), "write /dev/stdout") {
			t.Errorf("%v exits with %d, and complains %q", args, code, &complaint)
		}
	}

	dir := t.TempDir()
	s := simple(t, "--data", dir)
	box := openBox(t, s.client(t)).Address().String()
	refused("open", s.urls[0])
	refused("cluster", "status", s.urls[0])
	refused("cluster", "status", "--json", s.urls[0])
	s.stop()
	refused("data", "check", dir)
	refused("data", "compact", dir)
	refused("key", "new")
	refused("address", "inspect", box)
	refused("address", "attenuate", box, "--label", "x")
	refused("--version")
	refused("--help")
}
