package web

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

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
	of    map[string]map[*stream]struct{} // where they are limited: by client address
	empty chan struct{}                   // made by finish, closed when there is none
}

func (s *streams) init(perClient int) {
	s.perClient, s.of = perClient, make(map[string]map[*stream]struct{})
	s.all = make(map[*stream]struct{})
}

// reserve takes a stream's place among those of its client, or returns why there is none. It is added, or released, later:
// who learns that there is no place for it should not have opened a mailbox for it, nor ended another's stream.
func (s *streams) reserve(st *stream) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.full(st.client, st.mailbox); err != nil || s.perClient == 0 {
		return err
	}
	if s.of[st.client] == nil {
		s.of[st.client] = make(map[*stream]struct{})
	}
	s.of[st.client][st] = struct{}{}
	return nil
}

// release gives the place back of a stream that did not begin.
func (s *streams) release(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.releaseLocked(st)
}

func (s *streams) releaseLocked(st *stream) {
	delete(s.of[st.client], st)
	if len(s.of[st.client]) == 0 {
		delete(s.of, st.client)
	}
}

// add lets a stream begin that has its place, unless the server ends.
func (s *streams) add(st *stream, mailbox uuid.UUID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.empty != nil {
		return server.ErrShuttingDown
	}
	st.mailbox = mailbox
	s.all[st] = struct{}{}
	return nil
}

// full returns why a client may have no stream of that mailbox as well, which is zero for one that is not open yet; nil if it
// may. mu is held.
func (s *streams) full(client string, mailbox uuid.UUID) error {
	if s.perClient == 0 || len(s.of[client]) < s.perClient {
		return nil
	}
	same := 0
	for st := range s.of[client] {
		if st.mailbox == mailbox {
			same++
		}
	}
	if same == 1 && mailbox != uuid.Nil {
		return nil // it takes the place of that one, which may take a while to end; once
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
	s.releaseLocked(st)
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
