package main

import (
	"net"
	"strings"
	"testing"

	"github.com/genbrowser/genbrowser/internal/machine"
)

func TestListed(t *testing.T) {
	for _, tt := range []struct{ spec, called, want string }{
		{"https://gb.example", "x:1", "tls https://gb.example"},
		{"https://gb.example:444/", "", "tls https://gb.example:444"},
		{"tls://gb.example:444", "x", "tls https://gb.example:444"},
		{"mtls://gb.example:444", "x", "mtls https://gb.example:444"},
		{"http://gb.example", "x", "tcp http://gb.example"},
		{"tcp://192.0.2.1:80", "x", "tcp http://192.0.2.1:80"},
		{"tcp6://[2001:db8::1]", "x", "tcp http://[2001:db8::1]"},
		{"unix:///run/a b", "x", "unix unix:///run/a%20b here"},

		// what makes sense on this machine only
		{"tcp://127.0.0.1:80", "x", "tcp http://127.0.0.1:80 here"},
		{"tcp://127.1.1.1:80", "x", "tcp http://127.1.1.1:80 here"},
		{"tls://[::1]:80", "x", "tls https://[::1]:80 here"},
		{"tls://localhost", "x", "tls https://localhost here"},

		// the host that the client called
		{"tls://:444", "gb.example", "tls https://gb.example:444"},
		{"tls://0.0.0.0:444", "gb.example:8080", "tls https://gb.example:444"},
		{"tls://[::]:444", "[2001:db8::1]:8080", "tls https://[2001:db8::1]:444"},
		{"tls://[::]:444", "127.0.0.1:8080", "tls https://127.0.0.1:444"},
		{"tcp4://:80", "192.0.2.1:8080", "tcp http://192.0.2.1:80"},
		{"tcp4://:80", "[::1]:8080", ""},
		{"tcp6://:80", "192.0.2.1", ""},
		{"tcp6://:80", "[::1]:8080", "tcp http://[::1]:80"},
		{"tls://:444", "", ""},
		{"tls://:444", "a b", ""},
		{"tls://:444", "a/b", ""},
		{"tls://:444", "x@y", ""},
		{"tls://:444", "x?y", ""},
	} {
		all, err := parsePlaces([]string{tt.spec})
		if err != nil {
			t.Error(err)
			continue
		}
		var got []string
		for _, l := range all.listed(tt.called) {
			got = append(got, l.Transport, l.URL)
			if l.Machine != "" {
				got = append(got, "here")
			}
		}
		want := tt.want
		if machine.ID() == "" && strings.HasSuffix(want, " here") {
			want = "" // nobody can tell where that is
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s for who called %q: %q, want %q", tt.spec, tt.called, got, want)
		}
	}
	for _, spec := range []string{"", "gb.example", "ftp://gb.example", "https://", "https:gb.example", "https://u@gb.example", "https://gb.example/x",
		"https://gb.example?x", "https://gb.example#x", "unix://run/x", "unix:x", "unix:///x?mode=0600", "tsl://x"} {
		if _, err := parsePlaces([]string{spec}); err == nil || !strings.Contains(err.Error(), "want a URL such as") {
			t.Errorf("--advertise %q: %v", spec, err)
		}
	}
}

func TestListenersAreListed(t *testing.T) {
	at := func(transport, family, addr string) listener {
		a, err := net.ResolveTCPAddr("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		return listener{Listener: addressed{addr: a}, transport: transport, family: family}
	}
	got := placesOf([]listener{at("tcp", "tcp4", "0.0.0.0:1"), at("tls", "tcp", "[::]:2"), at("mtls", "tcp", "192.0.2.1:3")}).listed("gb.example")
	want := []string{"tcp http://gb.example:1", "tls https://gb.example:2", "mtls https://192.0.2.1:3"}
	if len(got) != len(want) {
		t.Fatalf("%v, want %v", got, want)
	}
	for i := range want {
		if text := got[i].Transport + " " + got[i].URL; text != want[i] || got[i].Machine != "" {
			t.Errorf("%v, want %v", got[i], want[i])
		}
	}
}

type addressed struct {
	net.Listener
	addr net.Addr
}

func (a addressed) Addr() net.Addr { return a.addr }
