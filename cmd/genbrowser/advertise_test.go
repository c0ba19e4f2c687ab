package main_test

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/genbrowser/genbrowser/internal/machine"
	"github.com/genbrowser/genbrowser/web"
)

// discovered is what a server lists.
func discovered(t testing.TB, url string) []web.Listener {
	t.Helper()
	resp, err := http.Get(url + "/.well-known/gen-browser")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var found struct{ Listeners []web.Listener }
	if err := json.NewDecoder(resp.Body).Decode(&found); err != nil {
		t.Fatal(err)
	}
	return found.Listeners
}

func TestDiscovery(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("machines have no ID there")
	}
	root := newAuthority(t)
	socket := filepath.Join(t.TempDir(), "s")
	s := serve(t, 4, nil, append([]string{"--listen", "tcp4://127.0.0.1:0", "--listen", "tls://0.0.0.0:0", "--listen", "tls://nowhere.invalid:0",
		"--listen", "mtls://127.0.0.1:0", "--listen", "unix://" + socket, "--tls-client-ca", root.file}, secure(t, root).flags...)...)
	here := machine.ID()
	want := []web.Listener{
		{Transport: "tcp", URL: s.urls[0], Machine: here},
		{Transport: "tls", URL: strings.Replace(s.urls[1], "localhost", "127.0.0.1", 1)}, // as we called
		{Transport: "mtls", URL: s.urls[2], Machine: here},
		{Transport: "unix", URL: "unix://" + socket, Machine: here},
	}
	if got := discovered(t, s.urls[0]); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}

	if got := discovered(t, simple(t, "--advertise", "https://gb.example", "--advertise", "unix:///run/gb.sock").urls[0]); !reflect.DeepEqual(got, []web.Listener{
		{Transport: "tls", URL: "https://gb.example"}, {Transport: "unix", URL: "unix:///run/gb.sock", Machine: here},
	}) {
		t.Errorf("of what is advertised it lists %+v", got)
	}
	for _, nowhere := range []*server{
		simple(t, "--advertise="),
		serve(t, 1, []string{"GENBROWSER_ADVERTISE="}, "--listen", "tcp4://127.0.0.1:0"),
	} {
		if got := discovered(t, nowhere.urls[0]); got != nil {
			t.Errorf("it lists %+v, want nothing", got)
		}
	}
	fails(t, run(t, "", "serve", "--advertise", "gb.example"), "--advertise")
}
