package web

import (
	"context"
	"fmt"
	"sync"

	"github.com/genbrowser/genbrowser/internal/wheel"
)

// streams are those of one handler. Taken connections are unknown to net/http, so that nobody else would wait
// for them.
type streams struct {
	done  chan struct{} // stops the heartbeats
	beats sync.WaitGroup

	mu    sync.Mutex
	all   map[*stream]struct{}
	empty chan struct{} // made by finish, closed when there is none
}

func (s *streams) start(w *wheel.Wheel[*stream]) {
	s.all = make(map[*stream]struct{})
	s.done = make(chan struct{})
	s.beats.Go(func() { w.Run(s.done, (*stream).heartbeat) })
}

// add reports whether the stream may begin.
func (s *streams) add(st *stream) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.empty != nil {
		return false
	}
	s.all[st] = struct{}{}
	return true
}

func (s *streams) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all)
}

func (s *streams) remove(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, st)
	if s.empty != nil && len(s.all) == 0 {
		close(s.empty)
	}
}

// finish waits until every stream has ended by itself, or cuts those that are left when ctx ends.
func (s *streams) finish(ctx context.Context) error {
	s.mu.Lock()
	if s.empty != nil { // another call sees to it
		s.mu.Unlock()
		select {
		case <-s.empty:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("web: shutdown: %w", ctx.Err())
		}
	}
	s.empty = make(chan struct{})
	if len(s.all) == 0 {
		close(s.empty)
	}
	s.mu.Unlock()
	var err error
	select {
	case <-s.empty:
	case <-ctx.Done():
		s.mu.Lock()
		left := make([]*stream, 0, len(s.all))
		for st := range s.all {
			left = append(left, st)
		}
		s.mu.Unlock()
		if len(left) > 0 {
			err = fmt.Errorf("web: shutdown: %d streams were cut: %w", len(left), ctx.Err())
		}
		for _, st := range left {
			st.cut()
		}
		<-s.empty
	}
	close(s.done)
	s.beats.Wait()
	return err
}
