package main_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/genbrowser/genbrowser/web"
)

func TestClusterStatus(t *testing.T) {
	for mode, args := range map[string][]string{
		"memory":  nil,
		"durable": {"--data", t.TempDir(), "--prefix", "/elsewhere"},
	} {
		s := simple(t, args...)
		text := ok(t, "", "cluster", "status", s.urls[0])
		for _, word := range map[string][]string{
			"memory":  {"in memory", "--data", "64: 0-63"},
			"durable": {"in a log", "64: 0-63", "Log: 1 entries", "1 since the newest snapshot"},
		}[mode] {
			if !strings.Contains(text, word) {
				t.Errorf("%s: no %q in\n%s", mode, word, text)
			}
		}
		var status web.ClusterStatus
		if err := json.Unmarshal([]byte(ok(t, "", "cluster", "status", "--json", s.urls[0]+"/")), &status); err != nil {
			t.Fatal(err)
		}
		if status.Mode != mode || len(status.Nodes) != 1 || !status.Nodes[0].Self {
			t.Errorf("%s: %+v", mode, status)
		}
		s.stop()
	}
}

// answering is the URL of a server that has this status.
func answering(t *testing.T, status string) string {
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/gen-browser", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(`{"prefix":"/p"}`)) })
	mux.HandleFunc("/p/cluster", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(status)) })
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	return srv.URL
}

// A cluster as its status tells it, and the table of it.
func TestClusterStatusTable(t *testing.T) {
	status := `{"mode":"cluster","nodes":[
		{"id":"id-a","name":"a","self":true,"shards":[0,1,2,7],"mailboxes":12,"bytes":345,"stalled":false,"heard":0},
		{"id":"id-bbbb","name":"beta","self":false,"shards":[],"mailboxes":0,"bytes":0,"stalled":true,"heard":0.25}],
		"log":{"first":5,"last":9,"entries":5,"bytes":900,"lag":2,"replicas":[
			{"name":"a","leader":true},{"name":"beta","offline":true,"lag":0},{"name":"c","lag":0}]}}`
	want := `A cluster of 2; * answers.

NODE  ID       MAILBOXES  BYTES  HEARD     STATE    SHARDS
a *   id-a     12         345    -         ok       4: 0-2,7
beta  id-bbbb  0          0      0.2s ago  stalled  0:

Log: 5 entries, 900 bytes, from 5 to 9; 2 since the newest snapshot.
Replicas: a (leader), beta (offline), c`
	if got := ok(t, "", "cluster", "status", answering(t, status)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	status = `{"mode":"durable","nodes":[],"log":{"error":"no answer"}}`
	if got := ok(t, "", "cluster", "status", answering(t, status)); !strings.Contains(got, "no answer") || strings.Contains(got, "entries") {
		t.Errorf("of a log that does not answer: %s", got)
	}
}

func TestClusterStatusOverUnix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b%") // which a URL can't have as it is
	s := serve(t, 1, nil, "--listen", (&url.URL{Scheme: "unix", Path: path}).String(), "--operators", "unix")
	if text := ok(t, "", "cluster", "status", s.urls[0]); !strings.Contains(text, "in memory") {
		t.Errorf("at %s: %s", s.urls[0], text)
	}
}

func TestClusterStatusOfNoURL(t *testing.T) {
	for _, text := range []string{"", "localhost:8080", "http://", "unix://run/gb.sock", "unix:///run/%zz", "unix:///run/gb.sock?mode=0660", "tcp://localhost:8080"} {
		fails(t, run(t, "", "cluster", "status", text), strconv.Quote(text), "want a URL such as http://localhost:8080 or unix:///run/gb.sock")
	}
}

func TestClusterStatusRefused(t *testing.T) {
	s := simple(t, "--operators", "203.0.113.0/24")
	fails(t, run(t, "", "cluster", "status", s.urls[0]), "operators")
	s.stop()
	fails(t, run(t, "", "cluster", "status", s.urls[0]), "refused")
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	fails(t, run(t, "", "cluster", "status", other.URL), "404")
}
