package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// tidyEvery is how often the program looks whether it has memory to give back, tidyRest how long after it gave some.
	tidyEvery = time.Second
	tidyRest  = 10 * time.Second
	// quiet is how many bytes are allocated in that time at most while hardly anything happens.
	quiet = 1 << 20
	// leastSpare is how much spare memory is worth a collection at least.
	leastSpare = 4 << 20
)

// tidy gives the system back, when hardly anything happens, what the heap does not need: the room that the last
// collection left for the next one, and what many clients took while they connected. A collection that comes by itself
// would do so only when as much is allocated again, or after minutes.
func tidy(ctx context.Context) {
	var h heapUse
	for pause := tidyEvery; ; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		if pause = tidyEvery; h.spare() {
			debug.FreeOSMemory()
			pause = tidyRest
		}
	}
}

// heapUse is how the heap was when it was last looked at.
type heapUse struct {
	allocated uint64
	samples   []metrics.Sample
}

// spare reports whether hardly anything was allocated since it was called last, and the heap has much that it could do
// without: more than a quarter of what is alive.
func (h *heapUse) spare() bool {
	if h.samples == nil {
		h.samples = []metrics.Sample{
			{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"},
			{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/free:bytes"},
		}
	}
	metrics.Read(h.samples)
	var at [4]uint64
	for i := range h.samples {
		at[i] = h.samples[i].Value.Uint64()
	}
	allocated, live, objects, free := at[0], at[1], at[2], at[3]
	still := allocated-h.allocated <= quiet
	h.allocated = allocated
	return still && objects+free > live+max(live/4, leastSpare)
}
