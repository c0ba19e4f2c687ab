//go:build linux

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// programPath is the program, built once.
var programPath string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		if programPath = os.Getenv("GENBROWSER_BIN"); programPath == "" {
			dir, err := os.MkdirTemp("", "genbrowser")
			if err != nil {
				panic(err)
			}
			defer os.RemoveAll(dir)
			programPath = filepath.Join(dir, "genbrowser")
			if out, err := exec.Command("go", "build", "-o", programPath, "../cmd/genbrowser").CombinedOutput(); err != nil {
				panic(string(out))
			}
		}
		return m.Run()
	}())
}

// program is a running server.
type program struct {
	*exec.Cmd
	url  string
	addr string
	log  *lines
}

// lines is a log that can be waited on.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// start runs the program on port 0 until the test ends.
func start(t *testing.T, args ...string) *program {
	t.Helper()
	cmd := exec.Command(programPath, append(args, "--listen", "tcp4://127.0.0.1:0", "--log-format", "json")...)
	cmd.Env = append(os.Environ(), "SECRET=0123456789abcdef0123456789abcdef")
	return startCommand(t, cmd)
}

func startCommand(t *testing.T, cmd *exec.Cmd) *program {
	t.Helper()
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &program{Cmd: cmd, log: &lines{}}
	listening := make(chan string, 1)
	go func() {
		for s := bufio.NewScanner(stderr); s.Scan(); {
			p.log.mu.Lock()
			fmt.Fprintln(&p.log.text, s.Text())
			p.log.mu.Unlock()
			var line struct{ Msg, URL string }
			if json.Unmarshal(s.Bytes(), &line) == nil && line.Msg == "listening" {
				listening <- line.URL
			}
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	select {
	case p.url = <-listening:
	case <-time.After(20 * time.Second):
		t.Fatalf("the program does not listen:\n%s", p.log)
	}
	p.addr = strings.TrimPrefix(p.url, "http://")
	return p
}

// rss is the memory that the program holds, in bytes.
func (p *program) rss(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Process.Pid))
	if err != nil {
		t.Skip("no /proc here: ", err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	var kib int
	fmt.Sscan(rest, &kib)
	return kib << 10
}

// stream is a raw reader of a mailbox.
type stream struct {
	net.Conn
	r       *bufio.Reader
	address string
	key     string
	lastID  string
}

// dial opens a connection with a small receive buffer, from an address that leaves ports for others.
func dial(t testing.TB, addr string, host int) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, byte(1+host/10_000), 1)}}
	c, err := d.Dial("tcp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// read opens a stream, or resumes one after lastID, and reads up to init.
func read(t testing.TB, c net.Conn, lastID string) *stream {
	t.Helper()
	resume := ""
	if lastID != "" {
		resume = "Last-Event-ID: " + lastID + "\r\n"
	}
	fmt.Fprintf(c, "GET /_gb/mailbox HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n%s\r\n", resume)
	s := &stream{Conn: c, r: bufio.NewReaderSize(c, 512)}
	if status, err := s.r.ReadString('\n'); err != nil || !strings.Contains(status, " 200 ") {
		t.Fatalf("stream: %q, %v", status, err)
	}
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if line == "\r\n" {
			break
		}
	}
	e, err := s.event()
	var init struct{ Address, Key string }
	if err != nil || e.name != "init" || json.Unmarshal([]byte(e.data), &init) != nil {
		t.Fatalf("init: %+v, %v", e, err)
	}
	s.address, s.key = init.Address, init.Key
	return s
}

type event struct{ name, id, data string }

// event reads one whole event; heartbeats are passed over.
func (s *stream) event() (event, error) {
	var e event
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			return event{}, err
		}
		line = strings.TrimSuffix(line, "\n")
		field, value, _ := strings.Cut(line, ": ")
		switch {
		case line == "" && e != (event{}):
			if e.id != "" {
				s.lastID = e.id
			}
			return e, nil
		case field == "event":
			e.name = value
		case field == "id":
			e.id = value
		case field == "data":
			e.data = value
		}
	}
}

// post sends a message and returns the status.
func post(client *http.Client, url, to, body string) (int, error) {
	resp, err := client.Post(url+"/_gb/send/"+to, "application/json", strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, nil
}

// within fails the test when a condition does not come true in time.
func within(t *testing.T, d time.Duration, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("not within %v: %s", d, what)
		case <-tick.C:
		}
	}
}
