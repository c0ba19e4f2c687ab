// Command pong is a process that answers pings. It prints its address, by which anybody can call it, and serves until
// it is interrupted:
//
//	go run ./examples/peer/pong http://localhost:8080
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/genbrowser/genbrowser/client"
)

type pong struct{}

func (pong) Call(context.Context, client.Message) (any, error) { return "pong", nil }

func (pong) Cast(_ context.Context, m client.Message) error { return fmt.Errorf("what is %s?", m.Body) }

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: pong URL")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	peer, err := client.Dial(ctx, os.Args[1], client.DialOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer peer.Close(context.WithoutCancel(ctx))
	fmt.Println(peer.Address())
	if err := peer.Serve(ctx, pong{}); ctx.Err() == nil {
		log.Print(err)
	}
}
