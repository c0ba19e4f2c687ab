package client

import (
	"net/http"
	"testing"
)

// Every client that has no http.Client of the program's tries its connections of HTTP/2.
func TestAllConnectionsAreTried(t *testing.T) {
	shared, err := New("https://gb.example", Options{})
	if err != nil {
		t.Fatal(err)
	}
	for name, h := range map[string]*http.Client{
		"shared": shared.http, "a peer's": shared.apart().http, "TLS": overTLS(nil), "plain": overPlain(nil), "unix": overSocket("/s"),
	} {
		got := h.Transport.(*http.Transport).HTTP2
		if got == nil || got.SendPingTimeout != pings.SendPingTimeout || got.PingTimeout != pings.PingTimeout {
			t.Errorf("%s: %+v, want %+v", name, got, pings)
		}
	}
}
