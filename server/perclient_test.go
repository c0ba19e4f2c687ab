package server_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/client"
	"github.com/genbrowser/genbrowser/genbrowsertest"
	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/server"
	"github.com/genbrowser/genbrowser/web/problem"
)

// tab counts what its client calls, and would rather live on.
type tab struct {
	client address.Address
	calls  int
	ended  chan string
}

func (b *tab) Call(c *server.Context, m server.Message) (any, error) {
	switch string(m.Body) {
	case `"whose"`:
		return b.client, nil
	case `"stop"`:
		c.Stop(server.Down{})
	case `"crash"`:
		panic("oh")
	}
	b.calls++
	return b.calls, nil
}

func (b *tab) Cast(*server.Context, server.Message) error { return nil }
func (b *tab) Info(*server.Context, server.Message) error { return nil }
func (b *tab) Terminate(why server.Down)                  { b.ended <- why.Reason }

// plain is a service that has nothing to say of what it is told.
type plain struct{ tab *tab }

func (p plain) Call(c *server.Context, m server.Message) (any, error) { return p.tab.Call(c, m) }
func (p plain) Cast(*server.Context, server.Message) error            { return nil }
func (p plain) Terminate(why server.Down)                             { p.tab.Terminate(why) }

func startTabs(t *testing.T, o server.KeyedOptions) (node *genbrowsertest.Node, front address.Address, ended chan string) {
	node, ended = genbrowsertest.Start(t, genbrowsertest.Options{}), make(chan string, 10)
	front, err := node.Server.PerClient("tab", func(client address.Address) server.Service { return &tab{client: client, ended: ended} }, o)
	if err != nil {
		t.Fatal(err)
	}
	return node, front, ended
}

func expectCount(t *testing.T, p *client.Peer, to address.Address, body string, want int) {
	t.Helper()
	if n, err := client.CallAs[int](t.Context(), p, to, body); n != want || err != nil {
		t.Errorf("%s: %d, %v, want %d", body, n, err, want)
	}
}

// Each client has a process, keeps it however long it says nothing, and is all that keeps it.
func TestPerClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node, front, ended := startTabs(t, server.KeyedOptions{})
		a, b := node.Dial(client.DialOptions{}), node.Dial(client.DialOptions{})
		own := make(map[*client.Peer]address.Address)
		for _, p := range []*client.Peer{a, b} {
			for range 2 {
				to, err := client.CallAs[address.Address](t.Context(), p, front, nil)
				if err != nil || own[p] != (address.Address{}) && own[p] != to {
					t.Fatalf("its process is %v, %v", to, err)
				}
				own[p] = to
			}
			expectCount(t, p, own[p], "more", 1)
			whose, err := client.CallAs[address.Address](t.Context(), p, own[p], "whose")
			if err != nil || whose != p.Address() {
				t.Errorf("it is of %v, %v, want %v", whose, err, p.Address())
			}
		}
		if own[a] == own[b] {
			t.Error("two clients have one process")
		}
		<-time.After(10 * time.Minute)
		expectCount(t, a, own[a], "more", 2)

		if err := b.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if why := <-ended; why != "closed" {
			t.Errorf("it ended with %s", why)
		}
		expectCount(t, a, own[a], "more", 3)

		for body, want := range map[string]string{"stop": "normal", "crash": "crashed"} {
			err := a.Call(t.Context(), own[a], body, nil)
			if body == "crash" && !errors.Is(err, problem.CallFailed) {
				t.Errorf("the call that crashes it: %v", err)
			}
			m, err := a.Receive(t.Context())
			if down, ok := m.End(); err != nil || !ok || m.Kind != "exited" || down.Reason != want || <-ended != want {
				t.Errorf("%s: the client is told %s %s, %v", body, m.Kind, m.Body, err)
			}
			expectCount(t, a, own[a], "another", 1)
		}
	})
}

// Who is gone, before its process began or while it lived, has none for long.
func TestPerClientThatIsGone(t *testing.T) {
	var front address.Address
	for name, test := range map[string]struct {
		began bool
		end   func(*client.Peer) error
		want  string
	}{
		"closed before": {false, func(p *client.Peer) error { return p.Close(context.Background()) }, "closed"},
		"closed after its process ended": {true, func(p *client.Peer) error {
			own, err := client.CallAs[address.Address](context.Background(), p, front, nil)
			if err == nil {
				err = p.Call(context.Background(), own, "stop", nil)
			}
			return errors.Join(err, p.Close(context.Background()))
		}, "normal"},
		"closed":  {true, func(p *client.Peer) error { return p.Close(context.Background()) }, "closed"},
		"expired": {true, func(p *client.Peer) error { _, err := p.Leave(context.Background()); return err }, "expired"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				node := genbrowsertest.Start(t, genbrowsertest.Options{Server: server.Options{Limits: mailbox.Limits{Asleep: time.Minute}}})
				ended := make(chan string, 100)
				var err error
				front, err = node.Server.PerClient("tab", func(address.Address) server.Service { return plain{&tab{ended: ended}} }, server.KeyedOptions{})
				if err != nil {
					t.Fatal(err)
				}
				a, b := node.Dial(client.DialOptions{}), node.Dial(client.DialOptions{})
				own, err := client.CallAs[address.Address](t.Context(), a, front, nil)
				if err != nil {
					t.Fatal(err)
				}
				if test.began {
					expectCount(t, b, own, "more", 1)
				}
				if err := test.end(a); err != nil {
					t.Fatal(err)
				}
				if !test.began {
					b.Call(t.Context(), own, "more", nil)
				}
				if why := <-ended; why != test.want {
					t.Errorf("it ended with %s, want %s", why, test.want)
				}
				<-time.After(10 * time.Minute)
				if len(ended) > 0 {
					t.Errorf("it began and ended again, with %s, %d times", <-ended, 1+len(ended))
				}
			})
		})
	}
}

func TestPerClientRefuses(t *testing.T) {
	node, front, _ := startTabs(t, server.KeyedOptions{Max: 1})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var failure *server.Failure
	if _, err := node.Server.Call(ctx, front, nil); !errors.As(err, &failure) || failure.Status != 422 {
		t.Errorf("a call of the server's own: %v", err)
	}
	a, b := node.Dial(client.DialOptions{}), node.Dial(client.DialOptions{})
	for i, p := range []*client.Peer{a, b} {
		to, err := client.CallAs[address.Address](ctx, p, front, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Call(ctx, to, "more", nil); i == 0 && err != nil || i == 1 && !errors.Is(err, problem.Overloaded) {
			t.Errorf("client %d: %v", i, err)
		}
	}
	of := func(address.Address) server.Service { return &tab{} }
	for name, o := range map[string]server.KeyedOptions{"tab": {}, "a/b": {}, "": {}, "other": {Idle: -1}} {
		if _, err := node.Server.PerClient(name, of, o); err == nil {
			t.Errorf("PerClient(%q, %+v) is taken", name, o)
		}
	}
	if _, err := node.Server.Handle("taken", server.HandlerFunc(func(context.Context, server.Message) error { return nil })); err != nil {
		t.Fatal(err)
	}
	if _, err := node.Server.PerClient("taken", of, server.KeyedOptions{}); !errors.Is(err, server.ErrNameTaken) {
		t.Errorf("a name that is taken: %v", err)
	}
	if err := node.Server.Keyed("taken", func(string) server.Service { return &tab{} }, server.KeyedOptions{}); err != nil {
		t.Errorf("what was refused keeps its prefix: %v", err)
	}
}
