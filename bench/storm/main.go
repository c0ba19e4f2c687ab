//go:build linux

// Command storm cuts the connections of all clients of a server at once, and lets them come back at once, with their
// cursors and with messages waiting for each, while others go on sending. It prints how long the clients took to come
// back, what the senders felt before, meanwhile and after, and whether any message was lost or came twice.
//
//	GOMAXPROCS=1 taskset -c 1 storm -program tmp/genbrowser -- --backlog 100
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/genbrowser/genbrowser/bench/lab"
)

var (
	addr     = flag.String("addr", "", "where the server is to listen; default: anywhere")
	program  = flag.String("program", "tmp/genbrowser", "the server, which gets core 0; further arguments are its flags")
	n        = flag.Int("n", 10_000, "clients, each with a stream")
	w        = flag.Int("w", 16, "workers that send")
	rate     = flag.Float64("rate", 1000, "messages a second that they send, to clients at random")
	waiting  = flag.Int("waiting", 3, "messages that wait for each client when it comes back, beside those")
	watch    = flag.Duration("watch", 5*time.Second, "how long the senders are watched before and after")
	asSender = flag.Bool("send", false, "be the senders; this program starts itself so")
	patience = flag.Duration("patience", time.Minute, "how long the clients may take to come back")
)

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	what := run
	if *asSender {
		what = send
	}
	if err := what(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "storm:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	if *n < *w {
		return errors.New("-n: fewer clients than workers that send")
	}
	var err error
	if *addr == "" {
		if *addr, err = lab.FreeAddr(); err != nil {
			return err
		}
	}
	server, err := lab.Start(lab.On(ctx, "0", append([]string{*program, "serve", "--listen=tcp4://" + *addr}, flag.Args()...)...), *addr)
	if err != nil {
		return err
	}
	defer server.Stop()
	process := lab.Processes{server.ID()}
	c := newCrowd(*n)
	if err := c.open(); err != nil {
		return err
	}
	out, err := startSenders(ctx, c)
	if err != nil {
		return err
	}

	began := time.Now()
	time.Sleep(*watch)
	cut := time.Now()
	c.cut()
	if err := c.fill(*waiting); err != nil {
		return err
	}
	before := process.CPU()
	if err := c.comeBack(*patience); err != nil {
		return err
	}
	computed := process.CPU() - before
	calm := time.Now()
	time.Sleep(*watch)
	ended := time.Now()
	sent, err := out.stop()
	if err != nil {
		return err
	}
	c.expect(sent.Sent)
	c.settle()
	c.cut()

	fmt.Printf("%d clients came back, each to %d messages and what the senders sent; the server computed for %.2f s\n", *n, *waiting, computed.Seconds())
	fmt.Printf("open again       %v, after %d tries that failed\n", lab.LatencyOf(c.times(func(c *client) time.Duration { return c.resumed })), c.failed.Load())
	fmt.Printf("up to date again %v\n", lab.LatencyOf(c.times(func(c *client) time.Duration { return c.upToDate })))
	fmt.Println("answers to senders, from when their message was due")
	for _, phase := range []struct {
		name     string
		from, to time.Time
	}{{"before", began, cut}, {"cut", cut, c.returned}, {"storm", c.returned, calm}, {"after", calm, ended}} {
		took := sent.between(phase.from, phase.to)
		fmt.Printf("%-16s %v (%d)\n", phase.name, lab.LatencyOf(took), len(took))
	}
	return c.verdict()
}
