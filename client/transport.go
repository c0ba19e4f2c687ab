package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
)

// ErrNoTransport says that there is no way to connect that the server offers, this client supports and its caller
// allows, or that [Options.Select] chose none. Nothing was sent but the question what there is.
var ErrNoTransport = errors.New("client: no transport")

// Offer is a way to connect to a server that both ends support and that the caller allows.
type Offer struct {
	Transport   string // unix, tls, mtls or tcp
	URL         string // unix:///path, https://… or http://…: what New takes
	SameMachine bool   // the server says that it is on this machine
}

func (o Offer) String() string { return o.Transport + " " + o.URL }

// Discover asks the server at endpoint how one can connect to it, and returns what of it can be used, the endpoint
// itself first if that can. What is left out:
//
//   - transports that are unknown, and URLs that do not fit theirs;
//   - what is on another machine: its unix sockets and loopback addresses; and sockets that do not answer;
//   - mtls, if Options.TLS has no certificate to show, and unix, if Options.HTTP is set;
//   - tcp, unless Options.AllowPlain has that network, or endpoint is that very http:// URL and has a loopback host;
//   - if endpoint is http:// elsewhere: all but tls and mtls at its host, for anybody on the way could have
//     written the rest.
//
// An endpoint with https:// is taken to be tls if the server does not say mtls. Without any offer that is left the
// error is an [ErrNoTransport] that says why. It asks once. That takes at most Options.OpenWithin, and so does it to look
// at what is listed.
func Discover(ctx context.Context, endpoint string, o Options) ([]Offer, error) {
	d, err := discover(ctx, endpoint, &o, false)
	if err != nil {
		return nil, err
	}
	return d.offers, nil
}

// DefaultSelect chooses the first unix socket on this machine, else the first of tls and mtls, else the first that
// there is. It is what [Options.Select] is by default.
func DefaultSelect(offers []Offer) (Offer, error) {
	for _, preferred := range []func(Offer) bool{
		func(o Offer) bool { return o.Transport == "unix" && o.SameMachine },
		func(o Offer) bool { return o.Transport == "tls" || o.Transport == "mtls" },
		func(o Offer) bool { return o.Transport == "tcp" },
	} {
		if i := slices.IndexFunc(offers, preferred); i >= 0 {
			return offers[i], nil
		}
	}
	return Offer{}, errors.New("none of unix on this machine, tls, mtls, tcp")
}

// Connect discovers how to connect to the server at endpoint, lets [Options.Select] choose, and returns a client that
// connects that way and no other: it follows no redirects. If there is no way, or none that may be used, or the choice
// is not one of the offers, the error is an [ErrNoTransport]. The prefix is the one that the server says, unless
// Options.Prefix is set.
func Connect(ctx context.Context, endpoint string, o Options) (*Client, error) {
	return connect(ctx, endpoint, o, false)
}

// connect is Connect; patient, it asks again while the server is not there.
func connect(ctx context.Context, endpoint string, o Options, patient bool) (*Client, error) {
	d, err := discover(ctx, endpoint, &o, patient)
	if err != nil {
		return nil, err
	}
	offer, err := choose(d.offers, o.Select)
	if err != nil {
		return nil, err
	}
	return d.connect(offer)
}

// choose asks the selector, and checks what it says.
func choose(offers []Offer, sel func([]Offer) (Offer, error)) (Offer, error) {
	if sel == nil {
		sel = DefaultSelect
	}
	chosen, err := sel(slices.Clone(offers))
	if err != nil {
		return Offer{}, fmt.Errorf("%w: the selector: %w", ErrNoTransport, err)
	}
	if !slices.Contains(offers, chosen) {
		return Offer{}, fmt.Errorf("%w: the selector chose %q, which is none of %q", ErrNoTransport, chosen, offers)
	}
	return chosen, nil
}

// connect returns a client that uses an offer.
func (d *discovery) connect(offer Offer) (*Client, error) {
	e, err := parseEndpoint(offer.URL)
	if err != nil {
		return nil, err
	}
	o := *d.options
	if o.Prefix == "" {
		o.Prefix = d.prefix
	}
	return o.client(e, d.httpFor(e))
}

// httpFor returns what makes requests to an offer, to be used for nothing else.
func (d *discovery) httpFor(e endpoint) *http.Client {
	switch {
	case e.scheme == "unix":
		return overSocket(e.path)
	case d.options.HTTP != nil:
		h := *d.options.HTTP
		h.CheckRedirect = noRedirect
		return &h
	case e.scheme == "https":
		return overTLS(d.options.TLS)
	}
	return overPlain(d.plainNetworks(e))
}

// CloseIdleConnections closes those that no request uses; those in use are kept. A client that is not needed any more
// closes them by itself after a while.
func (c *Client) CloseIdleConnections() { c.http.CloseIdleConnections() }
