package server

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/mailbox/jetstream"
)

// taker is a reader that takes at once what is there.
type taker struct{ sub *Subscription }

func (r *taker) Wake() {
	last := r.sub.Cursor().Seq
	r.sub.Read(func(m *mailbox.Message, err error) bool {
		if err == nil {
			last = m.Seq
		}
		return true
	})
	r.sub.Delivered(last)
}

func (r *taker) End(error) {}

// withReaders opens mailboxes that have readers, and returns their addresses.
func withReaders(b *testing.B, s *Server, n int) (addresses []string) {
	for range n {
		m := open(b, s)
		r := &taker{}
		sub, err := s.Subscribe(grant(b, s, m.Key.Reveal()), Subscribing{}, r)
		if err != nil {
			b.Fatal(err)
		}
		r.sub = sub
		addresses = append(addresses, m.Address.String())
	}
	return addresses
}

var payload = []byte(`{"p":"` + strings.Repeat("x", 192) + `"}`)

// BenchmarkPost is a message to one of a thousand mailboxes whose readers take it at once: everything but HTTP.
func BenchmarkPost(b *testing.B) {
	s := newServer(b, Options{})
	to := withReaders(b, s, 1000)
	l := Letter{Body: payload}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		posted, err := s.Post(to[i%len(to)], &l)
		if err != nil {
			b.Fatal(err)
		}
		if r, _ := posted.Wait(); r != nil {
			r.Wake()
		}
	}
}

// BenchmarkPostBatch is 32 messages that came together, for one mailbox, whose reader is woken once, and for 32.
func BenchmarkPostBatch(b *testing.B) {
	for _, mailboxes := range []int{1, 32} {
		b.Run(fmt.Sprintf("mailboxes=%d", mailboxes), func(b *testing.B) {
			s := newServer(b, Options{})
			to := withReaders(b, s, 1024)
			readers := make([]Reader, 0, 32)
			l := Letter{Body: payload}
			b.ReportAllocs()
			for i := 0; b.Loop(); i += mailboxes {
				readers = readers[:0]
				for j := range 32 {
					posted, err := s.Post(to[(i+j%mailboxes)%len(to)], &l)
					if err != nil {
						b.Fatal(err)
					}
					if r, _ := posted.Wait(); r != nil && j < mailboxes {
						readers = append(readers, r)
					}
				}
				for _, r := range readers {
					r.Wake()
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*32), "ns/message")
		})
	}
}

// BenchmarkOpenMillion opens a million mailboxes that sleep, and weighs them.
func BenchmarkOpenMillion(b *testing.B) {
	const million = 1_000_000
	for b.Loop() {
		b.StopTimer()
		s := newServer(b, Options{MaxMailboxes: million})
		before := heap()
		b.StartTimer()
		for range million {
			if _, err := s.Open(nil); err != nil {
				b.Fatal(err)
			}
		}
		b.StopTimer()
		b.ReportMetric(float64(heap()-before)/million, "B/mailbox")
		shutDown(b, s)
		b.StartTimer()
	}
	b.ReportMetric(float64(b.N)*million/b.Elapsed().Seconds(), "mailboxes/s")
}

// heap is the bytes that are in use, once what is not was collected.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

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
			for range sleeping {
				addSleeping(b, s)
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
func addSleeping(b *testing.B, s *Server) {
	sh, id, err := s.allot()
	if err != nil {
		b.Fatal(err)
	}
	now := s.clock.now()
	box := s.newBox(id, nil, mailbox.New(&s.limits, 1, now))
	if _, err := sh.open(box, &mailbox.Record{Type: mailbox.Opened, Epoch: 1}); err != nil {
		b.Fatal(err)
	}
	s.mailboxes.Add(1)
	s.wheel.Set(box, now.Add(s.limits.Asleep))
}

// TestSleepingIsSmall holds that a mailbox stays within its size class: what few have goes into extra.
func TestSleepingIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(box{}); size > 256 {
		t.Errorf("a mailbox has %d bytes, want 256 at most: the next size class is 288", size)
	}
}
