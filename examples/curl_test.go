// Package examples_test runs the document whose commands are examples.
package examples_test

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// step is a block of commands, and the output that the document says it has.
type step struct{ commands, output string }

// steps are those of a document: fenced blocks of sh, each followed by one of text if it prints something.
func steps(document string) []step {
	var all []step
	for _, m := range regexp.MustCompile("(?ms)^```(sh|text)\n(.*?)^```$").FindAllStringSubmatch(document, -1) {
		if m[1] == "sh" {
			all = append(all, step{commands: m[2]})
		} else {
			all[len(all)-1].output = m[2]
		}
	}
	return all
}

const server = "http://127.0.0.1:8080" // as the document has it

func TestCurl(t *testing.T) {
	for _, tool := range []string{"sh", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	document, err := os.ReadFile("curl.md")
	if err != nil {
		t.Fatal(err)
	}
	all := steps(string(document))
	if len(all) < 10 || !strings.Contains(all[0].commands, server) {
		t.Fatalf("found %d steps; the first is %q", len(all), all[0].commands)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	url := serve(t, ctx)

	const separator = "\x1e"
	var script strings.Builder
	for _, s := range all {
		script.WriteString(strings.ReplaceAll(s.commands, server, url) + "printf '\\036'\n")
	}
	shell := exec.CommandContext(ctx, "sh")
	shell.Dir = t.TempDir()
	shell.Env = append(os.Environ(), "HOME="+shell.Dir) // no .curlrc
	shell.Stdin = strings.NewReader(script.String())
	var stderr bytes.Buffer
	shell.Stderr = &stderr
	output, err := shell.Output()
	if err != nil || stderr.Len() > 0 {
		t.Errorf("sh: %v\n%s", err, &stderr)
	}
	outputs := strings.Split(string(output), separator)
	if len(outputs) != len(all)+1 {
		t.Fatalf("%d steps ended, want %d:\n%s", len(outputs)-1, len(all), output)
	}
	for i, s := range all {
		got, want := strings.TrimSpace(outputs[i]), strings.TrimSpace(s.output)
		pattern := strings.ReplaceAll(regexp.QuoteMeta(want), "…", ".*")
		if !regexp.MustCompile("^" + pattern + "$").MatchString(got) {
			t.Errorf("%s\nprints  %s\n\nwant    %s", s.commands, got, want)
		}
	}
}

// serve builds and runs the program until the test ends, and returns its URL.
func serve(t *testing.T, ctx context.Context) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "genbrowser")
	if out, err := exec.Command("go", "build", "-o", binary, "../cmd/genbrowser").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.CommandContext(ctx, binary, "serve", "--listen", "tcp4://127.0.0.1:0")
	cmd.Env = append(os.Environ(), "SECRET=0123456789abcdef0123456789abcdef")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		if _, url, ok := strings.Cut(lines.Text(), "msg=listening url="); ok {
			return url
		}
	}
	t.Fatal("the program does not listen")
	return ""
}
