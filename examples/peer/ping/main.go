// Command ping calls the process at an address and prints its reply:
//
//	go run ./examples/peer/ping http://localhost:8080 gba_…
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/client"
)

func main() {
	ctx := context.Background()
	to := must(address.Parse(os.Args[2]))
	peer := must(client.Dial(ctx, os.Args[1], client.DialOptions{}))
	reply, err := client.CallAs[string](ctx, peer, to, "ping")
	peer.Close(ctx)
	fmt.Println(must(reply, err))
}

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}
