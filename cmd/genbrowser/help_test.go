package main_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/commands.md as it should be")

func TestHelp(t *testing.T) {
	for args, words := range map[string][]string{
		"":                  {"serve", "playground", "open", "send", "key new", "address inspect", "address attenuate", "cluster status", "data check", "data compact", "healthcheck", "GENBROWSER_SECRET", "--version"},
		"serve":             {"--listen", "tcp4://", "?export=", "unix://", "--tls-cert", "--config", "--body", "--backlog", "--overflow", "--heartbeat", "--origin", "--operators", "--log-format", "--shutdown-grace"},
		"playground":        {"--listen", "--log-level"},
		"open":              {"<url>"},
		"send":              {"<url>", "<to>", "<body>", "standard input", "--timeout"},
		"key":               {"new"},
		"key new":           {"SECRET"},
		"address":           {"inspect", "attenuate"},
		"address inspect":   {"<address>", "standard input"},
		"address attenuate": {"--rights", "--expires", "--max-bytes", "--types", "--label"},
		"healthcheck":       {"<url>"},
		"cluster status":    {"<url>", "--json"},
		"data check":        {"<dir>", "stopped"},
		"data compact":      {"<dir>", "stopped"},
	} {
		got := ok(t, "", append(strings.Fields(args), "--help")...)
		for _, w := range words {
			if !strings.Contains(got, w) {
				t.Errorf("genbrowser %s --help has no %q:\n%s", args, w, got)
			}
		}
	}
}

// TestCommandsPage holds that docs/commands.md is what --help prints.
func TestCommandsPage(t *testing.T) {
	help := ok(t, "", "--help")
	var page bytes.Buffer
	fmt.Fprintf(&page, "# Commands and flags\n\nWhat `--help` prints; `go test ./cmd/genbrowser -run CommandsPage -update` writes this page.\n\n```text\n%s\n```\n", help)
	commands := regexp.MustCompile(`(?m)^  ([a-z]+(?: [a-z]+)?)  `).FindAllStringSubmatch(help, -1)
	if len(commands) < 10 {
		t.Fatalf("%d commands; want at least 10", len(commands))
	}
	for _, c := range commands {
		text, more := ok(t, "", append(strings.Fields(c[1]), "--help")...), ""
		if c[1] == "playground" {
			text, _, _ = strings.Cut(text, "\n\nFlags:")
			more = "\nIts flags are those of `serve`, without `--config`; `--prefix` must be `/_gb`.\n"
		}
		fmt.Fprintf(&page, "\n## %s\n\n```text\n%s\n```\n%s", c[1], text, more)
	}
	name := filepath.Join("..", "..", "docs", "commands.md")
	if *update {
		if err := os.WriteFile(name, page.Bytes(), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, page.Bytes()) {
		t.Errorf("docs/commands.md is not what --help prints (%v): write it with -update", err)
	}
}

func TestWrongUse(t *testing.T) {
	for _, args := range [][]string{{}, {"serv"}, {"serve", "--lisen", "x"}, {"send"}, {"serve", "--overflow", "panic"}, {"serve", "--body", "-1"}} {
		if r := run(t, "", args...); r.code == 0 || r.err == "" {
			t.Errorf("%v exits with %d and complains %q", args, r.code, r.err)
		}
	}
	fails(t, run(t, "", "serve", "--config", "{"), "--config: want JSON")
	for flag, usual := range map[string]string{"--asleep=0s": "10m", "--backlog=0": "1000", "--open-rate=0": "50"} {
		name, _, _ := strings.Cut(flag, "=")
		fails(t, run(t, "", "serve", flag), name+": 0 is too little; leave it out for "+usual)
	}
	dir := t.TempDir()
	for _, flag := range []string{"--cluster-cert", "--cluster-key", "--cluster-ca"} {
		node := command(t, []string{"SECRET=" + strings.Repeat("x", 32)}, "serve", "--data", dir, "--cluster-name", "c", "--cluster-node", "n", flag, "x.pem")
		fails(t, finish(t, node, ""), "want all of them, or none")
	}
	if got := ok(t, "", "--version"); !strings.Contains(got, "go1.") {
		t.Errorf("--version prints %q", got)
	}
}
