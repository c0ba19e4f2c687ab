package main_test

import (
	"regexp"
	"strings"
	"testing"
)

// variable is where a flag is in the environment.
func variable(flag string) string {
	return "GENBROWSER_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// TestEmpty: what is given and empty, as a variable of a script that is not set makes it, is not taken for none.
func TestEmpty(t *testing.T) {
	flags := []string{"data", "cluster-name", "cluster-cert", "name", "config"}
	for _, list := range regexp.MustCompile(`(?m)^ +--([a-z-]+)=[A-Z:]+,\.\.\.`).FindAllStringSubmatch(ok(t, "", "serve", "--help"), -1) {
		flags = append(flags, list[1])
	}
	if all := strings.Join(flags, " "); !strings.Contains(all, "origin") || !strings.Contains(all, "tls-client-name") || !strings.Contains(all, "nats") {
		t.Fatalf("the test is void: it has %s only", all)
	}
	for _, flag := range flags {
		if flag == "advertise" {
			continue // means nowhere by it
		}
		complaint := "--" + flag + ": is empty"
		fails(t, run(t, "", "serve", "--listen", "none://", "--"+flag+"="), complaint)
		fails(t, finish(t, command(t, []string{variable(flag) + "="}, "serve", "--listen", "none://"), ""), complaint)
	}
	for _, list := range []string{"--origin", "--trusted-proxy", "--nats"} {
		fails(t, run(t, "", "serve", "--listen", "none://", list+"=,"), list+": is empty")
	}
	fails(t, finish(t, command(t, []string{"GENBROWSER_LISTEN="}, "serve"), ""), "--listen: is empty")
	fails(t, finish(t, command(t, []string{"GENBROWSER_LISTEN="}, "healthcheck"), ""), "--listen: is empty")

	// what the command line says, the environment can't take back
	serve(t, 1, []string{"GENBROWSER_ORIGIN="}, "--listen", "tcp4://127.0.0.1:0", "--origin", "https://ok.example").stop()
}
