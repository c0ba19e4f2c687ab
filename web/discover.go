package web

import (
	"bytes"
	"io"
	"net/http"
	"time"

	jsclient "github.com/genbrowser/genbrowser/js-client"
)

func (h *Handler) discover(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, "application/json", struct {
		Protocol   int      `json:"protocol"`
		Prefix     string   `json:"prefix"`
		Transports []string `json:"transports"`
		Limits     limits   `json:"limits"`
	}{1, h.prefix, []string{"sse", "long-poll"}, limitsOf(h.office.Limits())})
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
