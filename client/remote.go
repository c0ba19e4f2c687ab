package client

import (
	"context"

	"github.com/genbrowser/genbrowser/address"
)

// Proxy is a remote process as a value: a [Peer] bound to an address. Copies are the same.
type Proxy struct {
	peer *Peer
	to   address.Address
}

// Proxy returns the process at an address as a value.
func (p *Peer) Proxy(to address.Address) Proxy { return Proxy{p, to} }

// Address is the process's.
func (r Proxy) Address() address.Address { return r.to }

// Call is [Peer.Call].
func (r Proxy) Call(ctx context.Context, body, result any) error {
	return r.peer.Call(ctx, r.to, body, result)
}

// Cast is [Peer.Cast].
func (r Proxy) Cast(ctx context.Context, body any) error { return r.peer.Cast(ctx, r.to, body) }
