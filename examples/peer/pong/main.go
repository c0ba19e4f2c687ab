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

	"github.com/genbrowser/genbrowser/client"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	peer, err := client.Dial(ctx, os.Args[1], client.DialOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer peer.Close(context.WithoutCancel(ctx))
	fmt.Println(peer.Address())
	log.Print(peer.Serve(ctx, client.CallFunc(pong)))
}

func pong(context.Context, client.Message) (any, error) { return "pong", nil }
