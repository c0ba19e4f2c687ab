package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/client"
)

type open struct {
	URL string `arg:"" help:"The server, such as http://localhost:8080 or unix:///run/gb.sock; its prefix must be /_gb."`
}

// Run prints the address on the first line of standard output, and each message's body on one of its own. The
// mailbox ends with the program.
func (o *open) Run(ctx context.Context) error {
	c, err := client.New(o.URL, client.Options{})
	if err != nil {
		return err
	}
	box, err := c.Open(ctx)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		box.Close(ctx)
	}()
	if _, err := fmt.Fprintln(stdout, box.Address()); err != nil {
		return err
	}
	for m, err := range box.Messages(ctx) {
		var gap *client.GapError
		switch {
		case errors.As(err, &gap):
			fmt.Fprintln(os.Stderr, "genbrowser:", gap)
		case errors.Is(err, context.Canceled):
			return nil
		case err != nil:
			return err
		default:
			if _, err := fmt.Fprintln(stdout, string(m.Body)); err != nil {
				return err
			}
		}
	}
	return nil
}

type send struct {
	URL     string        `arg:"" help:"The server, such as http://localhost:8080 or unix:///run/gb.sock; its prefix must be /_gb."`
	To      string        `arg:"" help:"The address."`
	Body    *string       `arg:"" optional:"" help:"The message: any JSON value. Without it, each line of standard input is one."`
	Timeout time.Duration `help:"How long the server may take to answer. Standard input may take as long as it likes." default:"30s" env:"-"`
}

// Run sends one message, or one for each line of standard input.
func (s *send) Run(ctx context.Context) error {
	if s.Timeout < 0 {
		return fmt.Errorf("--timeout: %v is too little; want more than 0", s.Timeout)
	}
	c, err := client.New(s.URL, client.Options{})
	if err != nil {
		return err
	}
	to, err := address.Parse(s.To)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	server := &patience{limit: s.Timeout, end: cancel}
	if s.Body == nil {
		return sendLines(ctx, c, to, server)
	}
	body, err := jsonValue(*s.Body)
	if err != nil {
		return err
	}
	server.ask()
	return orLate(ctx, c.Send(ctx, to, body))
}

// orLate returns why ctx ended instead of what that did to a request, if it was for the server's being late.
func orLate(ctx context.Context, err error) error {
	if late, ok := context.Cause(ctx).(lateError); ok && err != nil {
		return late
	}
	return err
}

// sendLines sends a message for each line of standard input, over one request.
func sendLines(ctx context.Context, c *client.Client, to address.Address, server *patience) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in := &input{lines: make(chan string)}
	go in.read(os.Stdin)
	var failed error
	for i, err := range c.SendMany(ctx, in.messages(ctx, to, server)) {
		if errors.Is(err, client.ErrUnanswered) {
			err = orLate(ctx, err)
			cancel() // nobody takes what standard input may still bring
		} else {
			server.answered()
		}
		if err != nil {
			failed = errors.New("not every message was sent")
			fmt.Fprintf(os.Stderr, "genbrowser: message %d: %v\n", i+1, err)
		}
	}
	return errors.Join(in.failed, failed)
}

// input is standard input, a message a line.
type input struct {
	lines  chan string // closed at its end
	err    error       // of reading, once lines is closed
	failed error       // why the messages ended before the input did
}

// read goes on until the input ends, or the program: a read of a terminal can't be interrupted.
func (in *input) read(r io.Reader) {
	defer close(in.lines)
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadString('\n')
		if line = strings.TrimSpace(line); line != "" {
			in.lines <- line
		}
		if err != nil {
			if err != io.EOF {
				in.err = err
			}
			return
		}
	}
}

// messages yields the lines up to the first that is no JSON, or until ctx ends, and has the server asked for each one's answer.
func (in *input) messages(ctx context.Context, to address.Address, server *patience) iter.Seq[client.Outgoing] {
	return func(yield func(client.Outgoing) bool) {
		for {
			select {
			case <-ctx.Done():
				return
			case line, ok := <-in.lines:
				if !ok {
					in.failed = in.err
					return
				}
				body, err := jsonValue(line)
				if err != nil {
					in.failed = err
					return
				}
				server.ask()
				if !yield(client.Outgoing{To: to, Body: body}) {
					return
				}
			}
		}
	}
}

func jsonValue(text string) (json.RawMessage, error) {
	if !json.Valid([]byte(text)) {
		return nil, fmt.Errorf(`%q is not JSON; a text needs quotes of its own: '"hello"'`, text)
	}
	return json.RawMessage(text), nil
}
