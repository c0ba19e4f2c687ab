package crew

import (
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Everything runs, also when all goroutines are busy or one was ended, and none is left in the end.
func TestCrew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c Crew
		for range 3 {
			var all sync.WaitGroup
			gate := make(chan bool)
			for range 3 * keep {
				all.Add(1)
				c.Go(func() {
					defer all.Done()
					<-gate
				})
			}
			synctest.Wait()
			close(gate)
			all.Wait()
			expectIdle(t, &c, keep)
		}
		done := make(chan bool)
		c.Go(func() {
			defer close(done)
			runtime.Goexit()
		})
		<-done
		expectIdle(t, &c, keep-1) // one was ended
		time.Sleep(linger / 2)
		for range 4 {
			c.Go(func() {})
			time.Sleep(linger)
		}
		expectIdle(t, &c, 1) // no more were needed
		time.Sleep(2 * linger)
		expectIdle(t, &c, 0)
		c.Go(func() {})
		synctest.Wait()
		c.Close()
		done = make(chan bool)
		c.Go(func() { close(done) })
		<-done
	}) // which fails if a goroutine is left
}

func expectIdle(t *testing.T, c *Crew, want int) {
	t.Helper()
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.idle) != want {
		t.Errorf("%d goroutines wait, want %d", len(c.idle), want)
	}
}

func BenchmarkGo(b *testing.B) {
	for name, run := range map[string]func(func()){"crew": new(Crew).Go, "go": func(f func()) { go f() }} {
		b.Run(name, func(b *testing.B) {
			done := make(chan bool)
			for b.Loop() {
				run(func() { deep(20); done <- true })
				<-done
			}
		})
	}
}

// deep needs a stack of some 10 KiB.
//
//go:noinline
func deep(n int) byte {
	var room [512]byte
	if n > 0 {
		room[n] = deep(n - 1)
	}
	return room[n/2]
}
