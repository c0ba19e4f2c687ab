package server

import "sync/atomic"

// Distribution is how often values of which size were seen: a histogram.
type Distribution struct {
	Bounds []int64 // of the buckets, in order; a value belongs to the first that is not below it
	Counts []int64 // of values in each bucket; the last one has those above all bounds
	Sum    int64   // of all values
}

// Count returns how many values were seen.
func (d *Distribution) Count() (count int64) {
	for _, n := range d.Counts {
		count += n
	}
	return count
}

// distribution is a Distribution that is being counted. Any number of goroutines may use it.
type distribution struct {
	bounds []int64
	counts []atomic.Int64
	sum    atomic.Int64
}

func newDistribution(bounds ...int64) distribution {
	return distribution{bounds: bounds, counts: make([]atomic.Int64, len(bounds)+1)}
}

func (d *distribution) add(value int64) {
	i := 0
	for i < len(d.bounds) && value > d.bounds[i] {
		i++
	}
	d.counts[i].Add(1)
	d.sum.Add(value)
}

func (d *distribution) load() Distribution {
	counts := make([]int64, len(d.counts))
	for i := range d.counts {
		counts[i] = d.counts[i].Load()
	}
	return Distribution{d.bounds, counts, d.sum.Load()}
}
