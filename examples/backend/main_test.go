package main_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/client"
	"github.com/genbrowser/genbrowser/server"
	"github.com/genbrowser/genbrowser/web"
)

func TestBackend(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	keys, err := address.NewRing([]byte(address.NewSecret()))
	if err != nil {
		t.Fatal(err)
	}
	office, err := server.New(server.Options{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	gb, err := web.New(web.Options{Server: office})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(gb)
	defer srv.Close()
	defer gb.Shutdown(ctx)
	c, err := client.New(srv.URL, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	box, err := c.Open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "backend")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := exec.CommandContext(ctx, program, srv.URL, box.Address().String()).CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("backend: %v\n%s", err, out)
	}
	percent := 0
	for m, err := range box.Messages(ctx) {
		if want := fmt.Sprintf(`{"type":"progress","percent":%d}`, percent); err != nil || string(m.Body) != want {
			t.Fatalf("got %s, %v, want %s", m.Body, err, want)
		}
		if percent += 25; percent > 100 {
			break
		}
	}

	if err := box.Close(ctx); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(ctx, program, srv.URL, box.Address().String()).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "the browser is gone") {
		t.Errorf("to a closed mailbox: %v\n%s", err, out)
	}
	for _, args := range [][]string{{}, {srv.URL, "gba_x"}, {"nonsense", box.Address().String()}} {
		if err := exec.CommandContext(ctx, program, args...).Run(); err == nil {
			t.Errorf("backend %v exits with 0", args)
		}
	}
}
