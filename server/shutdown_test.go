package server

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/genbrowser/genbrowser/mailbox/jetstream"
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

func TestShutdownFinishesQueues(t *testing.T) {
	s := newServer(t, Options{})
	m := open(t, s)
	sub, r := subscribe(t, s, m, Subscribing{})
	hold := make(chan struct{})
	second := handle(t, s, "second", HandlerFunc(func(ctx context.Context, msg Message) error {
		return s.Send(ctx, m.Address, msg.Body)
	}))
	first := handle(t, s, "first", HandlerFunc(func(ctx context.Context, msg Message) error {
		<-hold
		return s.Send(ctx, second, msg.Body) // handlers may send until the end
	}))
	mustPost(t, s, first, "1", "2", "3")
	ended := make(chan error)
	go func() { ended <- s.Shutdown(ctx) }()
	for !s.ShuttingDown() {
		<-time.After(time.Millisecond)
	}
	if err := post(s, first, "4"); !errors.Is(err, ErrShuttingDown) {
		t.Errorf("Post = %v, want ErrShuttingDown", err)
	}
	if err := s.Send(ctx, m.Address, 4); !errors.Is(err, ErrShuttingDown) {
		t.Errorf("Send = %v, want ErrShuttingDown", err)
	}
	if _, err := s.Open(nil); !errors.Is(err, ErrShuttingDown) {
		t.Errorf("Open = %v, want ErrShuttingDown", err)
	}
	close(hold)
	if err := <-ended; err != nil {
		t.Errorf("Shutdown = %v", err)
	}
	if err := <-r.ended; !errors.Is(err, ErrShuttingDown) {
		t.Errorf("End(%v), want ErrShuttingDown", err)
	}
	expectRead(t, sub, "1 2 3")
	if _, err := s.Subscribe(grant(t, s, m.Key.Reveal()), Subscribing{}, newReader()); !errors.Is(err, ErrShuttingDown) {
		t.Errorf("Subscribe = %v, want ErrShuttingDown", err)
	}
	shutDown(t, s) // again does no harm
}

func TestShutdownCutsHangingHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Options{Queue: 1})
		m := open(t, s)
		_, r := subscribe(t, s, m, Subscribing{})
		release := make(chan struct{})
		a := handle(t, s, "p", HandlerFunc(func(ctx context.Context, _ Message) error {
			<-ctx.Done()
			<-release // hangs on even then
			return ctx.Err()
		}))
		mustPost(t, s, a, "1")
		waiting := make(chan error, 1)
		go func() { waiting <- s.Send(ctx, a, 2) }() // for room that will not come
		synctest.Wait()
		end, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		begun := time.Now()
		if err := s.Shutdown(end); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown = %v, want the deadline", err)
		}
		if took := time.Since(begun); took != time.Second {
			t.Errorf("Shutdown took %v, want 1s", took)
		}
		if err := <-r.ended; !errors.Is(err, ErrShuttingDown) {
			t.Errorf("End(%v), want ErrShuttingDown", err)
		}
		if err := <-waiting; !errors.Is(err, ErrShuttingDown) {
			t.Errorf("Send that waited = %v, want ErrShuttingDown", err)
		}
		close(release)
		synctest.Wait()
		if err := s.Shutdown(ctx); err != nil { // nothing runs any more
			t.Errorf("second Shutdown = %v", err)
		}
	})
}

// A message that was on its way when the last process fell quiet is told that the server ends, not that the
// process is gone, which its sender would take for an answer for ever.
func TestLateMessageIsToldOfTheShutdown(t *testing.T) {
	s := newServer(t, Options{})
	a := handle(t, s, "p", newReceived())
	shutDown(t, s)
	_, err := s.deliver(fromOutside, grant(t, s, a.String()), &Letter{Body: []byte("1")})
	if !errors.Is(err, ErrShuttingDown) {
		t.Errorf("deliver = %v, want ErrShuttingDown", err)
	}
}

// stuckLog is one that is out of reach when it is trimmed.
type stuckLog struct {
	*jetstream.Log
	stuck chan struct{} // has room for one
}

func (l *stuckLog) Trim(ctx context.Context, _ uint64) error {
	select {
	case l.stuck <- struct{}{}:
	default:
	}
	<-ctx.Done()
	return ctx.Err()
}

// TestShutdownWhileTheLogIsTrimmed holds that a server that is alone does not wait for a log that is out of reach.
func TestShutdownWhileTheLogIsTrimmed(t *testing.T) {
	t.Parallel()
	opened, err := jetstream.Open(ctx, jetstream.Options{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	log := &stuckLog{opened, make(chan struct{}, 1)}
	s := newServer(t, Options{Log: log, Snapshot: 1, Logger: slog.New(slog.DiscardHandler)})
	open(t, s)
	expectOne(t, "the log is trimmed", log.stuck)
	ending, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- errors.Join(s.Shutdown(ending), s.Stop(ending)) }()
	if err := expectOne(t, "the server ends", ended); err != nil {
		t.Error(err)
	}
}

// TestStopWaitsForTheLog: what is left is stored although the log takes nothing when the server is stopped, if it does in time.
func TestStopWaitsForTheLog(t *testing.T) {
	dir := t.TempDir()
	log := &stalling{Log: openLog(t, jetstream.Options{Dir: dir})}
	s := newServer(t, Options{Log: log})
	box := open(t, s)
	log.full.Store(true)
	if err := post(s, box.Address, "1"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Post to a full log = %v", err)
	}
	shutDown(t, s)
	stopped := make(chan error, 1)
	go func() { stopped <- s.Stop(ctx) }()
	before := log.tries.Load()
	until(t, "it is tried again", func() bool { return log.tries.Load() > before+1 })
	log.full.Store(false)
	if err := expectOne(t, "the end", stopped); err != nil {
		t.Errorf("Stop = %v", err)
	}
	if lanes, err := openLog(t, jetstream.Options{Dir: dir}).Lanes(ctx); err != nil || len(lanes) > 0 {
		t.Errorf("lanes without an end: %v, %v", lanes, err)
	}

	log = &stalling{Log: openLog(t, jetstream.Options{Dir: t.TempDir()})}
	s = newServer(t, Options{Log: log})
	box = open(t, s)
	log.full.Store(true)
	if err := post(s, box.Address, "1"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("Post to a full log = %v", err)
	}
	shutDown(t, s)
	end, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := s.Stop(end); !errors.Is(err, ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Stop of a log that stays full = %v", err)
	}
}
