package web

import (
	"bytes"
	"io"
	"net/http"
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
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := jsclient.Bundle.ReadFile("dist/" + name)
		if err != nil {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/javascript; charset=utf-8")
		w.Header().Set("Cache-Control", "no-cache")
		w.Header().Set("ETag", jsclient.ETag(name))
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(body))
	}
}
