//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/genbrowser/genbrowser/bench/lab"
)

// senders are this program once more: in a process of their own they get their turn while thousands of clients have
// their hands full here. It reads addresses, sends until its input ends, and prints a report.
type senders struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	out   *json.Decoder
}

// report is what the senders did.
type report struct {
	Answers []answer
	Sent    []int // messages accepted for each client
	Errors  []string
}

type answer struct {
	Due  time.Time
	Took time.Duration // since then
}

func startSenders(ctx context.Context, c *crowd) (*senders, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "-send", "-addr="+*addr, fmt.Sprint("-w=", *w), fmt.Sprint("-rate=", *rate))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var to []string
	for i := range c.clients {
		to = append(to, c.clients[i].address)
	}
	return &senders{cmd, stdin, json.NewDecoder(stdout)}, json.NewEncoder(stdin).Encode(to)
}

// stop ends the senders. An error is also that one of them met any.
func (s *senders) stop() (r report, err error) {
	s.stdin.Close()
	if err := s.out.Decode(&r); err != nil {
		return r, fmt.Errorf("the senders: %w", errors.Join(err, s.cmd.Wait()))
	}
	if len(r.Errors) > 0 {
		return r, fmt.Errorf("the senders: %s", strings.Join(r.Errors, "; "))
	}
	return r, s.cmd.Wait()
}

// between are the times that answers took to messages that were due from one moment to another.
func (r *report) between(from, to time.Time) (all []time.Duration) {
	for _, a := range r.Answers {
		if !a.Due.Before(from) && a.Due.Before(to) {
			all = append(all, a.Took)
		}
	}
	return all
}

// send is the senders' process.
func send(ctx context.Context) error {
	in := json.NewDecoder(os.Stdin)
	var to []string
	if err := in.Decode(&to); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	r := report{Sent: make([]int, len(to))}
	var mu sync.Mutex
	var working sync.WaitGroup
	for k := range *w {
		working.Go(func() {
			answers, err := work(ctx, k, to, r.Sent)
			mu.Lock()
			defer mu.Unlock()
			r.Answers = append(r.Answers, answers...)
			if ctx.Err() == nil {
				r.Errors = append(r.Errors, err.Error())
			}
		})
	}
	working.Wait()
	return json.NewEncoder(os.Stdout).Encode(&r)
}

// work sends at a constant rate to every w-th client, so that a client's messages come from one worker and have an
// order.
func work(ctx context.Context, k int, to []string, sent []int) (all []answer, err error) {
	conn, err := lab.Dial(*addr, k)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	interval := time.Duration(float64(*w) / *rate * 1e9)
	due, err := lab.Pace(ctx, interval*time.Duration(k)/time.Duration(*w), interval)
	if err != nil {
		return nil, err
	}
	pad := strings.Repeat("x", 160)
	for {
		at, err := due()
		if err != nil {
			return all, err
		}
		i := k + *w*rand.IntN(len(to) / *w)
		body := fmt.Appendf(nil, `{"lane":%d,"n":%d,"p":"%s"}`, paced, sent[i]+1, pad)
		if _, err := conn.Write(lab.Request("POST", "/_gb/send/"+to[i], "Host: storm\r\nContent-Type: application/json\r\n", body)); err != nil {
			return all, err
		}
		code, err := lab.ReadAnswer(answers)
		if err != nil {
			return all, err
		}
		if code != 202 {
			return all, fmt.Errorf("a message to client %d: status %d", i, code)
		}
		all = append(all, answer{at, time.Since(at)})
		sent[i]++
	}
}
