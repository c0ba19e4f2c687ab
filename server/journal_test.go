package server

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Everybody who is ready to run adds its record before the one that came first is stored.
func TestJournalLetsOthersAdd(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	together := 0
	for range 20 { // now and then the runtime has who waits longest run first
		j := &journal{queue: []*commit{{records: 1}}}
		var adding sync.WaitGroup
		for range 10 {
			adding.Go(func() {
				j.mu.Lock()
				defer j.mu.Unlock()
				j.queue[0].records++
			})
		}
		j.letOthersAdd()
		together = max(together, j.waiting())
		adding.Wait()
	}
	if together != 11 {
		t.Errorf("%d records are stored together, want all 11", together)
	}
}

// Who computes all the time does not keep the journal from storing.
func TestJournalAmongOthersWhoCompute(t *testing.T) {
	var over atomic.Bool
	defer over.Store(true)
	for range 8 * runtime.GOMAXPROCS(0) {
		go func() {
			for !over.Load() {
			}
		}()
	}
	j := &journal{}
	for end := time.Now().Add(time.Minute); ; {
		began := time.Now()
		for range 100 {
			j.letOthersAdd()
		}
		if time.Since(began) < 200*time.Millisecond {
			return
		}
		if time.Now().After(end) {
			t.Fatal("it does not notice them")
		}
	}
}
