package client

import (
	"net/http"
	"testing"
	"time"
)

// CloseShared closes the connections that clients without an http.Client of their own share.
func CloseShared() { direct().CloseIdleConnections() }

// Ping has connections of HTTP/2 that are made until the test ends be tried after so long a silence.
func Ping(t *testing.T, after time.Duration) {
	usual := pings
	t.Cleanup(func() { pings = usual })
	pings = http.HTTP2Config{SendPingTimeout: after, PingTimeout: after}
}
