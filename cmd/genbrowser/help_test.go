package main_test

import (
	"strings"
	"testing"
)

func TestHelp(t *testing.T) {
	for args, words := range map[string][]string{
		"":                  {"serve", "playground", "open", "send", "key new", "address inspect", "address attenuate", "cluster status", "data check", "data compact", "healthcheck", "GENBROWSER_SECRET", "--version"},
		"serve":             {"--listen", "tcp4://", "?export=", "unix://", "--tls-cert", "--config", "--body", "--backlog", "--overflow", "--heartbeat", "--origin", "--operators", "--log-format", "--shutdown-grace"},
		"playground":        {"--listen", "--log-level"},
		"open":              {"<url>"},
		"send":              {"<url>", "<to>", "<body>", "standard input"},
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

func TestWrongUse(t *testing.T) {
	for _, args := range [][]string{{}, {"serv"}, {"serve", "--lisen", "x"}, {"send"}, {"serve", "--overflow", "panic"}, {"serve", "--body", "-1"}} {
		if r := run(t, "", args...); r.code == 0 || r.err == "" {
			t.Errorf("%v exits with %d and complains %q", args, r.code, r.err)
		}
	}
	fails(t, run(t, "", "serve", "--config", "{"), "--config: want JSON")
	fails(t, run(t, "", "serve", "--data", t.TempDir(), "--join", "127.0.0.1:1"), "--join: the nodes of a cluster have a --cluster-name")
	if got := ok(t, "", "--version"); !strings.Contains(got, "go1.") {
		t.Errorf("--version prints %q", got)
	}
}
