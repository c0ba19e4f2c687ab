//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/genbrowser/genbrowser/bench/lab"
)

// senders are the workers, and what they sent.
type senders struct {
	sent, bad atomic.Int64
	cancel    context.CancelFunc
	working   sync.WaitGroup
}

func startSenders(t target) *senders {
	ctx, cancel := context.WithCancel(context.Background())
	s := &senders{cancel: cancel}
	for k := range *w {
		s.working.Go(func() { s.work(ctx, t, k) })
	}
	return s
}

func (s *senders) stop() {
	s.cancel()
	s.working.Wait()
}

func (s *senders) work(ctx context.Context, t target, k int) {
	out, err := newOutlet(t, k)
	if err != nil {
		s.bad.Add(1)
		return
	}
	defer out.close()
	due := func() (time.Time, error) { return time.Now(), ctx.Err() }
	if *rate > 0 {
		interval := time.Duration(float64(*batch**w) / *rate * 1e9)
		if due, err = lab.Pace(ctx, interval*time.Duration(k)/time.Duration(*w), interval); err != nil {
			s.bad.Add(1)
			return
		}
	}
	r := rand.New(rand.NewPCG(uint64(k), 7))
	among := len(nodes())
	pad := strings.Repeat("x", max(0, *size-40))
	to, payloads := make([]int, *batch), make([][]byte, *batch)
	for {
		at, err := due()
		if err != nil {
			return
		}
		for j := range to {
			to[j] = r.IntN(*n)
			if *own {
				to[j] = opened(to[j], k, among)
			}
			if *one {
				to[j] = to[0]
			}
			payloads[j] = fmt.Appendf(nil, `{"t":%d,"p":"%s"}`, at.UnixNano(), pad)
		}
		accepted, err := out.send(to, payloads)
		s.sent.Add(int64(accepted))
		if err != nil {
			s.bad.Add(1)
			return
		}
		if accepted < len(to) {
			s.bad.Add(1)
		}
	}
}

// opened returns a stream near i that was opened at the node, one of so many, that worker k is connected to.
func opened(i, k, among int) int {
	i = min(i, *n-among)
	return i - i%among + k%among
}

// outlet is one worker's way to the server.
type outlet interface {
	// send waits for the answer, and returns how many messages were accepted.
	send(to []int, payloads [][]byte) (accepted int, err error)
	close()
}

func newOutlet(t target, k int) (outlet, error) {
	c, err := connect(k, false)
	if err != nil {
		return nil, err
	}
	answers := bufio.NewReaderSize(c, 4096)
	if *upload {
		u := &uploads{Conn: c, answers: answers, target: t.(batcher)}
		_, err := c.Write(u.target.publishChunks())
		return u, err
	}
	return &requests{Conn: c, answers: answers, target: t}, nil
}

// requests sends a batch a request.
type requests struct {
	net.Conn
	answers *bufio.Reader
	target  target
}

func (r *requests) close() { r.Close() }

func (r *requests) send(to []int, payloads [][]byte) (int, error) {
	var request []byte
	if b, ok := r.target.(batcher); ok && *batch > 1 {
		request = b.publishMany(b.lines(to, payloads))
	} else {
		request = r.target.publish(to[0], payloads[0])
	}
	if _, err := r.Write(request); err != nil {
		return 0, err
	}
	code, err := lab.ReadAnswer(r.answers)
	if err != nil || code/100 != 2 {
		return 0, err
	}
	return len(to), nil
}

// uploads sends all batches in one request that never ends, a chunk each, and reads an answer to every line.
type uploads struct {
	net.Conn
	answers *bufio.Reader
	lines   *bufio.Reader // of the response's body, once that began
	target  batcher
}

func (u *uploads) close() { u.Close() }

func (u *uploads) send(to []int, payloads [][]byte) (accepted int, err error) {
	lines := u.target.lines(to, payloads)
	if _, err := u.Write(fmt.Appendf(nil, "%x\r\n%s\r\n", len(lines), lines)); err != nil {
		return 0, err
	}
	if u.lines == nil {
		answer, err := http.ReadResponse(u.answers, nil)
		if err != nil {
			return 0, err
		}
		u.lines = bufio.NewReaderSize(answer.Body, 4096)
	}
	for range to {
		line, err := u.lines.ReadSlice('\n')
		if err != nil {
			return accepted, err
		}
		if bytes.Contains(line, []byte(`"status":202`)) {
			accepted++
		}
	}
	return accepted, nil
}
