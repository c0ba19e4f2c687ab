package main

import (
	"slices"
	"strings"
	"testing"
)

func TestGenBrowser(t *testing.T) {
	for _, c := range []struct {
		command, started string
		addrs            []string
		tls              bool
	}{
		{"gb serve", "gb serve --listen=tcp4://127.0.0.1:8094", []string{"127.0.0.1:8094"}, false},
		{"gb serve --listen=tls://{addr}", "gb serve --listen=tls://127.0.0.1:8094", []string{"127.0.0.1:8094"}, true},
		{"gb serve --listen tls://127.0.0.1:1 --data {dir}/data", "gb serve --listen tls://127.0.0.1:1 --data /x/data", []string{"127.0.0.1:1"}, true},
		{"two.sh --listen=tcp4://127.0.0.1:1 --listen=tcp4://127.0.0.1:2", "two.sh --listen=tcp4://127.0.0.1:1 --listen=tcp4://127.0.0.1:2",
			[]string{"127.0.0.1:1", "127.0.0.1:2"}, false},
	} {
		v := genBrowser("name", strings.Fields(c.command), "127.0.0.1:8094")
		if got := strings.Join(v.commandIn("/x"), " "); got != c.started || v.tls != c.tls || !slices.Equal(v.addrs, c.addrs) {
			t.Errorf("%s: starts %q, at %v, TLS %v; want %q, %v, %v", c.command, got, v.addrs, v.tls, c.started, c.addrs, c.tls)
		}
	}
}
