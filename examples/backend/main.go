// Command backend tells a browser how its work goes, as a backend does whose client handed over its address:
//
//	go run ./examples/backend http://localhost:8080 gba_…
//
// It needs the address and nothing else: no connection from the browser, no session, no queue.
package main

import (
	"context"
	"errors"
	"log"
	"os"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/client"
	"github.com/genbrowser/genbrowser/web/problem"
)

// progress is what the browser gets.
type progress struct {
	Type    string `json:"type"`
	Percent int    `json:"percent"`
}

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: backend URL ADDRESS")
	}
	gb, err := client.New(os.Args[1], client.Options{})
	if err != nil {
		log.Fatal(err)
	}
	browser, err := address.Parse(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	for percent := 0; percent <= 100; percent += 25 {
		err := gb.Send(context.Background(), browser, progress{"progress", percent})
		switch {
		case errors.Is(err, problem.Closed), errors.Is(err, problem.Expired), errors.Is(err, problem.Gone):
			log.Print("the browser is gone, and nobody waits for the rest")
			return
		case err != nil:
			log.Fatal(err)
		}
	}
}
