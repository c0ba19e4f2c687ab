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
	to, err := address.Parse(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	peer, err := client.Dial(ctx, os.Args[1], client.DialOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer peer.Close(ctx)
	fmt.Println(client.CallAs[string](ctx, peer, to, "ping"))
}
