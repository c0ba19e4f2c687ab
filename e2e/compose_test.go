//go:build linux

package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/internal/testport"
	"go.yaml.in/yaml/v3"
)

// TestCompose runs the commands of the example's nodes, with addresses of this machine for those of the containers:
// a mailbox opened on one node is read on another, after the first one was killed.
func TestCompose(t *testing.T) {
	nodes := composeNodes(t, "../examples/cluster/compose.yaml")
	for _, n := range nodes {
		n.start(t)
	}
	for _, n := range nodes {
		n.await(t, "/readyz")
	}
	var opened struct{ Address, Key string }
	resp, err := http.Post(nodes[0].url+"/_gb/mailbox", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&opened); err != nil || resp.StatusCode != 201 {
		t.Fatalf("open: %s, %v", resp.Status, err)
	}
	send := func(n *composeNode, body string) {
		t.Helper()
		eventually(t, "sending through "+n.name, func() bool {
			resp, err := http.Post(n.url+"/_gb/send/"+opened.Address, "application/json", strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			return resp.StatusCode == 202
		})
	}
	send(nodes[1], `"before"`)
	nodes[0].cmd.Process.Kill()
	send(nodes[2], `"after"`)
	if got := nodes[1].read(t, opened.Key, 2); !slices.Equal(got, []string{`"before"`, `"after"`}) {
		t.Errorf("read %q", got)
	}
}

// composeNode is one service, here as a process.
type composeNode struct {
	name, url string
	cmd       *exec.Cmd
	log       strings.Builder
}

func composeNodes(t *testing.T, file string) (nodes []*composeNode) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var compose struct {
		Services map[string]struct {
			Command []string
			Ports   []string
		}
	}
	if err := yaml.Unmarshal(text, &compose); err != nil || len(compose.Services) != 3 {
		t.Fatalf("%d services, %v; want 3", len(compose.Services), err)
	}
	here := []string{"/data", "", "0.0.0.0:6222", testport.Address(t)}
	for name := range compose.Services {
		here = append(here, name+":6222", testport.Address(t))
	}
	for name, service := range compose.Services {
		listen := testport.Address(t)
		here[1] = t.TempDir()
		here[3] = here[slices.Index(here, name+":6222")+1]
		var args []string
		for _, arg := range service.Command {
			args = append(args, strings.NewReplacer(here...).Replace(arg))
		}
		n := &composeNode{name: name, url: "http://" + listen, cmd: exec.Command(programPath, append(args, "--listen", "tcp4://"+listen)...)}
		n.cmd.Env = append(os.Environ(), "SECRET=0123456789abcdef0123456789abcdef")
		nodes = append(nodes, n)
	}
	return nodes
}

func (n *composeNode) start(t *testing.T) {
	n.cmd.Stderr = &n.log
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		n.cmd.Process.Kill()
		n.cmd.Wait()
		if t.Failed() {
			t.Logf("%s:\n%s", n.name, n.log.String())
		}
	})
}

func (n *composeNode) await(t *testing.T, path string) {
	t.Helper()
	eventually(t, n.name+path, func() bool {
		resp, err := http.Get(n.url + path)
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == 200
	})
}

// read returns the first messages of a mailbox's stream.
func (n *composeNode) read(t *testing.T, key string, count int) (bodies []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", n.url+"/_gb/mailbox", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+key)
	r.Header.Set("Accept", "text/event-stream")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	event := ""
	for lines := bufio.NewScanner(resp.Body); len(bodies) < count && lines.Scan(); {
		line := lines.Text()
		if name, ok := strings.CutPrefix(line, "event: "); ok {
			event = name
		}
		if body, ok := strings.CutPrefix(line, "data: "); ok && event == "" {
			bodies = append(bodies, body)
		}
		if line == "" {
			event = ""
		}
	}
	return bodies
}

// eventually asks until the answer is yes.
func eventually(t *testing.T, what string, yes func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(30 * time.Second); !yes(); {
		select {
		case <-tick.C:
		case <-end:
			t.Fatal("in vain: " + what)
		}
	}
}
