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

// TestNeeds: what would have no effect is refused, whether it is a flag or a variable.
func TestNeeds(t *testing.T) {
	dir := t.TempDir()
	kept := []string{"--data", dir}
	shared := []string{"--nats", "nats://127.0.0.1:1"}
	for _, test := range []struct {
		beside []string
		flag   string
		needs  string
	}{
		{nil, "--sync=always", "--data"},
		{shared, "--sync=interval", "--data"},
		{kept, "--sync-every=5s", "--sync=interval"},
		{append(kept, "--sync=always"), "--sync-every=5s", "--sync=interval"},
		{nil, "--snapshot=1000", "--data or --nats"},
		{nil, "--restored=true", "--data or --nats"},
		{nil, "--replicas=1", "--data or --nats"},
		{nil, "--cluster-name=c", "--data"},
		{shared, "--cluster-name=c", "--data"},
		{kept, "--cluster-node=n", "--cluster-name or --nats"},
		{kept, "--cluster-listen=127.0.0.1:6222", "--cluster-name"},
		{shared, "--cluster-advertise=127.0.0.1:1", "--cluster-name"},
		{kept, "--join=127.0.0.1:1", "--cluster-name"},
		{kept, "--cluster-cert=x.pem", "--cluster-name"},
		{kept, "--cluster-key=x.pem", "--cluster-name"},
		{kept, "--cluster-ca=x.pem", "--cluster-name"},
		{nil, "--tls-client-name=a.example", "--tls-client-ca"},
		{nil, "--acme-cache=" + dir, "--acme-domain"},
		{nil, "--acme-email=a@a.example", "--acme-domain"},
		{nil, "--acme-directory=https://ca.example", "--acme-domain"},
		{[]string{"--send-bytes=1"}, "--send-burst=1", "--send-rate"},
		{[]string{"--send-rate=1"}, "--send-bytes-burst=1", "--send-bytes"},
	} {
		args := append([]string{"serve", "--listen", "none://"}, test.beside...)
		name, value, _ := strings.Cut(test.flag, "=")
		complaint := name + ": needs " + test.needs + " ("
		fails(t, run(t, "", append(args, test.flag)...), complaint)
		fails(t, finish(t, command(t, []string{variable(name[2:]) + "=" + value}, args...), ""), complaint)
	}

	usual := []string{"GENBROWSER_REPLICAS=0", "GENBROWSER_RESTORED=false"}
	serve(t, 1, usual, "--listen", "tcp4://127.0.0.1:0").stop()
	serve(t, 1, []string{"GENBROWSER_SYNC=interval"}, "--listen", "tcp4://127.0.0.1:0", "--data", dir, "--sync-every=5s", "--snapshot=1000",
		"--restored", "--replicas=1", "--send-rate=9", "--send-burst=9").stop()
}
