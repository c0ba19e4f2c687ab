//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/genbrowser/genbrowser/bench/lab"
)

// streams are the clients' open streams, and what came in them.
type streams struct {
	conns     []net.Conn
	delivered atomic.Int64
	counting  atomic.Bool // latencies are kept

	mu   [64]sync.Mutex
	lats [64][]time.Duration // of the streams whose number has that remainder
}

// openStreams returns once all streams are open.
func openStreams(t target) (*streams, error) {
	s := &streams{conns: make([]net.Conn, *n)}
	opened := make(chan error, *n)
	sem := make(chan struct{}, 128)
	for i := range *n {
		sem <- struct{}{}
		go func() {
			stream, err := s.subscribe(t, i)
			<-sem
			if err != nil {
				opened <- err
				return
			}
			s.scan(stream, i, t, opened)
		}()
	}
	for range *n {
		if err := <-opened; err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *streams) subscribe(t target, i int) (io.Reader, error) {
	c, err := connect(i, *h2)
	if err != nil {
		return nil, err
	}
	s.conns[i] = c
	if *h2 {
		return subscribe2(c, t.subscribe(i))
	}
	_, err = c.Write(t.subscribe(i))
	return c, err
}

// connect makes connection i to the server, for HTTP/1.1 or for HTTP/2.
func connect(i int, h2 bool) (net.Conn, error) {
	c, err := lab.Dial(node(i), i)
	if err != nil || !*overTLS {
		return c, err
	}
	config := &tls.Config{InsecureSkipVerify: true}
	if h2 {
		config.NextProtos = []string{"h2"}
	}
	secure := tls.Client(c, config)
	return secure, secure.Handshake()
}

// subscribe2 sends a request over HTTP/2.
func subscribe2(c net.Conn, raw []byte) (io.Reader, error) {
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
	if err != nil {
		return nil, err
	}
	r.RequestURI, r.URL.Scheme, r.URL.Host = "", "https", r.Host
	transport := &http.Transport{
		DialTLSContext:    func(context.Context, string, string) (net.Conn, error) { return c, nil },
		ForceAttemptHTTP2: true,
	}
	answer, err := transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	return answer.Body, nil
}

var marker = []byte(`"t":1`)

// scan reads stream i, says when it is open, and records the latency of every message it carries.
func (s *streams) scan(stream io.Reader, i int, t target, ready chan<- error) {
	buf := make([]byte, 0, 4096)
	tmp := make([]byte, 4096)
	opened := false
	for {
		k, err := stream.Read(tmp)
		if err != nil {
			if !opened {
				ready <- fmt.Errorf("stream %d ended before it opened: %w %q", i, err, buf)
			}
			return
		}
		buf = append(buf, tmp[:k]...)
		if !opened {
			if !t.opened(i, buf) {
				continue
			}
			opened = true
			ready <- nil
		}
		for {
			at := bytes.Index(buf, marker)
			if at < 0 || len(buf) < at+4+20 {
				break
			}
			ns, err := strconv.ParseInt(string(buf[at+4:at+23]), 10, 64)
			if err == nil {
				s.delivered.Add(1)
				s.took(i, time.Duration(time.Now().UnixNano()-ns))
			}
			buf = buf[at+23:]
		}
		if keep := 64; len(buf) > 8192 {
			buf = append(buf[:0], buf[len(buf)-keep:]...)
		}
	}
}

func (s *streams) took(i int, d time.Duration) {
	if s.counting.Load() {
		k := i & 63
		s.mu[k].Lock()
		s.lats[k] = append(s.lats[k], d)
		s.mu[k].Unlock()
	}
}

func (s *streams) latencies() []time.Duration { return slices.Concat(s.lats[:]...) }

func (s *streams) close() {
	for _, c := range s.conns {
		c.Close()
	}
}
