//go:build unix

// Command rpc measures calls and casts of GenBrowser's peers beside those of net/rpc and gRPC, in one process: both
// ends share its processor time, which is what is told for each call.
//
//	go run . -d 2s -rounds 3
package main

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// system is one way to call a function that returns what it was given.
type system struct {
	name  string
	start func(l net.Listener, dial dialer) (do, error)
	each  int // how many one call counts for
}

// do calls once, from any goroutine.
type do func(ctx context.Context, payload string) error

// dialer connects to the listener that a system was given.
type dialer func(ctx context.Context) (net.Conn, error)

var systems = []system{
	{"net/rpc", startNetRPC, 1},
	{"grpc unary", startUnary, 1},
	{"grpc stream", startStream, 1},
	{"call", startCall, 1},
	{"cast", startCast, 1},
	{"casts by 32", startBatch, batched},
}

func main() {
	secs := flag.Duration("d", 2*time.Second, "how long each is measured")
	rounds := flag.Int("rounds", 3, "how often; medians are shown")
	size := flag.Int("size", 100, "bytes of a payload")
	only := flag.String("only", "", "one system's name")
	networks := flag.String("over", "unix,tls", "what to connect over")
	numbers := flag.String("callers", "1,16,256", "how many call at a time")
	flag.Parse()
	log.SetOutput(io.Discard) // net/rpc logs that its listener was closed
	payload := string(slices.Repeat([]byte("x"), *size))
	fmt.Printf("%-6s %-12s %8s %12s %14s %18s\n", "over", "system", "callers", "a second", "CPU µs each", "per CPU second")
	for over := range strings.SplitSeq(*networks, ",") {
		for text := range strings.SplitSeq(*numbers, ",") {
			callers, err := strconv.Atoi(text)
			if err != nil || callers < 1 || over != "unix" && over != "tls" {
				fmt.Fprintln(os.Stderr, "want -over unix or tls, and numbers of -callers")
				os.Exit(2)
			}
			results := make(map[string][]result)
			for range *rounds {
				for _, s := range systems {
					if *only != "" && s.name != *only {
						continue
					}
					r, err := measure(s, over, callers, *secs, payload)
					if err != nil {
						fmt.Fprintf(os.Stderr, "%s over %s: %v\n", s.name, over, err)
						os.Exit(1)
					}
					results[s.name] = append(results[s.name], r)
				}
			}
			for _, s := range systems {
				if all := results[s.name]; len(all) > 0 {
					slices.SortFunc(all, func(a, b result) int { return int(a.cpu - b.cpu) })
					r := all[len(all)/2]
					fmt.Printf("%-6s %-12s %8d %12.0f %14.2f %18.0f\n", over, s.name, callers, r.rate, float64(r.cpu)/1e3, 1e9/float64(r.cpu))
				}
			}
		}
	}
}

type result struct {
	rate float64       // a second
	cpu  time.Duration // each
}

func measure(s system, over string, callers int, d time.Duration, payload string) (result, error) {
	l, dial, err := listen(over)
	if err != nil {
		return result{}, err
	}
	defer l.Close()
	call, err := s.start(l, dial)
	if err != nil {
		return result{}, err
	}
	defer stopAll()
	run(call, callers, d/4, payload)
	cpu, began := processorTime(), time.Now()
	n, err := run(call, callers, d, payload)
	if err != nil || n == 0 {
		return result{}, fmt.Errorf("after %d: %v", n, err)
	}
	n *= int64(s.each)
	return result{float64(n) / time.Since(began).Seconds(), (processorTime() - cpu) / time.Duration(n)}, nil
}

// run calls from so many goroutines at a time, and returns how often.
func run(call do, callers int, d time.Duration, payload string) (int64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	end := time.Now().Add(d)
	var n atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for time.Now().Before(end) {
				if err := call(ctx, payload); err != nil {
					failed.Store(&err)
					return
				}
				n.Add(1)
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return n.Load(), nil
}

func processorTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// stops are what the system that is measured left to be stopped, in reverse.
var stops []func()

func later(f func()) { stops = append(stops, f) }

func stopAll() {
	for _, f := range slices.Backward(stops) {
		f()
	}
	stops = nil
}

func listen(over string) (net.Listener, dialer, error) {
	if over == "unix" {
		dir, err := os.MkdirTemp("", "rpc")
		if err != nil {
			return nil, nil, err
		}
		later(func() { os.RemoveAll(dir) })
		path := filepath.Join(dir, "s")
		l, err := net.Listen("unix", path)
		return l, func(ctx context.Context) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		}, err
	}
	server, client, err := certificates()
	if err != nil {
		return nil, nil, err
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		return nil, nil, err
	}
	addr := l.Addr().String()
	return l, func(ctx context.Context) (net.Conn, error) {
		d := tls.Dialer{Config: client}
		return d.DialContext(ctx, "tcp", addr)
	}, nil
}
