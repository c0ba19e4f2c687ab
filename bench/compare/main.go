// Command compare runs the same one-to-one mailbox load against nginx+nchan, the bare net/http floor, and GenBrowser,
// server on core 0 and load on core 1, in turn, in several rounds, and prints each run, the medians, and the ratios of
// medians.
//
//	compare -n 1000 -b 32 -- --backlog 100                  GenBrowser with a flag of its own
//	compare -n 1000,18000 -w 64,256                         one after the other, a table for each
//	compare -k genbrowser -server "before=tmp/old serve"   two builds side by side
//	compare -load "-rate 2000"                              further flags of the load: paced, uploads, TLS
//
// Needs Go, taskset, and for nchan Debian's nginx and libnginx-mod-nchan.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/genbrowser/genbrowser/bench/lab"
)

type options struct {
	streams, workers []int
	batch            int
	seconds, rounds  int
	idle, settle     time.Duration
	pin              bool
	load             []string // further flags of the load
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var o options
	var servers []string
	streams := flag.String("n", "1000", "streams; several numbers with commas")
	workers := flag.String("w", "64", "workers that send, so that many requests are in flight; several numbers with commas")
	flag.IntVar(&o.batch, "b", 1, "messages a request, where the server takes more than one")
	flag.IntVar(&o.seconds, "s", 5, "seconds of load")
	flag.IntVar(&o.rounds, "r", 3, "rounds")
	flag.DurationVar(&o.idle, "idle", 3*time.Second, "wait before reading idle memory")
	flag.DurationVar(&o.settle, "settle", time.Second, "wait after a server takes connections")
	flag.BoolVar(&o.pin, "pin", true, "a core for the server and one for the load; false: they share all")
	load := flag.String("load", "", "further flags of bench/load")
	kinds := flag.String("k", "nchan floor genbrowser", "what to compare, of these")
	program := flag.String("program", "tmp/genbrowser", "the program, for genbrowser")
	flag.Func("server", "another GenBrowser, as `\"name=command flags\"`; {dir} in it is an empty directory for each run, {addr} an address to listen at. May be repeated", func(s string) error {
		servers = append(servers, s)
		return nil
	})
	flag.Parse()
	var err error
	if o.streams, err = numbers(*streams); err != nil {
		return fmt.Errorf("-n: %w", err)
	}
	if o.workers, err = numbers(*workers); err != nil {
		return fmt.Errorf("-w: %w", err)
	}
	o.load = strings.Fields(*load)

	dir, err := os.MkdirTemp("", "compare")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := prepare(ctx, dir); err != nil {
		return err
	}
	var all []variant
	for _, kind := range strings.Fields(*kinds) {
		addr, err := lab.FreeAddr()
		if err != nil {
			return err
		}
		switch kind {
		case "nchan":
			v, err := nchan(dir, addr)
			if err != nil {
				fmt.Println("without nchan:", err)
				continue
			}
			all = append(all, v)
		case "floor":
			all = append(all, variant{name: kind, kind: kind, command: []string{filepath.Join(dir, "floor"), "-addr", addr}, addrs: []string{addr}})
		case "genbrowser":
			all = append(all, genBrowser(kind, append([]string{*program, "serve"}, flag.Args()...), addr))
		default:
			return fmt.Errorf("-k %s; want nchan, floor, genbrowser", kind)
		}
	}
	for _, s := range servers {
		name, command, found := strings.Cut(s, "=")
		if !found || strings.ContainsAny(name, " /") || len(strings.Fields(command)) == 0 {
			return fmt.Errorf("-server %q; want name=command", s)
		}
		addr, err := lab.FreeAddr()
		if err != nil {
			return err
		}
		all = append(all, genBrowser(name, strings.Fields(command), addr))
	}

	var t table
	for range o.rounds {
		for _, n := range o.streams {
			for _, w := range o.workers {
				for _, v := range all {
					r, err := measure(ctx, dir, &o, v, n, w)
					if err != nil {
						return fmt.Errorf("%s: %w", v.name, err)
					}
					fmt.Println(r)
					t.add(r)
				}
			}
		}
	}
	t.print()
	return nil
}

func numbers(text string) (all []int, err error) {
	for s := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(s)
		if err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	return all, nil
}

// prepare builds the programs, and sets what every server finds in its environment.
func prepare(ctx context.Context, dir string) error {
	const bench = "github.com/genbrowser/genbrowser/bench/"
	if b, err := exec.CommandContext(ctx, "go", "build", "-o", dir+"/", bench+"load", bench+"floor").CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, b)
	}
	if os.Getenv("SECRET") == "" {
		os.Setenv("SECRET", "a-secret-for-measurements-only-0123456789")
	}
	return writeCertificate(dir)
}

// measure starts a server, loads it, and stops it.
func measure(ctx context.Context, dir string, o *options, v variant, streams, workers int) (r lab.Result, err error) {
	data, err := os.MkdirTemp(dir, "data")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(data)
	s, err := lab.Start(o.command(ctx, "0", v.commandIn(data)), v.addrs...)
	if err != nil {
		return r, err
	}
	time.Sleep(o.settle)
	args := append([]string{
		filepath.Join(dir, "load"), "-json", "-kind", v.kind, "-addr", strings.Join(v.addrs, ","), "-pid", strconv.Itoa(s.ID()),
		"-n", strconv.Itoa(streams), "-w", strconv.Itoa(workers), "-batch", strconv.Itoa(o.batch),
		"-d", strconv.Itoa(o.seconds) + "s", "-idle", o.idle.String(), "-tls=" + strconv.FormatBool(v.tls),
	}, o.load...)
	b, err := o.command(ctx, "1", args).Output()
	printed := s.Stop()
	if failed := (*exec.ExitError)(nil); errors.As(err, &failed) {
		return r, fmt.Errorf("%w: %s\nthe server's last words:\n%s", err, failed.Stderr, printed)
	}
	if err != nil {
		return r, err
	}
	err = json.Unmarshal(b, &r)
	r.Name = v.name
	return r, err
}

func (o *options) command(ctx context.Context, core string, args []string) *exec.Cmd {
	if o.pin {
		return lab.On(ctx, core, args...)
	}
	return exec.CommandContext(ctx, args[0], args[1:]...)
}
