package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/address"
)

// TestOpenPrintsNoMore: it ends with the first message that can't be printed.
func TestOpenPrintsNoMore(t *testing.T) {
	s := simple(t)
	file := filepath.Join(t.TempDir(), "file")
	cmd := command(t, nil)
	cmd.Path, cmd.Args = "/bin/sh", []string{"sh", "-c", `ulimit -f 8; exec "$0" open "$1" > "$2"`, binary, s.urls[0], file} // 8 blocks in a file
	reader := launch(t, cmd)
	var printed string
	for began := time.Now(); !strings.HasSuffix(printed, "\n"); {
		b, err := os.ReadFile(file)
		if err != nil && !os.IsNotExist(err) || time.Since(began) > 30*time.Second {
			t.Fatalf("it printed %q, %v", printed, err)
		}
		printed = string(b)
	}
	to, err := address.Parse(strings.TrimSpace(printed))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.client(t).Send(t.Context(), to, strings.Repeat("x", 10000)); err != nil {
		t.Fatal(err)
	}
	reader.ended(1)
	if log := reader.text(); !strings.Contains(log, "write /dev/stdout") {
		t.Errorf("it complains %q", log)
	}
}
