package server

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/mailbox"
)

// TestStress lets many goroutines do anything to the same mailboxes. Every reader sees each sender's messages in
// order and once, and in the end nothing is left on the books.
func TestStress(t *testing.T) {
	for _, overflow := range []mailbox.Overflow{mailbox.Refuse, mailbox.DropOldest} {
		t.Run(fmt.Sprint("overflow ", overflow), func(t *testing.T) {
			s := newServer(t, Options{Limits: mailbox.Limits{Backlog: 50, BacklogBytes: 2000, Body: 200, Asleep: 20 * time.Millisecond}})
			s.limits.Overflow = overflow
			const count, rounds = 8, 1500
			var mu sync.Mutex
			boxes := make([]Mailbox, count)
			for i := range boxes {
				boxes[i] = open(t, s)
			}
			pick := func(rnd *rand.Rand) (int, Mailbox) {
				mu.Lock()
				defer mu.Unlock()
				i := rnd.IntN(count)
				return i, boxes[i]
			}
			renew := func(i int, old Mailbox) {
				fresh, err := s.Open(nil)
				if err != nil {
					t.Errorf("Open = %v", err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				if boxes[i].Address == old.Address {
					boxes[i] = fresh
				}
			}
			ended := func(err error) bool {
				return errors.Is(err, ErrClosed) || errors.Is(err, ErrExpired) || errors.Is(err, ErrGone)
			}
			var wg sync.WaitGroup
			for w := range 4 {
				wg.Go(func() { // senders
					rnd := rand.New(rand.NewPCG(uint64(w), 1))
					for n := range rounds {
						i, m := pick(rnd)
						l := &Letter{Body: fmt.Appendf(nil, "[%d,%d]", w, n)}
						if rnd.IntN(8) == 0 {
							l.Name = fmt.Sprint("n", rnd.IntN(5))
						}
						posted, err := s.Post(m.Address.String(), l)
						switch {
						case ended(err):
							renew(i, m)
						case err != nil && !errors.Is(err, mailbox.ErrFull):
							t.Errorf("Post = %v", err)
						case err == nil:
							if r, _ := posted.Wait(); r != nil {
								r.Wake()
							}
						}
					}
				})
				wg.Go(func() { // readers
					rnd := rand.New(rand.NewPCG(uint64(w), 2))
					for range rounds / 5 {
						i, m := pick(rnd)
						g := grant(t, s, m.Key.Reveal())
						sub, err := s.Subscribe(g, Subscribing{Hold: rnd.IntN(2) == 0}, newReader())
						if err != nil {
							if !ended(err) {
								t.Errorf("Subscribe = %v", err)
							}
							renew(i, m)
							continue
						}
						for range rnd.IntN(4) {
							last, order := sub.Cursor().Seq, map[int]int{}
							sub.Read(func(msg *mailbox.Message, err error) bool {
								if err != nil {
									return true
								}
								if msg.Seq <= last {
									t.Errorf("message %d after %d", msg.Seq, last)
								}
								last = msg.Seq
								var from, n int
								fmt.Sscanf(string(msg.Body), "[%d,%d]", &from, &n)
								if before, ok := order[from]; ok && before >= n {
									t.Errorf("sender %d: %d after %d", from, n, before)
								}
								order[from] = n
								return true
							})
							sub.Delivered(last)
							if rnd.IntN(2) == 0 {
								if err := s.Ack(g, sub.Cursor()); err != nil && !ended(err) && !errors.Is(err, mailbox.ErrCursorAhead) {
									t.Errorf("Ack = %v", err)
								}
							}
						}
						switch rnd.IntN(20) {
						case 0:
							if err := s.Close(g); err != nil && !ended(err) {
								t.Errorf("Close = %v", err)
							}
						case 1: // another takes over, or it stays for ever
						default:
							sub.Close()
						}
					}
				})
			}
			wg.Wait()
			for i := range s.shards {
				for _, b := range s.shards[i].all() {
					if _, err := b.end(ErrClosed, nil, func() bool { return true }); err != nil && !ended(err) {
						t.Errorf("end = %v", err)
					}
				}
			}
			until(t, "what expired meanwhile is counted", func() bool { return s.Stats() == Stats{} })
			expectStats(t, s, 0, 0)
		})
	}
}
