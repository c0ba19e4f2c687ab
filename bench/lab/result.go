package lab

import (
	"fmt"
	"slices"
	"time"
)

// Result is what one run of the load measured.
type Result struct {
	Name             string
	Streams, Workers int
	Open             float64 // seconds until all streams were open
	Idle             float64 // KiB of the server's memory a stream, before any message
	Sent, Delivered  float64 // messages a second
	Cores            float64 // that the server computed on
	CPU              float64 // of the server, µs a delivered message
	Latency                  // from sending, or when that was due, until the stream's reader has it
	Lost             int64   // accepted, and not delivered; negative if some came twice
	Bad              int64   // requests that failed or were refused
	Memory           float64 // MiB of the server's, after the load
}

func (r Result) String() string {
	return fmt.Sprintf("%-12s n=%d w=%d open=%.2fs idle=%.2fKiB/stream sent=%.0f/s delivered=%.0f/s cpu=%.2f cores cpu/msg=%.1fus %v lost=%d bad=%d rss=%.0fMiB",
		r.Name, r.Streams, r.Workers, r.Open, r.Idle, r.Sent, r.Delivered, r.Cores, r.CPU, r.Latency, r.Lost, r.Bad, r.Memory)
}

// Latency is how long things took, in µs.
type Latency struct{ P50, P99, P999, Max float64 }

// LatencyOf sorts what was measured.
func LatencyOf(all []time.Duration) Latency {
	if len(all) == 0 {
		return Latency{}
	}
	slices.Sort(all)
	at := func(p float64) float64 {
		return float64(all[min(len(all)-1, int(p*float64(len(all))))].Nanoseconds()) / 1e3
	}
	return Latency{at(.5), at(.99), at(.999), at(1)}
}

func (l Latency) String() string {
	return fmt.Sprintf("p50=%.0fus p99=%.0fus p99.9=%.0fus max=%.0fus", l.P50, l.P99, l.P999, l.Max)
}

// Median is the lower one of the two in the middle, if there are two.
func Median(all []float64) float64 {
	return slices.Sorted(slices.Values(all))[(len(all)-1)/2]
}
