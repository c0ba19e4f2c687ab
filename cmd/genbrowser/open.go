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

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/client"
)

type open struct {
	URL string `arg:"" help:"The server, such as http://localhost:8080."`
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
	defer box.Close(context.WithoutCancel(ctx))
	fmt.Println(box.Address())
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
			fmt.Println(string(m.Body))
		}
	}
	return nil
}

type send struct {
	URL  string `arg:"" help:"The server, such as http://localhost:8080."`
	To   string `arg:"" help:"The address."`
	Body string `arg:"" optional:"" help:"The message: any JSON value. Without it, each line of standard input is one."`
}

// Run sends one message, or one for each line of standard input over one request.
func (s *send) Run(ctx context.Context) error {
	c, err := client.New(s.URL, client.Options{})
	if err != nil {
		return err
	}
	to, err := address.Parse(s.To)
	if err != nil {
		return err
	}
	if s.Body != "" {
		body, err := jsonValue(s.Body)
		if err != nil {
			return err
		}
		return c.Send(ctx, to, body)
	}
	var failed, readErr error
	for i, err := range c.SendMany(ctx, stdin(to, &readErr)) {
		if err != nil {
			failed = errors.New("not every message was sent")
			fmt.Fprintf(os.Stderr, "genbrowser: line %d: %v\n", i+1, err)
		}
	}
	return errors.Join(readErr, failed)
}

// stdin yields the lines of standard input as messages, up to the first that is no JSON.
func stdin(to address.Address, failed *error) iter.Seq[client.Outgoing] {
	return func(yield func(client.Outgoing) bool) {
		lines := bufio.NewReader(os.Stdin)
		for {
			line, err := lines.ReadString('\n')
			if len(line) > 0 && line != "\n" {
				body, jsonErr := jsonValue(line)
				if jsonErr != nil {
					*failed = jsonErr
					return
				}
				if !yield(client.Outgoing{To: to, Body: body}) {
					return
				}
			}
			if err != nil {
				if err != io.EOF {
					*failed = err
				}
				return
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
