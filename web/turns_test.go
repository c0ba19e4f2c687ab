package web

import (
	"bufio"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Whoever came together delivers before any of them is answered.
func TestTurnsAreTakenTogether(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	together := 0
	for range 20 { // now and then the runtime has who waits longest run first
		var turns turns
		var all sync.WaitGroup
		var delivered atomic.Int64
		first := make(chan int, 10)
		for range cap(first) {
			all.Go(func() {
				delivered.Add(1)
				turns.take(time.Now())
				first <- int(delivered.Load())
			})
		}
		all.Wait()
		together = max(together, <-first)
	}
	if together != 10 {
		t.Errorf("%d are delivered before the first answer, want all 10", together)
	}
}

// Who computes all the time does not keep answers back.
func TestTurnsAmongOthersWhoCompute(t *testing.T) {
	var over atomic.Bool
	defer over.Store(true)
	for range 8 * runtime.GOMAXPROCS(0) {
		go func() {
			for !over.Load() {
			}
		}()
	}
	var turns turns
	for end := time.Now().Add(time.Minute); ; {
		began := time.Now()
		for range 100 {
			turns.take(time.Now())
		}
		if time.Since(began) < 200*time.Millisecond {
			return
		}
		if time.Now().After(end) {
			t.Fatal("it does not notice them")
		}
	}
}

// The fast lane takes a turn for what came at once.
func TestFastLaneTakesTurns(t *testing.T) {
	s := serve(t, setup{kind: "fast"})
	send := strings.ReplaceAll(usual, "ADDR", s.open().Address)
	r := requests{t: t, conn: s.dial()}
	r.from = bufio.NewReader(r.conn)
	for range 3 {
		io.WriteString(r.conn, send)
		r.expectAnswer(http.StatusAccepted, send)
	}
	if n := s.gb.turns.taken.Load(); n != 3 {
		t.Errorf("%d turns for 3 sends", n)
	}
}
