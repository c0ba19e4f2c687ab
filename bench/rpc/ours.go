//go:build unix

package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/client"
	"github.com/genbrowser/genbrowser/server"
	"github.com/genbrowser/genbrowser/web"
)

// serve starts a server with a process, and a peer that is connected to it.
func serve(l net.Listener, dial dialer, h func(*server.Server) server.Handler) (*client.Peer, address.Address, error) {
	keys, err := address.NewRing([]byte("a secret for measurements only, of 32 bytes"))
	if err != nil {
		return nil, address.Address{}, err
	}
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	office, err := server.New(server.Options{Keys: keys, Queue: 100_000, Logger: quiet})
	if err != nil {
		return nil, address.Address{}, err
	}
	gb, err := web.New(web.Options{Server: office, Logger: quiet})
	if err != nil {
		return nil, address.Address{}, err
	}
	to, err := office.Handle("echo", h(office))
	if err != nil {
		return nil, address.Address{}, err
	}
	srv := &http.Server{Handler: gb}
	go srv.Serve(l)
	later(func() { srv.Close() })
	later(func() { gb.Shutdown(context.Background()) })
	over := func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) }
	options := client.DialOptions{Logger: quiet}
	options.HTTP = &http.Client{Transport: &http.Transport{DialContext: over, MaxIdleConnsPerHost: 4}}
	peer, err := client.Dial(context.Background(), "http://peer", options)
	if err == nil {
		later(func() { peer.Close(context.Background()) })
	}
	return peer, to, err
}

func startCall(l net.Listener, dial dialer) (do, error) {
	peer, to, err := serve(l, dial, func(*server.Server) server.Handler {
		return server.HandlerFunc(func(ctx context.Context, m server.Message) error { return m.Answer(ctx, m.Body) })
	})
	return func(ctx context.Context, payload string) error {
		var out string
		if err := peer.Call(ctx, to, payload, &out); err != nil {
			return err
		}
		return same(out, payload)
	}, err
}

// startCast sends what wants no reply. It returns once the server has taken it.
func startCast(l net.Listener, dial dialer) (do, error) {
	peer, to, err := serve(l, dial, func(*server.Server) server.Handler {
		return server.HandlerFunc(func(context.Context, server.Message) error { return nil })
	})
	return func(ctx context.Context, payload string) error { return peer.Cast(ctx, to, payload) }, err
}

// batched is how many casts one call sends.
const batched = 32

// startBatch casts many at a time.
func startBatch(l net.Listener, dial dialer) (do, error) {
	peer, to, err := serve(l, dial, func(*server.Server) server.Handler {
		return server.HandlerFunc(func(context.Context, server.Message) error { return nil })
	})
	return func(ctx context.Context, payload string) error {
		batch := make([]client.Outgoing, batched)
		for i := range batch {
			batch[i] = client.Outgoing{To: to, Body: payload}
		}
		return peer.SendBatch(ctx, batch)
	}, err
}
