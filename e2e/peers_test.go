//go:build linux

package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/client"
	"github.com/genbrowser/genbrowser/mailbox/jetstream"
	"github.com/genbrowser/genbrowser/server"
	"github.com/genbrowser/genbrowser/web"
)

// office is a Go program with a server in it, one of several that share a NATS.
type office struct {
	*server.Server
	gb  *web.Handler
	srv *httptest.Server
	end func()
}

func startOffice(t *testing.T, nats, name string) *office {
	t.Helper()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	log, err := jetstream.Open(ctx, jetstream.Options{URLs: []string{"nats://" + nats}, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	secret := sha256.Sum256([]byte("shared by the offices of " + t.Name()))
	keys, err := address.NewRing(secret[:])
	if err != nil {
		t.Fatal(err)
	}
	o := &office{}
	if o.Server, err = server.New(server.Options{Keys: keys, Log: log, Mesh: log.Mesh(), Node: name, Logger: quiet}); err != nil {
		t.Fatal(err)
	}
	if o.gb, err = web.New(web.Options{Server: o.Server, Logger: quiet}); err != nil {
		t.Fatal(err)
	}
	o.srv = httptest.NewServer(o.gb)
	o.end = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := errors.Join(o.gb.Shutdown(ctx), o.Stop(ctx)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		o.srv.CloseClientConnections()
		o.srv.Close()
	})
	t.Cleanup(o.end)
	return o
}

// dialAny connects a peer to the first of the offices that is there, again whenever its connection breaks.
func dialAny(t *testing.T, offices ...*office) *client.Peer {
	t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (conn net.Conn, err error) {
		for _, o := range offices {
			if conn, err = new(net.Dialer).DialContext(ctx, network, o.srv.Listener.Addr().String()); err == nil {
				return conn, nil
			}
		}
		return nil, err
	}}
	t.Cleanup(transport.CloseIdleConnections)
	p, err := client.Dial(t.Context(), "http://offices", client.DialOptions{Options: client.Options{HTTP: &http.Client{Transport: transport}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		p.Close(ctx)
	})
	return p
}

// greeter is a program's process: it answers calls, and notes what is cast to it.
type greeter struct {
	mu    sync.Mutex
	casts []string
}

func (g *greeter) Call(_ context.Context, m client.Message) (any, error) {
	return "hello " + strings.Trim(string(m.Body), `"`), nil
}

func (g *greeter) Cast(_ context.Context, m client.Message) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.casts = append(g.casts, string(m.Body))
	return nil
}

func (g *greeter) heard() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return strings.Join(g.casts, " ")
}

// TestRemoteProcesses goes through what fabric's documentation does: processes of two servers and of programs that are
// connected to them find, call, watch and end each other, and do not care who is where.
func TestRemoteProcesses(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	one, two := startOffice(t, nats, "one"), startOffice(t, nats, "two")
	within(t, 20*time.Second, "both are ready", func() bool { return one.Ready() == nil && two.Ready() == nil })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	// a process of server two, found by a program that is connected to server one
	pings := make(chan string, 10)
	if _, err := two.Handle("ping", server.HandlerFunc(func(ctx context.Context, m server.Message) error {
		pings <- string(m.Body)
		return m.Answer(ctx, "pong")
	})); err != nil {
		t.Fatal(err)
	}
	if err := two.Export("ping"); err != nil {
		t.Fatal(err)
	}
	a := dialAny(t, one)
	var ping address.Address
	within(t, 5*time.Second, "the name is known to server one", func() (ok bool) {
		var err error
		ping, err = a.Whereis(ctx, "ping")
		return err == nil && !ping.IsZero()
	})
	if secret, err := a.Whereis(ctx, "secret"); err == nil && !secret.IsZero() {
		t.Errorf("a name that was not exported is found: %v", secret)
	}
	var pong string
	if err := a.Call(ctx, ping, "through two servers", &pong); err != nil || pong != "pong" || <-pings != `"through two servers"` {
		t.Fatalf("the call's answer is %q, %v", pong, err)
	}
	if err := a.Send(ctx, ping, "sent"); err != nil || <-pings != `"sent"` {
		t.Fatalf("send: %v", err)
	}

	// a program at server two, called and cast to by server one, and by a program there
	b, greets := dialAny(t, two), &greeter{}
	serving, stop := context.WithCancel(ctx)
	served := make(chan error, 1)
	go func() { served <- b.Serve(serving, greets) }()
	reply, err := one.Call(ctx, b.Address(), "one")
	if err != nil || string(reply) != `"hello one"` {
		t.Errorf("server one's call: %s, %v", reply, err)
	}
	proxy := a.Proxy(b.Address())
	var hello string
	if err := proxy.Call(ctx, "a", &hello); err != nil || hello != "hello a" {
		t.Errorf("the proxy's call: %q, %v", hello, err)
	}

	// addresses and proxies outlive a reconnect, to another server too
	moving := dialAny(t, one, two)
	if err := moving.Call(ctx, b.Address(), "before", &hello); err != nil {
		t.Fatal(err)
	}
	one.srv.CloseClientConnections()
	if err := proxy.Call(ctx, "again", &hello); err != nil || hello != "hello again" {
		t.Errorf("the proxy's call after a break: %q, %v", hello, err)
	}
	for i := range 3 {
		if err := proxy.Cast(ctx, i); err != nil {
			t.Error(err)
		}
	}
	within(t, 5*time.Second, "the casts arrive once, in order", func() bool { return greets.heard() == "0 1 2" })

	// a monitor of a process on another server, and of one that is gone already
	monitor, err := a.Monitor(ctx, ping)
	if err != nil {
		t.Fatal(err)
	}
	two.Release("ping")
	if down, err := monitor.Wait(ctx); err != nil || down.Reason != "normal" {
		t.Errorf("the process ended with %+v, %v", down, err)
	}
	if monitor, err = a.Monitor(ctx, ping); err != nil {
		t.Fatal(err)
	}
	if down, err := monitor.Wait(ctx); err != nil || down.Reason != "gone" {
		t.Errorf("a process that is gone is told as %+v, %v", down, err)
	}

	// server one ends; who may be at server two goes on there, with the same address
	if err := a.Close(ctx); err != nil {
		t.Error(err)
	}
	before, began := moving.Address(), time.Now()
	one.end()
	within(t, 20*time.Second, "its client calls through server two", func() bool {
		soon, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		return moving.Call(soon, b.Address(), "after", &hello) == nil
	})
	t.Logf("server one's client called through server two after %v", time.Since(began))
	if moving.Address() != before {
		t.Errorf("its address was %v, and is %v", before, moving.Address())
	}
	if err := two.Send(ctx, before, "still here"); err != nil {
		t.Error(err)
	}
	if m, err := moving.Receive(ctx); err != nil || string(m.Body) != `"still here"` {
		t.Errorf("at its address came %s, %v", m.Body, err)
	}

	// a link between programs, and an end from outside
	linked := dialAny(t, two)
	if err := linked.Link(ctx, b.Address()); err != nil {
		t.Fatal(err)
	}
	mayExit, err := b.Key().AddressFor(address.Exit)
	if err != nil {
		t.Fatal(err)
	}
	if err := linked.Exit(ctx, b.Address(), "no right"); err == nil {
		t.Error("somebody without the right ended a process")
	}
	if err := moving.Exit(ctx, mayExit, "enough"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-b.Done():
	case <-ctx.Done():
		t.Error("the program that was ended does not know")
	}
	stop()
	<-served
	m, err := linked.Receive(ctx)
	var why client.Down
	if err != nil || m.Kind != "exited" || json.Unmarshal(m.Body, &why) != nil || why.Reason != "exit" || string(why.Detail) != `"enough"` {
		t.Errorf("the linked one is told %s %s, %v", m.Kind, m.Body, err)
	}
}
