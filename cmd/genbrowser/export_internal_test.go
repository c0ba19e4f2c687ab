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
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	keys, err := address.NewRing([]byte("0123456789abcdef0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	office, err := server.New(server.Options{Keys: keys, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"ping", "shop", "shop/till", "shop/till/2"}
	for _, name := range names {
		if err := office.Export(name); err != nil {
			t.Fatal(err)
		}
	}
	gb, err := f.handler(office, quiet, nil)
	if err != nil {
		t.Fatal(err)
	}
	const at = "tcp4://127.0.0.1:0"
	listeners, err := listenAll([]string{at + "," + at + "?export=ping,shop/*," + at + "?export=", at + "?export=shop&export=ping"}, tlsConfigs{}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- f.serveOn(ctx, listeners, gb, gb, quiet) }()
	tr := &http.Transport{DisableKeepAlives: true}
	want := [][]string{names, {"ping", "shop/till", "shop/till/2"}, nil, {"ping", "shop"}}
	if len(listeners) != len(want) {
		t.Fatalf("%d listeners", len(listeners))
	}
	for i, l := range listeners {
		var found []string
		for _, name := range names {
			resp, err := (&http.Client{Transport: tr}).Get(l.url + "/_gb/whereis/" + name)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode == 200 {
				found = append(found, name)
			}
		}
		if !slices.Equal(found, want[i]) {
			t.Errorf("listener %d tells of %q, want %q", i, found, want[i])
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestParseExports(t *testing.T) {
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
		e, err := parseExports(values)
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
	got := splitListeners([]string{"a://1,b://2", "c://3?export=x,y,d://4,e", "f"})
	if want := []string{"a://1", "b://2", "c://3?export=x,y", "d://4", "e", "f"}; !slices.Equal(got, want) {
		t.Errorf("the listeners are %q, want %q", got, want)
	}
}
