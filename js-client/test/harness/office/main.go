// Command office is a server with an exported process, shop/till, which the program itself has none of: it answers a
// call with what it got, panics on "panic" and ends on "end".
package main

import (
	"context"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/server"
	"github.com/genbrowser/genbrowser/web"
)

const till = "shop/till"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	keys, err := address.NewRing([]byte(os.Getenv("SECRET")))
	if err != nil {
		return err
	}
	office, err := server.New(server.Options{Keys: keys})
	if err != nil {
		return err
	}
	_, err = office.Handle(till, server.HandlerFunc(func(ctx context.Context, m server.Message) error {
		switch string(m.Body) {
		case `"panic"`:
			panic("the till is stuck")
		case `"end"`:
			office.Release(till)
		}
		return m.Answer(ctx, m.Body)
	}))
	if err == nil {
		err = office.Export(till)
	}
	if err != nil {
		return err
	}
	gb, err := web.New(web.Options{Server: office})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	log.Printf("listening http://%v", l.Addr())
	go http.Serve(l, gb)
	<-ctx.Done()
	return nil
}
