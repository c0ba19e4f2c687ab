package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/genbrowser/genbrowser/web/problem"
)

// jitter is the pause after so many failures in a row: a random time below a cap that doubles from 1 s to
// Options.MaxPause, so that the clients of a server that came back don't all come at the same instant.
func (c *Client) jitter(failures int) time.Duration { return jitter(c.maxPause, failures) }

func jitter(most time.Duration, failures int) time.Duration {
	return rand.N(min(most, time.Second/2<<min(failures, 16)))
}

// persist tries again, with pauses of jitter, what may do at another time, for at most so long.
func persist(ctx context.Context, within, maxPause time.Duration, try func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var last error
	for failures := 1; ; failures++ {
		err := try(limited)
		if err == nil || final(err) {
			return err
		}
		if last == nil || limited.Err() == nil { // the time being over says less than what failed before
			last = err
		}
		if pause(limited, least(err)+jitter(maxPause, failures)) == nil {
			continue
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%w: %w", err, last)
		}
		return fmt.Errorf("%w (gave up after %v)", last, within)
	}
}

// pause waits, or returns why it did not wait to the end.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// errProtocol means that the server sent what no GenBrowser server sends.
var errProtocol = errors.New("client: not understood")

// strangerError is what somebody says who answers in the server's place: a proxy, or a page to log in at. It does not
// unwrap to the problem, for it is no refusal of the server's.
type strangerError struct{ said *problem.Problem }

// Error implements error.
func (e strangerError) Error() string {
	return "client: somebody answers in the server's place: " + e.said.Error()
}

// passing returns an error that does not end what was open already, if it is not the server's word.
func passing(err error) error {
	var p *problem.Problem
	if errors.As(err, &p) && final(err) && !p.Kind.IsServers() {
		return strangerError{p}
	}
	return err
}

// final reports whether trying again would end the same way.
func final(err error) bool {
	if errors.Is(err, errProtocol) {
		return true
	}
	var p *problem.Problem
	if !errors.As(err, &p) {
		return false // the network
	}
	switch p.Kind.Status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return p.Kind.Status/100 != 5
}

// least is the shortest pause that the server asked for.
func least(err error) time.Duration {
	var p *problem.Problem
	var b *bye
	var s strangerError
	switch {
	case errors.As(err, &s):
		return s.said.RetryAfter
	case errors.As(err, &p):
		return p.RetryAfter
	case errors.As(err, &b):
		return b.retry
	}
	return 0
}
