package main

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/server"
	"github.com/genbrowser/genbrowser/web"
)

// TestPeerIsKnown asks the server that the program makes who is there.
func TestPeerIsKnown(t *testing.T) {
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	keys, err := address.NewRing([]byte("0123456789abcdef0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	office, err := server.New(server.Options{Keys: keys, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	gb, err := web.New(web.Options{Server: office, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "s")
	listeners, err := listenAll([]string{"unix://" + path}, tlsConfigs{}, quiet)
	if err != nil {
		t.Skip(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	f := flags{ShutdownGrace: 10 * time.Second}
	show := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { json.NewEncoder(w).Encode(web.PeerOf(r.Context())) })
	go func() { ended <- f.serveOn(ctx, listeners, show, gb, quiet) }()

	tr := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	resp, err := (&http.Client{Transport: tr}).Get("http://localhost/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var got web.Peer
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if got.Transport != "unix" || got.Remote || got.Process != nil && got.Process.PID != os.Getpid() {
		t.Errorf("the peer is %+v", got)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
