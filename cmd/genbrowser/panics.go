package main

import (
	"log/slog"
	"net/http"
	"runtime/debug"
)

// tellPanics logs those of requests, which net/http tells where nobody looks: with what clients do wrong in TLS and the like.
func tellPanics(h http.Handler, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			switch p := recover(); p {
			case nil:
				return
			case http.ErrAbortHandler: // meant to
				panic(p)
			default:
				log.Error("a request panicked", "panic", p, "stack", string(debug.Stack()))
				panic(p)
			}
		}()
		h.ServeHTTP(w, r)
	})
}
