// Package peer_test runs both programs against a server.
package peer_test

import (
	"bufio"
	"context"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/server"
	"github.com/genbrowser/genbrowser/web"
)

// serve starts a server and returns its URL.
func serve(t *testing.T, ctx context.Context) string {
	keys, err := address.NewRing([]byte(address.NewSecret()))
	if err != nil {
		t.Fatal(err)
	}
	office, err := server.New(server.Options{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	gb, err := web.New(web.Options{Server: office})
	if err != nil {
		t.Fatal(err)
	}
	site := httptest.NewServer(gb)
	t.Cleanup(func() {
		gb.Shutdown(ctx)
		site.Close()
	})
	return site.URL
}

// program is one that runs, and what it prints.
type program struct {
	*exec.Cmd
	lines *bufio.Scanner
}

func run(t *testing.T, ctx context.Context, dir string, name string, args ...string) *program {
	t.Helper()
	cmd := exec.CommandContext(ctx, filepath.Join(dir, name), args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // if it was not waited for
		cmd.Process.Kill()
		cmd.Wait()
	})
	return &program{cmd, bufio.NewScanner(out)}
}

func (p *program) line() string {
	p.lines.Scan()
	return p.lines.Text()
}

func TestPeers(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	dir := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", dir, "./ping", "./pong").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	url := serve(t, ctx)
	pong := run(t, ctx, dir, "pong", url)
	at := pong.line()
	for range 2 { // it answers anybody, again and again
		ping := run(t, ctx, dir, "ping", url, at)
		if got := ping.line(); got != "pong" {
			t.Fatalf("ping says %q", got)
		}
		if err := ping.Wait(); err != nil {
			t.Errorf("ping ends with %v", err)
		}
	}
	if err := pong.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := pong.Wait(); err != nil {
		t.Errorf("pong ends with %v", err)
	}
	// pong closed its mailbox on its way out
	late, err := exec.CommandContext(ctx, filepath.Join(dir, "ping"), url, at).CombinedOutput()
	if err == nil || !strings.Contains(string(late), "closed") {
		t.Errorf("ping to a pong that ended says %q, and ends with %v", late, err)
	}
}

// TestFifteenLines holds what docs/peers.md says: imports, comments and blank lines apart, each program has at most 15
// lines.
func TestFifteenLines(t *testing.T) {
	for _, name := range []string{"ping", "pong"} {
		text, err := os.ReadFile(filepath.Join(name, "main.go"))
		if err != nil {
			t.Fatal(err)
		}
		_, code, _ := strings.Cut(string(text), "\n)\n") // the end of the imports
		lines := 1                                       // package main
		for line := range strings.Lines(code) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "//") {
				lines++
			}
		}
		if lines > 15 || lines < 5 {
			t.Errorf("%s has %d lines", name, lines)
		}
	}
}
