package web

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/genbrowser/genbrowser/server"
	"github.com/genbrowser/genbrowser/web/problem"
)

// streams are those of one handler. Taken connections are unknown to net/http, so that nobody else would wait
// for them.
type streams struct {
	hangups hangups

	perClient int // at most; 0: any number

	mu    sync.Mutex
	all   map[*stream]struct{}
	of    map[string]int // where they are limited: how many, by client address
	empty chan struct{}  // made by finish, closed when there is none
}

func (s *streams) init(perClient int) {
	s.perClient, s.of = perClient, make(map[string]int)
	s.all = make(map[*stream]struct{})
}

// add returns why the stream may not begin.
func (s *streams) add(st *stream) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.empty != nil {
		return server.ErrShuttingDown
	}
	if err := s.fullLocked(st.client); err != nil {
		return err
	}
	if s.perClient > 0 {
		s.of[st.client]++
	}
	s.all[st] = struct{}{}
	return nil
}

// full returns why a client may have no more streams; nil if it may.
func (s *streams) full(client string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fullLocked(client)
}

func (s *streams) fullLocked(client string) error {
	if s.perClient == 0 || s.of[client] < s.perClient {
		return nil
	}
	return &problem.Problem{Kind: problem.TooManyStreams, Detail: fmt.Sprintf("at most %d", s.perClient), RetryAfter: 5 * time.Second}
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
	if s.perClient > 0 {
		if s.of[st.client]--; s.of[st.client] == 0 {
			delete(s.of, st.client)
		}
	}
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
	s.hangups.close()
	return err
}
