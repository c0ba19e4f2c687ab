package main

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/server"
)

// TestExportsOfListeners asks each listener for the same names, also one whose connections come from the fast lane.
func TestExportsOfListeners(t *testing.T) {
	exportsOfListeners(t, flags{ShutdownGrace: 10 * time.Second})
	exportsOfListeners(t, flags{ShutdownGrace: 10 * time.Second, FastLane: true})
}

func exportsOfListeners(t *testing.T, f flags) {
	t.Helper()
	const at = "tcp4://127.0.0.1:0"
	s := startListeners(t, f, at+","+at+"?export=ping,shop/*,"+at+"?export=", at+"?export=shop&export=ping")
	all := []string{"ping", "shop", "shop/till", "shop/till/2"}
	for _, name := range all {
		if err := s.office.Export(name); err != nil {
			t.Fatal(err)
		}
	}
	want := [][]string{all, {"ping", "shop/till", "shop/till/2"}, nil, {"ping", "shop"}}
	if len(s.listeners) != len(want) {
		t.Fatalf("%d listeners", len(s.listeners))
	}
	for i := range s.listeners {
		var found []string
		for _, name := range all {
			if s.status(t, i, "GET", "whereis/"+name, "", "") == 200 {
				found = append(found, name)
			}
		}
		if !slices.Equal(found, want[i]) {
			t.Errorf("listener %d tells of %q, want %q", i, found, want[i])
		}
	}
}

// listening is a server with its listeners.
type listening struct {
	office    *server.Server
	listeners []listener
}

// startListeners serves on listeners until the test ends.
func startListeners(t *testing.T, f flags, specs ...string) *listening {
	t.Helper()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	keys, err := address.NewRing([]byte("0123456789abcdef0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	office, err := server.New(server.Options{Keys: keys, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	gb, err := f.handler(office, quiet, nil)
	if err != nil {
		t.Fatal(err)
	}
	listeners, err := listenAll(specs, tlsConfigs{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- f.serveOn(ctx, listeners, gb, gb, quiet) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return &listening{office, listeners}
}

// status makes a request to a listener, on a connection of its own.
func (s *listening) status(t *testing.T, i int, method, path, key, body string) int {
	t.Helper()
	r, err := http.NewRequest(method, s.listeners[i].url+"/_gb/"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// TestNamesOfListeners registers the same names at each listener.
func TestNamesOfListeners(t *testing.T) {
	s := startListeners(t, flags{ShutdownGrace: 10 * time.Second},
		"tcp4://127.0.0.1:0,tcp4://127.0.0.1:0?export=&register=ping,shop/*", "tcp4://127.0.0.1:0?register=")
	for i, want := range [][]int{{403, 403, 403}, {204, 204, 403}, {403, 403, 403}} {
		box, err := s.office.Open(nil)
		if err != nil {
			t.Fatal(err)
		}
		for j, name := range []string{"ping", "shop/till", "shop"} {
			body := `{"address":"` + box.Address.String() + `"}`
			if got := s.status(t, i, "PUT", "names/"+name, box.Key.Reveal(), body); got != want[j] {
				t.Errorf("listener %d answers %d to who registers %q, want %d", i, got, name, want[j])
			}
		}
	}
}

func TestParseNames(t *testing.T) {
	for query, want := range map[string]string{
		"":                         "all",
		"export=":                  "",
		"export=*":                 "*",
		"export=a,b*&export=c":     "a b* c",
		"export=a,,b&mode=0600":    "a b",
		"export=a*b":               "error",
		"export=**":                "error",
		"export=a b":               "error",
		"export=a%00":              "error",
		"export=a&export=*%2Fshop": "error",
	} {
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		e, err := parseNames(values, "export")
		got := strings.Join(e, " ")
		switch {
		case err != nil:
			got = "error"
		case e == nil:
			got = "all"
		case values.Has("export"):
			t.Errorf("%q leaves export in the query", query)
		}
		if got != want {
			t.Errorf("%q is %q, want %q", query, got, want)
		}
	}
	got := splitListeners([]string{"a://1,b://2", "c://3?export=x,y,d://4,e", "f", "g://5?register=x,y&export=,z,h://6"})
	if want := []string{"a://1", "b://2", "c://3?export=x,y", "d://4", "e", "f", "g://5?register=x,y&export=,z", "h://6"}; !slices.Equal(got, want) {
		t.Errorf("the listeners are %q, want %q", got, want)
	}
}
