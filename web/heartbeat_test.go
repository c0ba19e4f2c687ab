package web

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/genbrowser/genbrowser/server"
)

// timed is a response that notes when something is written.
type timed struct {
	header http.Header

	mu    sync.Mutex
	wrote []time.Time
}

func (w *timed) Header() http.Header { return w.header }
func (w *timed) WriteHeader(int)     {}
func (w *timed) Flush()              {}

func (w *timed) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wrote = append(w.wrote, time.Now())
	return len(b), nil
}

// take returns how far apart the writes were since the last call, the one before them included.
func (w *timed) take() (gaps []time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, at := range w.wrote[1:] {
		gaps = append(gaps, at.Sub(w.wrote[i]))
	}
	w.wrote = w.wrote[len(w.wrote)-1:]
	return gaps
}

// TestHeartbeatsAreOnTime: each handler on a server has its own heartbeat, late by an eighth at most, as long as the
// server has readers; that it shuts down changes nothing while its processes take their time.
func TestHeartbeatsAreOnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := slog.New(slog.DiscardHandler)
		office, err := server.New(server.Options{Keys: testRing(t, "the secret of the tests"), Logger: log})
		if err != nil {
			t.Fatal(err)
		}
		release := make(chan struct{})
		p, err := office.Handle("slow", server.HandlerFunc(func(context.Context, server.Message) error {
			<-release
			return nil
		}))
		if err != nil {
			t.Fatal(err)
		}
		beats := []time.Duration{80 * time.Millisecond, time.Second, 15 * time.Second}
		var handlers []*Handler
		var streams []*timed
		var serving sync.WaitGroup
		for _, beat := range beats {
			h, err := New(Options{Server: office, Heartbeat: beat, Logger: log})
			if err != nil {
				t.Fatal(err)
			}
			w := &timed{header: http.Header{}}
			handlers, streams = append(handlers, h), append(streams, w)
			r := httptest.NewRequest("GET", "/_gb/mailbox?new", nil)
			r.Header.Set("Accept", "text/event-stream")
			serving.Go(func() { h.ServeHTTP(w, r) })
		}
		expect := func(when string) {
			t.Helper()
			time.Sleep(time.Minute)
			synctest.Wait()
			for i, beat := range beats {
				gaps := streams[i].take()
				if len(gaps) < int(time.Minute/beat)*8/9-1 {
					t.Errorf("%s: %d heartbeats in a minute; want one each %v", when, len(gaps), beat)
				}
				for _, gap := range gaps {
					if gap < beat || gap > beat+beat/8 {
						t.Errorf("%s: %v between heartbeats; want %v", when, gap, beat)
						break
					}
				}
			}
		}
		expect("usually")
		if err := office.Send(t.Context(), p, 1); err != nil {
			t.Fatal(err)
		}
		down := make(chan error)
		go func() { down <- handlers[0].Shutdown(context.Background()) }()
		expect("shutting down")
		close(release)
		if err := <-down; err != nil {
			t.Error(err)
		}
		for _, h := range handlers[1:] {
			if err := h.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		}
		serving.Wait()
	})
}
