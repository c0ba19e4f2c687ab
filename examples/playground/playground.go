// Package playground is the pinger and ponger pages, and the two processes that they can talk to: a logger and
// a name registry.
package playground

import (
	"embed"
	"io/fs"
	"net/http"
	"strings"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/server"
)

//go:embed pages
var pages embed.FS

// New starts the processes, makes their addresses every client's config, and returns a handler that serves the
// pages, and leaves everything else to gb.
func New(office *server.Server, gb http.Handler) (http.Handler, error) {
	logger, err := office.Handle("logger", office.Logger())
	if err != nil {
		return nil, err
	}
	registry, err := office.HandleSingle("registry", office.Registry())
	if err != nil {
		return nil, err
	}
	if err := office.SetConfig(map[string]address.Address{"logger": logger, "registry": registry}); err != nil {
		return nil, err
	}
	root, err := fs.Sub(pages, "pages")
	if err != nil {
		return nil, err
	}
	files := http.FileServerFS(root)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := fs.Stat(root, name(r.URL.Path)); err != nil {
			gb.ServeHTTP(w, r)
			return
		}
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-cache")
		files.ServeHTTP(w, r)
	}), nil
}

// name is the file that a path stands for. Not every request has a path that begins with /: CONNECT has none.
func name(path string) string {
	if path == "/" {
		return "index.html"
	}
	return strings.TrimPrefix(path, "/")
}
