package web

import (
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/server"
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
				turns.take(time.Now(), 1)
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
			turns.take(time.Now(), 1)
		}
		if time.Since(began) < 200*time.Millisecond {
			return
		}
		if time.Now().After(end) {
			t.Fatal("it does not notice them")
		}
	}
}

// Messages of several requests for the same readers are all there before any of these is woken.
func TestReadersAreWokenTogether(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	together := 0
	for range 20 { // as above
		var h Handler
		var all sync.WaitGroup
		var taken atomic.Int64
		first := make(chan int, 20)
		woken := wakes(func() { first <- int(taken.Load()) })
		for range 10 {
			all.Go(func() {
				taken.Add(1)
				u := upload{h: &h, awake: []server.Reader{woken, woken}}
				u.wake()
			})
		}
		all.Wait()
		together = max(together, <-first)
	}
	if together != 10 {
		t.Errorf("%d requests are taken before the first reader is woken, want all 10", together)
	}
}

type wakes func()

func (w wakes) Wake() { w() }

func (w wakes) End(error) {}

// Many lines and the fast lane take a turn before they are answered, and who wakes several readers one before that, too.
func TestSendsTakeTurns(t *testing.T) {
	line := func(o begun) string { return `{"to":"` + o.Address + `","body":1}` + "\n" }
	const each = 2 // one before the turn, one after it
	for _, kind := range []string{"", "fast", "h2"} {
		s := serve(t, setup{kind: kind})
		var o [2]begun
		for i := range o {
			o[i] = s.stream("/_gb/mailbox?new").init()
		}
		before := int64(0)
		steps := func(what string, want int64) {
			t.Helper()
			n := s.gb.turns.done.Load()
			if n-before != want {
				t.Errorf("%q, %s: %d steps, want %d", kind, what, n-before, want)
			}
			before = n
		}
		s.mustSend(o[0].Address, "1")
		steps("a send", each*s.gb.tally.fast.Load())
		if n := s.gb.tally.fast.Load(); kind == "fast" && n != 1 {
			t.Errorf("%d of 1 send in the fast lane", n)
		}
		for what, c := range map[string]struct {
			lines string
			want  int64
		}{
			"two lines for a reader": {line(o[0]) + line(o[0]), 2 * each},
			"two lines for two":      {line(o[0]) + line(o[1]), 2*each + each},
		} {
			if a := s.do("POST", "/_gb/send?brief", c.lines, "Content-Type", "application/x-ndjson"); a.status != http.StatusNoContent {
				t.Fatalf("%d %s", a.status, a.body)
			}
			steps(what, c.want)
		}
	}
}
