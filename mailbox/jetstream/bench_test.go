package jetstream

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/mailbox"
)

func BenchmarkAppend(b *testing.B) {
	for _, sync := range []struct {
		name  string
		every time.Duration
	}{{"always", 0}, {"interval", time.Minute}} {
		for _, size := range []int{300, 64 << 10} {
			b.Run(fmt.Sprintf("sync=%s/bytes=%d", sync.name, size), func(b *testing.B) {
				l := mustOpen(b, Options{Dir: b.TempDir(), SyncEvery: sync.every})
				entry := bytes.Repeat([]byte("x"), size)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				cpu := cpuTime()
				for b.Loop() {
					if _, err := l.Append(b.Context(), entry); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(cpuTime()-cpu)/float64(b.N), "cpu-ns/op")
				l.Close()
			})
		}
	}
}

func BenchmarkRead(b *testing.B) {
	for _, log := range []struct{ entries, size int }{{20000, 300}, {200, 500 << 10}} {
		b.Run(fmt.Sprintf("entries=%d/bytes=%d", log.entries, log.size), func(b *testing.B) {
			l := mustOpen(b, Options{Dir: b.TempDir(), SyncEvery: time.Minute})
			entry := bytes.Repeat([]byte("x"), log.size)
			for range log.entries {
				mustAppend(b, l, string(entry))
			}
			b.SetBytes(int64(log.entries * log.size))
			b.ReportAllocs()
			for b.Loop() {
				n := 0
				if err := l.Read(b.Context(), 0, func(mailbox.Entry) error { n++; return nil }); err != nil || n != log.entries {
					b.Fatal(n, err)
				}
			}
			b.ReportMetric(float64(b.Elapsed())/float64(b.N*log.entries), "ns/entry")
			l.Close()
		})
	}
}
