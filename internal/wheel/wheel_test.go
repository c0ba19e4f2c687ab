package wheel

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// timer does what it is told to.
type timer struct {
	Entry
	fire func()
}

func (t *timer) Fire() { t.fire() }

// TestWheel sets and stops timers at random: each fires in the first turn after its time, and only then.
func TestWheel(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	w := New(now)
	r := rand.New(rand.NewPCG(1, 2))
	timers := make([]timer, 500)
	due := map[int]time.Time{}
	step := 0
	for i := range timers {
		timers[i].fire = func() {
			at, ok := due[i]
			if !ok || !at.Before(now) {
				t.Fatalf("step %d: timer %d fires at %v, due %v (set: %v)", step, i, now, at, ok)
			}
			delete(due, i)
		}
	}
	for ; step < 3000; step++ {
		i := r.IntN(len(timers))
		switch r.IntN(4) {
		case 0:
			w.Stop(&timers[i])
			delete(due, i)
		default:
			after := time.Duration(r.IntN(5000)) * time.Second
			if r.IntN(2) == 0 {
				after = time.Duration(r.IntN(2000)-200) * time.Millisecond // some are overdue
			}
			due[i] = now.Add(after)
			w.Set(&timers[i], due[i])
		}
		pause := time.Duration(r.IntN(300)) * 10 * time.Millisecond
		if step%100 == 99 {
			pause = 2000 * time.Second // longer than a turn around
		}
		now = now.Add(pause)
		w.Turn(now)
		for i, at := range due {
			if at.Before(now) {
				t.Fatalf("step %d: timer %d did not fire: due %v, now %v", step, i, at, now)
			}
		}
	}
}

// TestTurnAhead: what is set after the wheel was turned ahead fires in its time all the same.
func TestTurnAhead(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	w := New(now)
	w.Turn(now.Add(time.Minute))
	fired := false
	w.Set(&timer{fire: func() { fired = true }}, now.Add(time.Second))
	w.Turn(now.Add(time.Second + 1))
	if !fired {
		t.Error("it did not fire")
	}
}

// TestStart lets a wheel turn by itself: timers, which may set themselves again, are late by what it is exact to.
func TestStart(t *testing.T) {
	for _, test := range []struct {
		exact []time.Duration
		want  time.Duration
	}{
		{nil, span},
		{[]time.Duration{time.Second}, span},
		{[]time.Duration{30 * time.Millisecond, 60 * time.Millisecond}, 30 * time.Millisecond},
		{[]time.Duration{0}, finest},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := New(time.Now())
			w.Start()
			for _, to := range test.exact {
				w.Exact(to)
			}
			var timers [50]timer
			var late time.Duration
			count := 0
			for i := range timers {
				after := time.Duration(i+1) * 7 * time.Millisecond
				due := time.Now().Add(after)
				timers[i].fire = func() {
					if early := time.Until(due); early >= 0 {
						t.Errorf("exact to %v: timer %d fires %v early", test.exact, i, early)
					}
					late = max(late, time.Since(due))
					count++
					due = time.Now().Add(after)
					w.Set(&timers[i], due)
				}
				w.Set(&timers[i], due)
			}
			time.Sleep(5 * time.Second)
			synctest.Wait()
			if late > test.want || late < test.want*3/4 || count < 10*len(timers) {
				t.Errorf("exact to %v: %d fired, late by up to %v; want %v", test.exact, count, late, test.want)
			}
			w.Close()
			before := count
			time.Sleep(5 * time.Second)
			if count != before {
				t.Errorf("%d fired after the end", count-before)
			}
		})
	}
}

func BenchmarkSet(b *testing.B) {
	w := New(time.Now())
	at := time.Now().Add(10 * time.Minute)
	timers := make([]timer, 1000)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		w.Set(&timers[i%len(timers)], at)
	}
}
