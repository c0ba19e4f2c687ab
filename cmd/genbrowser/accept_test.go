package main_test

import (
	"net/http"
	"sync"
	"testing"
	"time"
)

// Connections beyond the burst are accepted at the rate that was asked for; all of them are.
func TestAcceptRate(t *testing.T) {
	const burst, more, rate = 64, 10, 20
	for flag, least := range map[string]time.Duration{"20": (more - 1) * time.Second / rate, "-1": 0, "0": 0} {
		s := simple(t, "--accept-rate="+flag)
		began := time.Now()
		var all sync.WaitGroup
		for range burst + more {
			all.Go(func() {
				alone := &http.Transport{DisableKeepAlives: true}
				resp, err := (&http.Client{Transport: alone}).Get(s.urls[0] + "/healthz")
				if err != nil {
					t.Error(err)
					return
				}
				resp.Body.Close()
			})
		}
		all.Wait()
		if took := time.Since(began); took < least {
			t.Errorf("--accept-rate %s: %d connections in %v, want at least %v", flag, burst+more, took, least)
		}
	}
}
