//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/genbrowser/genbrowser/address"
)

// durablePlayground is a server with processes: a logger, as any node may have, and a registry, which is there once.
func durablePlayground(dir string) *exec.Cmd {
	cmd := durable(dir)
	cmd.Args[1] = "playground"
	return cmd
}

// TestMonitorsOutliveTheServer: who monitors a process of a server that is killed is told so by the next one, unless that
// has the process, too; then it is monitored as before.
func TestMonitorsOutliveTheServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := startCommand(t, durablePlayground(dir))
	opened := mustAsk(t, "201", "POST", p.url+"/_gb/mailbox", "", "").body
	watcher, err := parseAccount(opened)
	if err != nil {
		t.Fatal(err)
	}
	var has struct{ Config map[string]string }
	if err := json.Unmarshal(opened, &has); err != nil {
		t.Fatal(err)
	}
	own, err := address.Parse(watcher.Address)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"logger", "registry"} {
		reply, err := own.Attenuate(address.Only(address.Send), address.Reply(name))
		if err != nil {
			t.Fatal(err)
		}
		line := fmt.Sprintf(`{"to":%q,"kind":"monitor","ref":%q,"reply":%q,"body":null}`, has.Config[name], name, reply)
		a := mustAsk(t, "200", "POST", p.url+"/_gb/send", "", line, "Content-Type", "application/x-ndjson")
		if !strings.Contains(string(a.body), `"status":202`) {
			t.Fatalf("monitor: %s", a.body)
		}
	}
	p.kill()
	p = startCommand(t, durablePlayground(dir))
	cursor := p.expectStream(t, watcher, "", `{"kind":"down","ref":"registry","body":{"reason":"node-lost"}}`)
	p.terminate(t)
	p = startCommand(t, durablePlayground(dir))
	p.expectStream(t, watcher, cursor, `{"kind":"down","ref":"logger","body":{"reason":"normal"}}`)
}
