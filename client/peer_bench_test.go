package client_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/client"
	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/server"
)

// benchCallers has so many goroutines do something, b.N times together, and reports how often a second. Another
// system is measured likewise by giving it a do of its own, such as a unary call of gRPC or a Call of net/rpc over
// loopback TCP, with the same body.
func benchCallers(b *testing.B, callers int, what string, do func() error) {
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ReportAllocs()
	b.ResetTimer()
	began := time.Now()
	var wait sync.WaitGroup
	for range callers {
		wait.Go(func() {
			for left.Add(-1) >= 0 {
				if err := do(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wait.Wait()
	b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), what+"/s")
}

// benchPeers returns two peers over loopback TCP, the second of which serves.
func benchPeers(b *testing.B) (from, to *client.Peer) {
	roomy := mailbox.Limits{Backlog: 100_000, BacklogBytes: 256 << 20}
	s := start(b, siteOptions{server: server.Options{Limits: roomy}})
	from, to = dial(b, s.URL, client.DialOptions{}), dial(b, s.URL, client.DialOptions{})
	serve(b, to, service{})
	if err := from.Call(context.Background(), to.Address(), 1, nil); err != nil { // everything is connected
		b.Fatal(err)
	}
	return from, to
}

var benchBody = map[string]any{"type": "ping", "n": 1, "text": "a body of a hundred bytes or so, as most calls have, with an id 0123456789abcdef"}

// BenchmarkCall is a call from one program over the server to another, and its reply.
func BenchmarkCall(b *testing.B) {
	for _, callers := range []int{1, 16, 256} {
		b.Run(fmt.Sprint("callers=", callers), func(b *testing.B) {
			from, to := benchPeers(b)
			benchCallers(b, callers, "calls", func() error {
				return from.Call(context.Background(), to.Address(), benchBody, nil)
			})
		})
	}
}

// BenchmarkCast is a cast that the server accepted; the receiver takes what comes meanwhile.
func BenchmarkCast(b *testing.B) {
	for _, callers := range []int{1, 16, 256} {
		b.Run(fmt.Sprint("callers=", callers), func(b *testing.B) {
			from, to := benchPeers(b)
			benchCallers(b, callers, "casts", func() error {
				return from.Cast(context.Background(), to.Address(), benchBody)
			})
		})
	}
}
