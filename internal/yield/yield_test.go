package yield

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Whoever is ready to run has its turn before the one who yields goes on.
func TestOthersHaveTheirTurn(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	most := int64(0)
	for range 20 { // now and then the runtime has who waits longest run first
		var p Point
		var had atomic.Int64
		var others sync.WaitGroup
		for range 10 {
			others.Go(func() { had.Add(1) })
		}
		p.Yield(time.Now(), func() time.Duration { return time.Minute })
		most = max(most, had.Load())
		others.Wait()
	}
	if most != 10 {
		t.Errorf("%d had their turn, want all 10", most)
	}
}

// Among those who compute all the time nobody yields any more.
func TestAmongOthersWhoCompute(t *testing.T) {
	var over atomic.Bool
	defer over.Store(true)
	for range 8 * runtime.GOMAXPROCS(0) {
		go func() {
			for !over.Load() {
			}
		}()
	}
	var p Point
	fair := func() time.Duration { return 4 * time.Millisecond }
	for end := time.Now().Add(time.Minute); p.crowded.Load() == nil; {
		if time.Now().After(end) {
			t.Fatal("it does not notice them")
		}
		p.Yield(time.Now(), fair)
	}
	until := time.Now().Add(time.Hour)
	p.crowded.Store(&until)
	began := time.Now()
	for range 1000 {
		p.Yield(time.Now(), fair)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("1,000 turns took %v", took)
	}
}

// What took longer than is fair is left for a hundred times as long, and then tried again; what was fair is not left.
func TestLeftForAHundredTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p Point
		asked := 0
		yield := func(ago, fair time.Duration) {
			p.Yield(time.Now().Add(-ago), func() time.Duration { asked++; return fair })
		}
		yield(time.Second, time.Second)
		yield(time.Second+1, time.Second)
		if asked != 2 {
			t.Fatalf("a turn that took no longer than was fair was left")
		}
		time.Sleep(100 * time.Second)
		yield(0, time.Hour)
		if asked != 2 {
			t.Error("taken again before a hundred times as long")
		}
		time.Sleep(time.Second)
		yield(0, time.Hour)
		if asked != 3 {
			t.Error("not taken again after a hundred times as long")
		}
	})
}
