//go:build linux

// Command load loads a one-to-one SSE mailbox service the same way for every server under
// comparison: N clients each hold one event stream, W workers send ~200-byte JSON messages to random
// mailboxes over connections that they keep, and each message carries its send time.
//
// It prints the server's memory per idle stream, delivered messages a second, the server's CPU
// time per delivered message, latency percentiles, and how many messages were lost.
//
//	load -kind genbrowser -addr 127.0.0.1:8080 -pid "$(pgrep genbrowser)"
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/genbrowser/genbrowser/bench/lab"
)

var (
	addr     = flag.String("addr", "127.0.0.1:8080", "server address, or those of several nodes, separated by commas")
	kind     = flag.String("kind", "", "nchan, genbrowser, floor")
	n        = flag.Int("n", 1000, "mailboxes (streams)")
	w        = flag.Int("w", 64, "sending workers")
	dur      = flag.Duration("d", 8*time.Second, "load time")
	pid      = flag.String("pid", "", "server process ids, separated by commas, for CPU and memory")
	size     = flag.Int("size", 200, "payload bytes")
	idleWait = flag.Duration("idle", 3*time.Second, "wait before reading idle memory")
	warm     = flag.Duration("warm", 2*time.Second, "warm-up load, not counted")
	batch    = flag.Int("batch", 1, "messages a request, where the server takes more than one")
	one      = flag.Bool("one", false, "the messages of a batch are for one mailbox, another one for each batch")
	own      = flag.Bool("own", false, "workers send to mailboxes that were opened at the node that they are connected to: nothing goes from one node to another")
	upload   = flag.Bool("upload", false, "each worker holds one request open, and sends batches in it (genbrowser)")
	rate     = flag.Float64("rate", 0, "messages a second that are due, whatever is late; latency counts from when one was due. 0: as fast as answers come")
	overTLS  = flag.Bool("tls", false, "connect over TLS, whatever the certificate")
	h2       = flag.Bool("h2", false, "streams over HTTP/2, each on its own connection; implies -tls (genbrowser)")
	asJSON   = flag.Bool("json", false, "print the result as JSON")
)

func main() {
	flag.Parse()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run() error {
	t, err := pick(*kind)
	if err != nil {
		return err
	}
	if *own && *n < len(nodes()) {
		return fmt.Errorf("-own with %d streams; want one for each node at least", *n)
	}
	server, err := lab.ParseProcesses(*pid)
	if err != nil {
		return fmt.Errorf("-pid: %w", err)
	}
	*overTLS = *overTLS || *h2
	if _, ok := t.(batcher); !ok {
		if *upload || *h2 {
			return errors.New("-upload and -h2 are for -kind genbrowser")
		}
		*batch = 1
	}

	r := lab.Result{Name: *kind, Streams: *n, Workers: *w}
	before := server.Memory()
	began := time.Now()
	inbox, err := openStreams(t)
	if err != nil {
		return err
	}
	defer inbox.close()
	r.Open = time.Since(began).Seconds()
	time.Sleep(*idleWait)
	r.Idle = float64(server.Memory()-before) / 1024 / float64(*n)

	out := startSenders(t)
	time.Sleep(*warm)
	inbox.counting.Store(true)
	s0, d0, c0, t0 := out.sent.Load(), inbox.delivered.Load(), server.CPU(), time.Now()
	time.Sleep(*dur)
	s1, d1, c1, t1 := out.sent.Load(), inbox.delivered.Load(), server.CPU(), time.Now()
	inbox.counting.Store(false)
	out.stop()
	time.Sleep(500 * time.Millisecond) // what is under way arrives

	seconds := t1.Sub(t0).Seconds()
	r.Sent, r.Delivered = float64(s1-s0)/seconds, float64(d1-d0)/seconds
	r.Cores = (c1 - c0).Seconds() / seconds
	r.CPU = (c1 - c0).Seconds() * 1e6 / float64(max(1, d1-d0))
	r.Latency = lab.LatencyOf(inbox.latencies())
	r.Lost, r.Bad = out.sent.Load()-inbox.delivered.Load(), out.bad.Load()
	r.Memory = float64(server.Memory()) / (1 << 20)
	if *asJSON {
		return json.NewEncoder(os.Stdout).Encode(r)
	}
	fmt.Println(r)
	return nil
}

func nodes() []string { return strings.Split(*addr, ",") }

// node is the address of the server that connection i is to.
func node(i int) string {
	all := nodes()
	return all[i%len(all)]
}
