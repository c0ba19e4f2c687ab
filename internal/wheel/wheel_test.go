package wheel

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestWheel(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	w := New[int](time.Second, now)
	r := rand.New(rand.NewPCG(1, 2))
	items := make([]Item[int], 500)
	due := map[int]time.Time{}
	for step := range 3000 {
		i := r.IntN(len(items))
		items[i].Value = i
		switch r.IntN(4) {
		case 0:
			w.Stop(&items[i])
			delete(due, i)
		default:
			due[i] = now.Add(time.Duration(r.IntN(5000)) * time.Second)
			w.Set(&items[i], due[i])
		}
		pause := time.Duration(r.IntN(3)) * time.Second
		if step%100 == 99 {
			pause = 2000 * time.Second // longer than a turn around
		}
		now = now.Add(pause)
		w.Turn(now, func(i int) {
			at, ok := due[i]
			if !ok || at.After(now) {
				t.Fatalf("step %d: item %d came at %v, due %v (set: %v)", step, i, now, at, ok)
			}
			delete(due, i)
		})
		for i, at := range due {
			if now.Sub(at) > time.Second {
				t.Fatalf("step %d: item %d did not come: due %v, now %v", step, i, at, now)
			}
		}
	}
}

func BenchmarkSet(b *testing.B) {
	w := New[int](time.Second, time.Now())
	at := time.Now().Add(10 * time.Minute)
	items := make([]Item[int], 1000)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		w.Set(&items[i%len(items)], at)
	}
}
