package main_test

import (
	"context"
	"net"
	"net/http"
	"path/filepath"
	"testing"
)

// status asks a server as this machine, or as a proxy on it that vouches for a client.
func (s *server) status(t testing.TB, path, client string) int {
	t.Helper()
	r, err := http.NewRequest("GET", s.urls[0]+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if client != "" {
		r.Header.Set("X-Forwarded-For", client)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

func TestOperators(t *testing.T) {
	for _, tt := range []struct {
		args   []string
		client string
		want   int
	}{
		{nil, "", 200},
		{nil, "127.0.0.1", 403},
		{[]string{"--trusted-proxy", "127.0.0.0/8"}, "203.0.113.1", 403},
		{[]string{"--trusted-proxy", "127.0.0.0/8", "--operators", "203.0.113.0/24"}, "203.0.113.1", 200},
		{[]string{"--trusted-proxy", "127.0.0.0/8", "--operators", "203.0.113.0/24"}, "", 403},
		{[]string{"--operators", "203.0.113.0/24", "--operators", "127.0.0.1/32"}, "", 200},
	} {
		s := simple(t, tt.args...)
		if got := s.status(t, "/metrics", tt.client); got != tt.want {
			t.Errorf("%v: /metrics for %q = %d, want %d", tt.args, tt.client, got, tt.want)
		}
		if got := s.status(t, "/_gb/cluster", tt.client); got != tt.want {
			t.Errorf("%v: /_gb/cluster for %q = %d, want %d", tt.args, tt.client, got, tt.want)
		}
		s.stop()
	}
	fails(t, run(t, "", "serve", "--operators", "10.0.0.1"), "--operators", "10.0.0.0/8")
}

// TestOperatorsBehindASocket: a client of a proxy is no operator for having sent an empty X-Forwarded-For of its own.
func TestOperatorsBehindASocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	serve(t, 1, nil, "--listen", "unix://"+path, "--trusted-proxy", "unix")
	proxy := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	defer proxy.CloseIdleConnections()
	for _, tt := range []struct {
		lines []string
		want  int
	}{{nil, 200}, {[]string{"203.0.113.1"}, 403}, {[]string{"", "203.0.113.1"}, 403}, {[]string{""}, 403}} {
		for _, page := range []string{"/metrics", "/_gb/clients"} {
			r, err := http.NewRequest("GET", "http://localhost"+page, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header["X-Forwarded-For"] = tt.lines
			resp, err := proxy.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != tt.want {
				t.Errorf("%s with X-Forwarded-For %q: %d, want %d", page, tt.lines, resp.StatusCode, tt.want)
			}
		}
	}
}
