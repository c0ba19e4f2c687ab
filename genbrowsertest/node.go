// Package genbrowsertest runs whole GenBrowser servers inside a test, with no sockets, ports or files: each is a
// world of its own, and sees only its own traffic, however many there are.
//
//	node := genbrowsertest.Start(t, genbrowsertest.Options{})
//	to, err := node.Server.Handle("till", shop.NewTill())
//	page := node.Page()
//	page.Send(to, map[string]any{"type": "buy", "reply": page.Address()})
//	page.Expect(`{"type":"sold"}`)
//
// Everything works as over a network, streams, uploads and their healing included. What blocks, blocks on channels, so
// that a [testing/synctest] bubble sees when all is quiet, and hours of heartbeats and timeouts pass in no time.
package genbrowsertest

import (
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/client"
	"github.com/genbrowser/genbrowser/server"
	"github.com/genbrowser/genbrowser/web"
)

// Endpoint is the URL of every node, for its own HTTP client only.
const Endpoint = "http://genbrowser.test"

// Options configure a [Node]. The zero value will do: Keys are random, and nothing is logged.
type Options struct {
	Server server.Options
	Web    web.Options
}

// Node is a server in memory.
type Node struct {
	Server  *server.Server
	Handler *web.Handler

	t     testing.TB
	http  *http.Server
	pipes *pipes
	calls *http.Client
}

// Start starts a node, which ends with the test.
func Start(t testing.TB, o Options) *Node {
	t.Helper()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	if o.Server.Keys == nil {
		o.Server.Keys = newKeys(t)
	}
	if o.Server.Logger == nil {
		o.Server.Logger = quiet
	}
	office, err := server.New(o.Server)
	if err != nil {
		t.Fatal(err)
	}
	o.Web.Server = office
	if o.Web.Logger == nil {
		o.Web.Logger = quiet
	}
	handler, err := web.New(o.Web)
	if err != nil {
		t.Fatal(err)
	}
	n := &Node{Server: office, Handler: handler, t: t, pipes: newPipes(), http: &http.Server{Handler: handler}}
	n.calls = n.newHTTP()
	go n.http.Serve(n.pipes)
	t.Cleanup(n.end)
	return n
}

func newKeys(t testing.TB) *address.Ring {
	t.Helper()
	secret := make([]byte, 32)
	rand.Read(secret)
	keys, err := address.NewRing(secret)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// shutdownPatience is how long a node has to end.
const shutdownPatience = 10 * time.Second

func (n *Node) end() {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownPatience)
	defer cancel()
	if err := n.Handler.Shutdown(ctx); err != nil {
		n.t.Errorf("genbrowsertest: shutdown: %v", err)
	}
	n.calls.CloseIdleConnections()
	n.pipes.CutAll()
	n.http.Close()
	if err := n.Server.Stop(ctx); err != nil {
		n.t.Errorf("genbrowsertest: %v", err)
	}
}

// HTTP returns an HTTP client whose every request goes to this node, whatever its URL's host.
func (n *Node) HTTP() *http.Client { return n.calls }

func (n *Node) newHTTP() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return n.pipes.dial(ctx) },
		MaxIdleConnsPerHost: 100,
	}}
}

// Cut breaks all connections, as a network does. Clients come back by themselves.
func (n *Node) Cut() { n.pipes.CutAll() }

// Client returns a client of the node. Options.HTTP is set here.
func (n *Node) Client(o client.Options) *client.Client {
	n.t.Helper()
	o.HTTP = n.calls
	c, err := client.New(Endpoint, o)
	if err != nil {
		n.t.Fatal(err)
	}
	return c
}

// Dial returns a peer, which is closed when the test ends. Options.HTTP is set here.
func (n *Node) Dial(o client.DialOptions) *client.Peer {
	n.t.Helper()
	o.HTTP = n.calls
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	p, err := client.Dial(ctx, Endpoint, o)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), shutdownPatience)
		defer cancel()
		p.Close(ctx)
	})
	return p
}
