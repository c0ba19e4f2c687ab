package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/server"
)

// start makes a server for an example; end shuts it down.
func start() (office *server.Server, end func()) {
	ring, err := address.NewRing([]byte(address.NewSecret()))
	if err != nil {
		panic(err)
	}
	office, err = server.New(server.Options{Keys: ring, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		panic(err)
	}
	return office, func() { office.Shutdown(context.Background()) }
}

// Counter keeps a number: a cast adds to it, a call asks for it.
type Counter struct{ sum int }

func (c *Counter) Call(*server.Context, server.Message) (any, error) { return c.sum, nil }

func (c *Counter) Cast(_ *server.Context, m server.Message) error {
	var n int
	if err := json.Unmarshal(m.Body, &n); err != nil {
		return err
	}
	c.sum += n
	return nil
}

func ExampleServer_Serve() {
	office, end := start()
	defer end()
	ctx := context.Background()
	counter, err := office.Serve("counter", func() server.Service { return new(Counter) }, server.ProcessOptions{})
	if err != nil {
		panic(err)
	}
	office.Send(ctx, counter, 40)
	office.Send(ctx, counter, 2)
	sum, err := office.Call(ctx, counter, nil)
	fmt.Println(string(sum), err)
	// Output: 42 <nil>
}

// Cook answers each call when the meal is done, and takes the next one meanwhile.
type Cook struct{ orders int }

func (c *Cook) Call(ctx *server.Context, m server.Message) (any, error) {
	later := ctx.Later()
	c.orders++
	order := c.orders
	go later.Reply(ctx, fmt.Sprintf("order %d: %s", order, m.Body))
	return server.NoReply, nil
}

func (c *Cook) Cast(*server.Context, server.Message) error { return nil }

func ExampleContext_Later() {
	office, end := start()
	defer end()
	cook, err := office.Serve("cook", func() server.Service { return new(Cook) }, server.ProcessOptions{})
	if err != nil {
		panic(err)
	}
	meal, err := office.Call(context.Background(), cook, "soup")
	fmt.Println(string(meal), err)
	// Output: "order 1: \"soup\"" <nil>
}

// Clock ticks for as long as it lives.
type Clock struct{ ticked chan<- string }

func (c Clock) Init(ctx *server.Context) error { ctx.After(time.Millisecond, "tick"); return nil }

func (c Clock) Info(ctx *server.Context, m server.Message) error {
	if value, ok := m.Timer(); ok {
		c.ticked <- value.(string)
		ctx.Stop(server.Down{})
	}
	return nil
}

func (c Clock) Terminate(reason server.Down) { c.ticked <- reason.Reason }

func (c Clock) Call(*server.Context, server.Message) (any, error) { return nil, server.ErrRefused }
func (c Clock) Cast(*server.Context, server.Message) error        { return nil }

func ExampleContext_After() {
	office, end := start()
	defer end()
	ticked := make(chan string, 2)
	_, err := office.Serve("clock", func() server.Service { return Clock{ticked} }, server.ProcessOptions{Restart: server.Transient})
	if err != nil {
		panic(err)
	}
	fmt.Println(<-ticked, <-ticked)
	// Output: tick normal
}

type Deposit struct {
	Cents int `json:"cents"`
}

func (d *Deposit) Validate() error {
	if d.Cents <= 0 {
		return fmt.Errorf("cents %d: want more than 0", d.Cents)
	}
	return nil
}

func ExampleCallOf() {
	office, end := start()
	defer end()
	ctx := context.Background()
	bank, err := office.Handle("bank", server.CallOf(func(_ context.Context, d Deposit, _ server.Message) (string, error) {
		return fmt.Sprintf("%d.%02d taken", d.Cents/100, d.Cents%100), nil
	}))
	if err != nil {
		panic(err)
	}
	fmt.Println(server.CallAs[string](ctx, office, bank, Deposit{1250}))
	_, err = server.CallAs[string](ctx, office, bank, Deposit{-1})
	fmt.Println(errors.Is(err, server.ErrRefused), err)
	// Output:
	// 12.50 taken <nil>
	// true refused: cents -1: want more than 0
}

func ExampleServer_Keyed() {
	office, end := start()
	defer end()
	ctx := context.Background()
	err := office.Keyed("order", func(key string) server.Service { return new(Counter) }, server.KeyedOptions{Idle: time.Minute})
	if err != nil {
		panic(err)
	}
	for _, key := range []string{"41", "42", "42"} {
		order, err := office.KeyedAddress("order", key)
		if err != nil {
			panic(err)
		}
		office.Send(ctx, order, 1)
		items, err := office.Call(ctx, order, nil)
		fmt.Println(key, string(items), err)
	}
	// Output:
	// 41 1 <nil>
	// 42 1 <nil>
	// 42 2 <nil>
}

// Add is a pure process: the next sum, and the reply to the call.
func Add(sum int, m server.Message) (int, []server.Outgoing, error) {
	var n int
	if err := json.Unmarshal(m.Body, &n); err != nil {
		return sum, nil, fmt.Errorf("%w: %w", server.ErrRefused, err)
	}
	return sum + n, []server.Outgoing{server.ReplyTo(m, sum+n)}, nil
}

func ExampleStep() {
	sum, sent, err := Add(40, server.Message{Body: json.RawMessage("2")}) // no server is needed
	fmt.Println(sum, sent[0].Body, err)
	// Output: 42 42 <nil>
}

func ExamplePure() {
	office, end := start()
	defer end()
	adder, err := server.Pure(office, "adder", 40, Add)
	if err != nil {
		panic(err)
	}
	sum, err := office.Call(context.Background(), adder, 2)
	fmt.Println(string(sum), err)
	// Output: 42 <nil>
}
