package main

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestTellPanics(t *testing.T) {
	for what, told := range map[any]bool{nil: false, http.ErrAbortHandler: false, "a fault": true} {
		var text bytes.Buffer
		h := tellPanics(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			if what != nil {
				panic(what)
			}
		}), slog.New(slog.NewTextHandler(&text, nil)))
		func() {
			defer func() {
				if got := recover(); got != what {
					t.Errorf("panic %v went on as %v", what, got)
				}
			}()
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
		}()
		if got := strings.Contains(text.String(), "a fault"); got != told {
			t.Errorf("panic %v: told %q", what, text.String())
		}
	}
}
