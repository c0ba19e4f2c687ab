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

// When two turns after another took longer than is fair, turns are left for a hundred times as long, and then tried again.
// One alone, also with others beside it, is not.
func TestLeftForAHundredTimes(t *testing.T) {
	const fair, late = time.Second, time.Second + 1
	synctest.Test(t, func(t *testing.T) {
		var p Point
		asked := 0
		turn := func(took time.Duration) {
			p.Yield(time.Now().Add(-took), func() time.Duration { asked++; return fair })
		}
		expect := func(want int, what string) {
			t.Helper()
			if asked != want {
				t.Fatalf("%s: %d turns, want %d", what, asked, want)
			}
		}
		turn(late)
		turn(fair + 2) // it was under way beside that
		time.Sleep(late)
		turn(fair)
		turn(late)
		expect(4, "late ones alone")
		time.Sleep(late)
		turn(late)
		expect(5, "two after another")
		time.Sleep(100 * time.Second)
		turn(0)
		expect(5, "before a hundred times as long")
		time.Sleep(time.Second)
		turn(0)
		expect(6, "after a hundred times as long")
	})
}
