package main_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/client"
)

// binary is the program, built once.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "genbrowser")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "genbrowser")
		if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
			panic(string(out))
		}
		return m.Run()
	}())
}

const secret = "0123456789abcdef0123456789abcdef"

// command is the program with these arguments, in an environment that has nothing of ours but env.
func command(t testing.TB, env []string, args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "GENBROWSER_") || strings.HasPrefix(v, "SECRET=")
	}), env...)
	return cmd
}

// result is what a command left behind.
type result struct {
	out, err string
	code     int
}

func run(t testing.TB, stdin string, args ...string) result {
	t.Helper()
	return finish(t, command(t, nil, args...), stdin)
}

func finish(t testing.TB, cmd *exec.Cmd, stdin string) result {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	if err := cmd.Run(); cmd.ProcessState == nil || cmd.ProcessState.ExitCode() < 0 {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, &errs)
	}
	return result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// ok returns what a command printed that must succeed, and say nothing beside.
func ok(t testing.TB, stdin string, args ...string) string {
	t.Helper()
	r := run(t, stdin, args...)
	if r.code != 0 || r.err != "" {
		t.Fatalf("%v exits with %d: %s", args, r.code, r.err)
	}
	return strings.TrimSuffix(r.out, "\n")
}

// fails expects a command to exit with 1, print nothing, and complain with these words.
func fails(t testing.TB, r result, words ...string) {
	t.Helper()
	if r.code != 1 || r.out != "" {
		t.Errorf("exits with %d and prints %q", r.code, r.out)
	}
	for _, w := range words {
		if !strings.Contains(r.err, w) {
			t.Errorf("complains %q, want %q in it", r.err, w)
		}
	}
}

// program is one that runs, with its output line by line.
type program struct {
	*exec.Cmd
	t      testing.TB
	stdout chan string
	stderr chan string

	mu  sync.Mutex
	log strings.Builder // all of stderr so far
}

func launch(t testing.TB, cmd *exec.Cmd) *program {
	t.Helper()
	p := &program{Cmd: cmd, t: t, stdout: make(chan string, 1000), stderr: make(chan string, 1000)}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(func() { p.scan(stdout, p.stdout) })
	reading.Go(func() { p.scan(stderr, p.stderr) })
	t.Cleanup(func() {
		cmd.Process.Kill()
		reading.Wait()
		cmd.Wait()
	})
	return p
}

func (p *program) scan(r io.Reader, to chan<- string) {
	defer close(to)
	for lines := bufio.NewScanner(r); lines.Scan(); {
		p.mu.Lock()
		if to == p.stderr {
			p.log.WriteString(lines.Text() + "\n")
		}
		p.mu.Unlock()
		to <- lines.Text()
	}
}

func (p *program) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// next returns the next line; from says of what.
func (p *program) next(from <-chan string) string {
	p.t.Helper()
	select {
	case line, ok := <-from:
		if !ok {
			p.t.Fatalf("%v said no more; its log:\n%s", p.Args[1:], p.text())
		}
		return line
	case <-time.After(30 * time.Second):
		p.t.Fatalf("%v says nothing; its log:\n%s", p.Args[1:], p.text())
		return ""
	}
}

// stop interrupts the program and waits until it exits well.
func (p *program) stop() {
	p.t.Helper()
	p.Process.Signal(os.Interrupt)
	p.ended(0)
}

func (p *program) ended(code int) {
	p.t.Helper()
	for range p.stdout {
	}
	for range p.stderr {
	}
	p.Wait()
	if got := p.ProcessState.ExitCode(); got != code {
		p.t.Errorf("%v exits with %d, want %d; its log:\n%s", p.Args[1:], got, code, p.text())
	}
}

// server is a program that listens.
type server struct {
	*program
	urls []string // where, in the order of --listen
}

// serve starts a server that logs JSON, and waits until it listens at so many places.
func serve(t testing.TB, places int, env []string, args ...string) *server {
	t.Helper()
	cmd := command(t, append(env, "GENBROWSER_LOG_FORMAT=json"), append([]string{"serve"}, args...)...)
	s := &server{program: launch(t, cmd)}
	for len(s.urls) < places {
		var line struct{ Msg, URL string }
		if text := s.next(s.stderr); json.Unmarshal([]byte(text), &line) != nil {
			t.Fatalf("a line of the log is no JSON: %s", text)
		}
		if line.Msg == "listening" {
			s.urls = append(s.urls, line.URL)
		}
	}
	return s
}

// simple starts a server with one listener.
func simple(t testing.TB, args ...string) *server {
	t.Helper()
	return serve(t, 1, []string{"SECRET=" + secret}, append([]string{"--listen", "tcp4://127.0.0.1:0"}, args...)...)
}

func (s *server) client(t testing.TB) *client.Client {
	t.Helper()
	c, err := client.New(s.urls[0], client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func openBox(t testing.TB, c *client.Client) *client.Mailbox {
	t.Helper()
	box, err := c.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return box
}
