package server

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/mailbox/jetstream"
)

// BenchmarkPostAmongSleeping is messages to a thousand mailboxes, stored, while any number of others sleeps: it must
// cost the same.
func BenchmarkPostAmongSleeping(b *testing.B) {
	for _, sleeping := range []int{1000, 10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(sleeping), func(b *testing.B) {
			log, err := jetstream.Open(context.Background(), jetstream.Options{Dir: b.TempDir(), SyncEvery: time.Second, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				b.Fatal(err)
			}
			s := newServer(b, Options{
				Log: log, Logger: slog.New(slog.DiscardHandler), MaxMailboxes: sleeping + 1000,
				Limits: mailbox.Limits{Asleep: time.Hour, Overflow: mailbox.DropOldest, Backlog: 10},
			})
			defer s.Stop(context.Background())
			for i := range s.shards {
				sh := &s.shards[i]
				for range sleeping / shardCount {
					addSleeping(b, s, sh)
				}
			}
			var awake [1000]string
			for i := range awake {
				awake[i] = open(b, s).Address.String()
			}
			var next atomic.Int64
			body := []byte(`{"type":"ping","pad":"......................................................................"}`)
			b.SetParallelism(64)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					posted, err := s.Post(awake[next.Add(1)%1000], &Letter{Body: body})
					if err == nil {
						_, err = posted.Wait()
					}
					if err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

// addSleeping opens a mailbox without waiting until it is stored.
func addSleeping(b *testing.B, s *Server, sh *shard) {
	now := s.clock.now()
	box := s.newBox(sh.newID(), nil, mailbox.New(&s.limits, 1, now))
	if _, err := sh.open(box, &mailbox.Record{Type: mailbox.Opened, Epoch: 1}); err != nil {
		b.Fatal(err)
	}
	s.mailboxes.Add(1)
	s.asleep.Set(&box.expiry, now.Add(s.limits.Asleep))
}
