package genbrowsertest

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/client"
)

// Patience is how long a page waits for what must come, or what it asks for.
const Patience = 10 * time.Second

// Page is a client as a page in a browser is one: it has a mailbox, and what it does not expect fails the test.
type Page struct {
	Peer *client.Peer

	node *Node
}

// Page opens a mailbox at the node.
func (n *Node) Page() *Page {
	n.t.Helper()
	return &Page{n.Dial(client.DialOptions{}), n}
}

// Address is what others send to.
func (p *Page) Address() address.Address { return p.Peer.Address() }

// Send sends a body, which is marshalled to JSON, and sees to it that the server takes it.
func (p *Page) Send(to address.Address, body any) {
	p.node.t.Helper()
	ctx, cancel := patience()
	defer cancel()
	if err := p.Peer.Send(ctx, to, body); err != nil {
		p.node.t.Fatalf("send %v: %v", body, err)
	}
}

// Call calls, and unmarshals the reply into result, unless that is nil.
func (p *Page) Call(to address.Address, body, result any) {
	p.node.t.Helper()
	ctx, cancel := patience()
	defer cancel()
	if err := p.Peer.Call(ctx, to, body, result); err != nil {
		p.node.t.Fatalf("call %v: %v", body, err)
	}
}

// Receive waits for the next message.
func (p *Page) Receive() client.Message {
	p.node.t.Helper()
	ctx, cancel := patience()
	defer cancel()
	m, err := p.Peer.Receive(ctx)
	if err != nil {
		p.node.t.Fatalf("receive: %v", err)
	}
	return m
}

// Expect waits for as many messages as there are bodies, each a JSON text, and compares them as values.
func (p *Page) Expect(bodies ...string) {
	p.node.t.Helper()
	for _, want := range bodies {
		got := p.Receive()
		if !sameJSON(p, string(got.Body), want) {
			p.node.t.Fatalf("received %s, want %s", got.Body, want)
		}
	}
}

// ExpectNothing sees to it that nothing comes for a while.
func (p *Page) ExpectNothing(within time.Duration) {
	p.node.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	m, err := p.Peer.Receive(ctx)
	if !errors.Is(err, context.DeadlineExceeded) {
		p.node.t.Fatalf("received %s, %v; want nothing", m.Body, err)
	}
}

// Close closes the page's mailbox: its address is dead from then on.
func (p *Page) Close() {
	p.node.t.Helper()
	ctx, cancel := patience()
	defer cancel()
	if err := p.Peer.Close(ctx); err != nil {
		p.node.t.Fatalf("close: %v", err)
	}
}

func patience() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), Patience)
}

func sameJSON(p *Page, a, b string) bool {
	p.node.t.Helper()
	var x, y any
	if err := json.Unmarshal([]byte(a), &x); err != nil {
		p.node.t.Fatalf("%s: %v", a, err)
	}
	if err := json.Unmarshal([]byte(b), &y); err != nil {
		p.node.t.Fatalf("%s: %v", b, err)
	}
	return reflect.DeepEqual(x, y)
}
