package server

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
)

// TestShutdownRacesWithSenders holds, over many shutdowns, that a message is either refused or there to be read
// when the reader is told that there will be no more.
func TestShutdownRacesWithSenders(t *testing.T) {
	const rounds, senders = 400, 4
	for range rounds {
		s := newServer(t, Options{})
		m := open(t, s)
		sub, reader := subscribe(t, s, m, Subscribing{})
		var accepted [senders]int
		var sending sync.WaitGroup
		begun := make(chan struct{}, senders)
		for i := range senders {
			sending.Go(func() {
				for {
					err := post(s, m.Address, "1")
					if accepted[i] == 0 {
						begun <- struct{}{}
					}
					if err != nil {
						if !errors.Is(err, ErrShuttingDown) {
							t.Errorf("post: %v", err)
						}
						return
					}
					accepted[i]++
					if accepted[i] == 200 { // the mailbox holds 1000
						return
					}
				}
			})
		}
		<-begun
		if err := s.Shutdown(context.Background()); err != nil {
			t.Fatal(err)
		}
		<-reader.ended
		arrived := strings.Count(read(sub), "1")
		sending.Wait()
		want := 0
		for _, n := range accepted {
			want += n
		}
		if arrived != want {
			t.Fatalf("%d messages were accepted, %d were there at the end", want, arrived)
		}
	}
}
