//go:build linux

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestREADME runs the Go program that the README shows first.
func TestREADME(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	source := regexp.MustCompile("(?s)```go\n(.*?)```").FindSubmatch(readme)
	if source == nil {
		t.Fatal("the README shows no Go program")
	}
	p := start(t, "playground")
	page := read(t, dial(t, p.addr, 0), "")
	defer page.Close()

	// within the module, where go list does not look
	dir, err := os.MkdirTemp("..", ".readme-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "main.go")
	text := strings.ReplaceAll(string(source[1]), "http://127.0.0.1:8080", p.url)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "run", file, page.address).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if e, err := page.event(); err != nil || e.data != `{"hello":"browser"}` {
		t.Errorf("the page got %+v, %v", e, err)
	}
}
