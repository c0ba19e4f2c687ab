package genbrowsertest_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/client"
	"github.com/genbrowser/genbrowser/genbrowsertest"
	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestPages lets two pages and a process of the server's talk, while connections break.
func TestPages(t *testing.T) {
	node := genbrowsertest.Start(t, genbrowsertest.Options{})
	to, err := node.Server.Handle("double", server.Typed(func(ctx context.Context, in struct {
		N  int
		To address.Address
	}, _ server.Message) error {
		return node.Server.Send(ctx, in.To, in.N*2)
	}))
	if err != nil {
		t.Fatal(err)
	}
	a, b := node.Page(), node.Page()
	for i := range 20 {
		if i%5 == 4 {
			node.Cut()
		}
		a.Send(to, map[string]any{"n": i, "to": b.Address()})
		b.Expect(fmt.Sprint(i * 2))
	}
	a.Send(b.Address(), map[string]any{"x": nil, "a": []int{1}})
	b.Expect(`{ "a": [1], "x": null }`)
}

// TestNodesAreWorlds holds that nodes know nothing of each other.
func TestNodesAreWorlds(t *testing.T) {
	one, other := genbrowsertest.Start(t, genbrowsertest.Options{}), genbrowsertest.Start(t, genbrowsertest.Options{})
	page, stranger := one.Page(), other.Page()
	ctx, cancel := context.WithTimeout(context.Background(), genbrowsertest.Patience)
	defer cancel()
	if err := stranger.Peer.Send(ctx, page.Address(), 1); err == nil {
		t.Error("a message came from another world")
	}
	if err := other.Server.Export("name"); err != nil {
		t.Fatal(err)
	}
	if a, err := page.Peer.Whereis(ctx, "name"); err == nil && !a.IsZero() {
		t.Errorf("the other world's name is %v", a)
	}
	resp, err := one.HTTP().Get(genbrowsertest.Endpoint + "/healthz")
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("healthz: %v, %v", resp, err)
	}
	resp.Body.Close()
}

// TestTimePasses holds that all of it works in a bubble, where an hour is nothing.
func TestTimePasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := genbrowsertest.Start(t, genbrowsertest.Options{Server: server.Options{Limits: mailbox.Limits{Asleep: 30 * time.Minute}}})
		page := node.Page()
		sleeper, err := node.Client(client.Options{}).Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		monitor, err := page.Peer.Monitor(t.Context(), sleeper.Address())
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		down, err := monitor.Wait(t.Context())
		if slept := time.Since(began).Round(time.Minute); err != nil || down.Reason != "expired" || slept != 30*time.Minute {
			t.Errorf("the mailbox ended with %+v, %v, after %v; want expired, after 30m", down, err, slept)
		}
		page.ExpectNothing(time.Hour)
	})
}
