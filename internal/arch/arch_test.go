// Package arch holds the direction of the imports: address ← mailbox ← server ← web ← cmd.
package arch

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/genbrowser/genbrowser"

// forbidden says what a package must not depend on, directly or by way of others.
var forbidden = []struct{ from, to, reason string }{
	{"address", module + "/", "capabilities are for everybody: whoever verifies or narrows one needs nothing else of ours"},
	{"address", "net/http", "a capability is bytes and has no network"},
	{"mailbox", module + "/address", "a mailbox does not know who may write to it"},
	{"mailbox", module + "/server", "the mailbox is a state machine; the server is what locks and times it"},
	{"mailbox", module + "/web", "the mailbox is a state machine, with no wire"},
	{"mailbox", "sync", "one goroutine at a time uses a mailbox: its caller locks"},
	{"mailbox", "net/http", "the mailbox is a state machine, with no wire"},
	{"server", module + "/web", "the post office works with no HTTP, for programs that put it on something else"},
	{"server", module + "/client", "the server does not call itself over the network"},
	{"mailbox", "github.com/nats-io/", "a log is an interface; mailbox/jetstream is the one on NATS"},
	{"server", module + "/mailbox/jetstream", "the server knows a log and a mesh, not what they are made of"},
	{"server", "github.com/nats-io/", "as above"},
	{"mailbox/jetstream", module + "/server", "what keeps a log does not know what for"},
	{"server", "net/http", "HTTP belongs to web"},
	{"server", "github.com/prometheus/", "the server counts for whoever asks; web tells Prometheus"},
	{"web", module + "/client", "the server does not call itself over the network"},
	{"web", module + "/cmd", "libraries do not depend on the program"},
	{"web/problem", module + "/server", "the Go client reads problems, and must not carry a server with it"},
	{"client", module + "/server", "a client must not carry a server with it"},
	{"internal/jsonscan", module + "/", "it scans JSON and knows nothing of ours"},
	{"internal/pack", module + "/", "it packs bytes and knows nothing of ours"},
	{"internal/wheel", module + "/", "it keeps deadlines and knows nothing of ours"},
	{"internal/crew", module + "/", "it runs functions and knows nothing of ours"},
	{"internal/sock", module + "/", "it reads and writes sockets and knows nothing of ours"},
	{"internal/yield", module + "/", "it yields and knows nothing of ours"},
	{"internal/options", module + "/", "it looks at numbers and knows nothing of ours"},
	{"internal/testport", module + "/", "it finds ports and knows nothing of ours"},
	{"cmd/genbrowser", module + "/internal/testport", "the program does not test"},
}

// through is what a package may use although it depends on something forbidden itself.
var through = map[string][]string{
	"mailbox": {module + "/internal/jsonscan", module + "/internal/pack"},
}

type pkg struct {
	ImportPath string
	Imports    []string
	Deps       []string
	Standard   bool
}

func list(t *testing.T) map[string]pkg {
	t.Helper()
	out, err := exec.Command("go", "list", "-deps", "-json=ImportPath,Imports,Deps,Standard", module+"/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]pkg{}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all[p.ImportPath] = p
	}
}

// ours returns what a package imports, and what the packages of ours that it imports do, and so on: that the
// standard library uses a package is no business of ours.
func ours(all map[string]pkg, path string, seen map[string]string, by string) {
	for _, imported := range all[path].Imports {
		if _, ok := seen[imported]; ok {
			continue
		}
		seen[imported] = by + path[len(module):]
		if strings.HasPrefix(imported, module) {
			ours(all, imported, seen, by+path[len(module):]+" → ")
		}
	}
}

func TestImports(t *testing.T) {
	all := list(t)
	for _, f := range forbidden {
		from := module + "/" + f.from
		if _, ok := all[from]; !ok {
			t.Errorf("there is no package %s any more: correct this test", f.from)
			continue
		}
		seen := map[string]string{}
		ours(all, from, seen, "")
		for imported, way := range seen {
			if (imported == f.to || strings.HasSuffix(f.to, "/") && strings.HasPrefix(imported, f.to)) && !slices.Contains(through[f.from], imported) {
				t.Errorf("%s imports %s (%s): %s", f.from, strings.TrimPrefix(imported, module+"/"), way, f.reason)
			}
		}
	}
}
