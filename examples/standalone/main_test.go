package main_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"errors"
	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/client"
	"github.com/genbrowser/genbrowser/web/problem"
)

func TestStandalone(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	url, program := start(t, ctx)

	stranger, err := client.New(url, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stranger.Open(ctx); !errors.Is(err, problem.OpenRefused) || !strings.Contains(err.Error(), "load the page first") {
		t.Errorf("Open without a session = %v", err)
	}

	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar}
	resp, err := browser.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	page, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if !strings.Contains(string(page), "/_gb/client.js") {
		t.Errorf("the page is %s", page)
	}
	c, err := client.New(url, client.Options{HTTP: browser})
	if err != nil {
		t.Fatal(err)
	}
	one, two := open(t, ctx, c), open(t, ctx, c)
	var config struct{ Guestbook address.Address }
	if err := json.Unmarshal(one.Config(), &config); err != nil || config.Guestbook.IsZero() {
		t.Fatalf("config %s: %v", one.Config(), err)
	}

	for _, refused := range []any{
		"hello", map[string]any{"from": one.Address()}, map[string]any{"text": "hello"},
		map[string]any{"text": strings.Repeat("x", 281), "from": one.Address()}, map[string]any{"text": 1, "from": one.Address()},
	} {
		if err := c.Send(ctx, config.Guestbook, refused); !errors.Is(err, problem.Refused) {
			t.Errorf("Send(%v) = %v, want it refused", refused, err)
		}
	}
	for _, box := range []*client.Mailbox{one, two} {
		if err := c.Send(ctx, config.Guestbook, map[string]any{"text": "hi", "from": box.Address()}); err != nil {
			t.Fatal(err)
		}
	}
	for box, want := range map[*client.Mailbox]int{one: 2, two: 1} { // one signed first
		for m, err := range box.Messages(ctx) {
			if err != nil || string(m.Body) != `{"text":"hi"}` {
				t.Fatalf("got %s, %v", m.Body, err)
			}
			if want--; want == 0 {
				break
			}
		}
	}

	program.Process.Signal(os.Interrupt)
	if err := program.Wait(); err != nil {
		t.Errorf("after an interrupt: %v", err)
	}
}

// start builds and runs the program, and returns the URL that it prints.
func start(t *testing.T, ctx context.Context) (string, *exec.Cmd) {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "standalone")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.CommandContext(ctx, binary, "127.0.0.1:0")
	cmd.Env = append(os.Environ(), "SECRET="+address.NewSecret())
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("no URL: %v", err)
	}
	return strings.TrimSpace(line), cmd
}

func open(t *testing.T, ctx context.Context, c *client.Client) *client.Mailbox {
	t.Helper()
	box, err := c.Open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return box
}
