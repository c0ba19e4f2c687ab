package web

import (
	"context"
	"fmt"
	"sync"
)

// underWay counts the uploads over HTTP/1 that are held open. A shutdown waits for them, since net/http does not for connections
// that were taken off it, as theirs are in the end.
type underWay struct {
	mu   sync.Mutex
	n    int
	none chan struct{} // made by finish, closed when there is none
}

// enter counts an upload in, until leave is called, unless the server ends.
func (u *underWay) enter() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.none != nil {
		return false
	}
	u.n++
	return true
}

func (u *underWay) leave() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.n--; u.n == 0 && u.none != nil {
		close(u.none)
	}
}

// finish waits until there is none.
func (u *underWay) finish(ctx context.Context) error {
	u.mu.Lock()
	if u.none == nil {
		u.none = make(chan struct{})
		if u.n == 0 {
			close(u.none)
		}
	}
	u.mu.Unlock()
	select {
	case <-u.none:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("web: shutdown: uploads are left: %w", ctx.Err())
	}
}
