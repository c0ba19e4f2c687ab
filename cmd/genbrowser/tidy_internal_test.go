package main

import (
	"runtime"
	"runtime/debug"
	"testing"
)

// Memory that was garbage is spare once nothing happens any more, and not while it does, nor when it was given back.
func TestSpareMemory(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(1000))
	debug.FreeOSMemory()
	var h heapUse
	h.spare()
	if h.spare() {
		t.Error("memory is spare of which nothing was garbage")
	}
	for range 64 {
		sink = make([]byte, 1<<20)
	}
	if h.spare() {
		t.Error("memory is spare while much is allocated")
	}
	if !h.spare() {
		t.Error("64 MiB of garbage are not spare")
	}
	before := released()
	debug.FreeOSMemory()
	if now := released(); now < before+32<<20 {
		t.Errorf("%d bytes were given back, %d before, of 64 MiB", now, before)
	}
	if h.spare() {
		t.Error("it was given back, and is still spare")
	}
}

var sink []byte

func released() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapReleased
}
