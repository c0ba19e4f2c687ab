package web

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	jsclient "github.com/genbrowser/genbrowser/js-client"
)

// Listener is a way to connect to a server, as discovery lists it.
type Listener struct {
	Transport string `json:"transport"` // tcp, tls, mtls or unix
	URL       string `json:"url"`       // http://… for tcp, https://… for tls and mtls, unix:///path
	// Machine is the ID of the machine that the URL makes sense on; empty if that is any. See PROTOCOL.md.
	Machine string `json:"machine,omitempty"`
}

func (h *Handler) discover(w http.ResponseWriter, r *http.Request) {
	var listeners []Listener
	if h.listeners != nil {
		listeners = h.listeners(r)
	}
	writeJSON(w, http.StatusOK, "application/json", struct {
		Protocol   int      `json:"protocol"`
		Name       string   `json:"name,omitempty"`
		Prefix     string   `json:"prefix"`
		Transports []string `json:"transports"`
		Limits     limits   `json:"limits"`

		Listeners []Listener `json:"listeners,omitempty"`
	}{1, h.name, h.prefix, []string{"sse", "long-poll"}, limitsOf(h.office.Limits()), listeners})
}

func (h *Handler) health(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") }

func (h *Handler) ready(w http.ResponseWriter, _ *http.Request) {
	if err := h.office.Ready(); err != nil {
		h.refuse(w, err)
		return
	}
	io.WriteString(w, "ok\n")
}

// script serves a bundle of the browser client.
func script(name string) http.HandlerFunc {
	load := sync.OnceValues(func() (*jsclient.Bundle, error) { return jsclient.Load(name) })
	return func(w http.ResponseWriter, r *http.Request) {
		bundle, err := load()
		if err != nil {
			http.NotFound(w, r)
			return
		}
		header, body := w.Header(), bundle.Plain
		header.Set("Content-Type", "text/javascript; charset=utf-8")
		header.Set("Cache-Control", "no-cache")
		header.Set("ETag", bundle.ETag)
		header.Add("Vary", "Accept-Encoding")
		if takesGzip(r) {
			body = bundle.Gzip
			header.Set("ETag", bundle.GzipETag)
			header.Set("Content-Encoding", "gzip")
		}
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(body))
	}
}

// takesGzip reads Accept-Encoding (RFC 9110 §12.5.3) as far as browsers use it.
func takesGzip(r *http.Request) bool {
	for coding := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		if name, weight, _ := strings.Cut(strings.TrimSpace(coding), ";"); strings.EqualFold(strings.TrimSpace(name), "gzip") {
			return !strings.HasPrefix(strings.ReplaceAll(weight, " ", ""), "q=0") || strings.ContainsAny(weight, "123456789")
		}
	}
	return false
}
