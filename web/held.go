package web

import (
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/genbrowser/genbrowser/web/problem"
)

// held limits how many requests each client holds open: those that wait for something, or send without an end.
type held struct {
	address func(*http.Request) string
	most    int

	mu sync.Mutex
	of map[string]int
}

// limitHeld returns nil if there is no limit.
func limitHeld(address func(*http.Request) string, most int) *held {
	if most == 0 {
		return nil
	}
	return &held{address: address, most: most, of: make(map[string]int)}
}

// enter counts a request in, until leave is called; or it returns why there is no place for it.
func (h *held) enter(r *http.Request) (leave func(), err error) {
	if h == nil {
		return func() {}, nil
	}
	client := h.address(r)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.of[client] >= h.most {
		return nil, &problem.Problem{Kind: problem.TooManyRequests, Detail: fmt.Sprintf("at most %d uploads, calls and long-polls", h.most), RetryAfter: time.Second}
	}
	h.of[client]++
	return func() { h.leave(client) }, nil
}

func (h *held) leave(client string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.of[client]--; h.of[client] == 0 {
		delete(h.of, client)
	}
}
