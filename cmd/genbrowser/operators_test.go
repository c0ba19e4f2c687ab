package main_test

import (
	"net/http"
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
