// Command ping calls the process at an address until it ends, once a second:
//
//	go run ./examples/peer/ping http://localhost:8080 gba_…
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/client"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: ping URL ADDRESS")
	}
	to, err := address.Parse(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	peer, err := client.Dial(ctx, os.Args[1], client.DialOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer peer.Close(ctx)
	monitor, err := peer.Monitor(ctx, to)
	if err != nil {
		log.Fatal(err)
	}
	for {
		var reply string
		err := peer.Call(ctx, to, "ping", &reply)
		fmt.Println(reply, err)
		select {
		case down := <-monitor.C():
			fmt.Println("it ended:", down.Reason)
			return
		case <-time.After(time.Second):
		}
	}
}
