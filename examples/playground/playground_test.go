package playground_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/examples/playground"
	"github.com/genbrowser/genbrowser/server"
	"github.com/genbrowser/genbrowser/web"
)

// TestRequestsWithoutAPath: they are answered, as those for what there is not.
func TestRequestsWithoutAPath(t *testing.T) {
	keys, err := address.NewRing([]byte(address.NewSecret()))
	if err != nil {
		t.Fatal(err)
	}
	office, err := server.New(server.Options{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	defer office.Stop(t.Context())
	gb, err := web.New(web.Options{Server: office})
	if err != nil {
		t.Fatal(err)
	}
	root, err := playground.New(office, gb)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(root)
	defer srv.Close()
	for request, want := range map[string]int{
		"CONNECT gb.example:80":  http.StatusNotFound,
		"GET http://gb.example":  http.StatusNotFound,
		"GET *":                  http.StatusNotFound,
		"OPTIONS *":              http.StatusOK,
		"GET http://gb.example/": http.StatusOK,
		"GET /":                  http.StatusOK,
	} {
		c, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: gb.example\r\nConnection: close\r\n\r\n", request)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Errorf("%s: %v", request, err)
			continue
		}
		if resp.Body.Close(); resp.StatusCode != want {
			t.Errorf("%s is answered %s, want %d", request, resp.Status, want)
		}
	}
}
