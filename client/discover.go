package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/genbrowser/genbrowser/internal/machine"
)

const (
	maxDiscovery = 64 << 10 // bytes of the answer
	maxListings  = 64       // of it that are looked at
)

// loopback are the addresses of this machine itself.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// listing is a listener as the server lists it.
type listing struct {
	Transport string `json:"transport"`
	URL       string `json:"url"`
	Machine   string `json:"machine"`
}

// ErrOtherServer means that the server is not the one that is wanted: it speaks another protocol, or has another name.
var ErrOtherServer = errors.New("this is another server")

// discovery is what a server said of itself, and what became of it.
type discovery struct {
	options  *Options
	endpoint endpoint // that was asked
	patient  bool     // a server that is not there, or not ready, is asked again
	trusted  bool     // it was the server that said it, and not somebody on the way
	prefix   string
	offers   []Offer
	refused  []string // listings, and why they are no offers
}

func newDiscovery(text string, o *Options) (*discovery, error) {
	e, err := parseEndpoint(text)
	if err == nil {
		err = o.check()
	}
	if err != nil {
		return nil, err
	}
	return &discovery{options: o, endpoint: e}, nil
}

// hello asks the server at an endpoint, once it is there, whether it is the one that is wanted.
func hello(ctx context.Context, text string, o *Options) error {
	d, err := newDiscovery(text, o)
	if err != nil {
		return err
	}
	d.patient = true
	if _, err := d.ask(ctx); err != nil {
		return fmt.Errorf("client: hello: %w", err)
	}
	return nil
}

func discover(ctx context.Context, text string, o *Options, patient bool) (*discovery, error) {
	d, err := newDiscovery(text, o)
	if err != nil {
		return nil, err
	}
	d.patient = patient
	if o.HTTP != nil && (o.TLS != nil || d.endpoint.scheme == "unix") {
		_, err := o.httpFor(d.endpoint)
		return nil, err
	}
	listings, err := d.ask(ctx)
	if err != nil {
		return nil, fmt.Errorf("client: discover: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, o.openWithin())
	defer cancel()
	d.look(ctx, text, listings)
	if len(d.offers) == 0 {
		return nil, fmt.Errorf("%w: %s", ErrNoTransport, strings.Join(d.refused, "; "))
	}
	return d, nil
}

// ask returns what the server lists.
func (d *discovery) ask(ctx context.Context) ([]listing, error) {
	var answer []byte
	fetch := func(ctx context.Context) (err error) {
		answer, err = d.fetch(ctx)
		return err
	}
	var err error
	if d.patient {
		err = persist(ctx, d.options.openWithin(), d.options.maxPause(), fetch)
	} else {
		ctx, cancel := context.WithTimeout(ctx, d.options.openWithin())
		defer cancel()
		err = fetch(ctx)
	}
	if err != nil {
		return nil, err
	}
	return d.read(answer)
}

// fetch asks once.
func (d *discovery) fetch(ctx context.Context) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.endpoint.base()+"/.well-known/gen-browser", nil)
	if err != nil {
		return nil, err
	}
	d.trusted = d.isProven(ctx)
	asking := d.asking()
	if asking != direct() && d.options.HTTP == nil {
		defer asking.CloseIdleConnections()
	}
	resp, err := asking.Do(req)
	if err != nil {
		return nil, withoutURL(err)
	}
	if err := refusal(resp); err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(io.LimitReader(resp.Body, maxDiscovery))
}

// read reads what the server says.
func (d *discovery) read(answer []byte) ([]listing, error) {
	var said struct {
		Protocol  int       `json:"protocol"`
		Name      string    `json:"name"`
		Prefix    string    `json:"prefix"`
		Listeners []listing `json:"listeners"`
	}
	if err := json.Unmarshal(answer, &said); err != nil {
		return nil, fmt.Errorf("the answer is not what a GenBrowser server says: %w", err)
	}
	if said.Protocol != 1 {
		return nil, fmt.Errorf("%w: it speaks protocol %d, this client 1", ErrOtherServer, said.Protocol)
	}
	if want := d.options.Name; want != "" && said.Name != want {
		return nil, fmt.Errorf("%w: its name is %q, want %q", ErrOtherServer, said.Name, want)
	}
	if !strings.HasPrefix(said.Prefix, "/") || strings.ContainsAny(said.Prefix, "?#%") {
		return nil, fmt.Errorf("the server says that its prefix is %q; want one such as /_gb", said.Prefix)
	}
	d.prefix = said.Prefix
	return said.Listeners[:min(len(said.Listeners), maxListings)], nil
}

// asking is what the question is sent with. There is no secret in it, so that it may go over plain TCP to anywhere and
// through proxies, if the answer is not trusted.
func (d *discovery) asking() *http.Client {
	if d.trusted || d.options.HTTP != nil {
		return d.httpFor(d.endpoint)
	}
	return direct()
}

// look makes offers of the endpoint and of what is listed.
func (d *discovery) look(ctx context.Context, text string, listings []listing) {
	own := listing{URL: text, Transport: map[string]string{"unix": "unix", "https": "tls", "http": "tcp"}[d.endpoint.scheme]}
	if i := slices.IndexFunc(listings, d.isOwn); i >= 0 {
		own.Transport, own.Machine = listings[i].Transport, listings[i].Machine
		listings = slices.DeleteFunc(listings, d.isOwn)
	}
	for i, l := range append([]listing{own}, listings...) {
		e, err := parseListing(l, i == 0)
		if err == nil {
			err = d.judge(ctx, l, e)
		}
		if err != nil {
			d.refused = append(d.refused, fmt.Sprintf("%s %s: %v", l.Transport, l.URL, err))
			continue
		}
		d.offers = append(d.offers, Offer{l.Transport, l.URL, machine.Same(l.Machine) || l.Transport == "unix"})
	}
}

// isOwn reports whether a listing is the endpoint that was asked.
func (d *discovery) isOwn(l listing) bool {
	e, err := parseListing(l, false)
	return err == nil && e.same(d.endpoint)
}

// parseListing returns an error unless the URL fits the transport. Only the caller's own may have a path.
func parseListing(l listing, own bool) (endpoint, error) {
	scheme, ok := map[string]string{"unix": "unix", "tcp": "http", "tls": "https", "mtls": "https"}[l.Transport]
	if !ok {
		return endpoint{}, fmt.Errorf("the transport is unknown")
	}
	u, err := url.Parse(l.URL)
	if err != nil || u.Scheme != scheme || !own && (u.User != nil || u.RawQuery != "" || u.Fragment != "") {
		return endpoint{}, fmt.Errorf("the URL does not fit the transport")
	}
	if !own && scheme != "unix" && u.Path != "" && u.Path != "/" {
		return endpoint{}, fmt.Errorf("the URL has a path")
	}
	return parseEndpoint(l.URL)
}

// judge returns why a listing can't be used.
func (d *discovery) judge(ctx context.Context, l listing, e endpoint) error {
	own := e.same(d.endpoint)
	switch {
	case own && e.scheme != "http": // it just was
		return d.certified(l)
	case !d.trusted && (e.scheme == "unix" || e.name() != d.endpoint.name()):
		return fmt.Errorf("the server was asked over plain TCP, and could be anybody")
	case l.Machine != "" && !machine.Same(l.Machine) && !own:
		return fmt.Errorf("it is on another machine")
	case e.scheme == "unix":
		return d.reachable(ctx, l, e)
	case e.isLoopback() && l.Machine == "" && e.name() != d.endpoint.name():
		return fmt.Errorf("it may be on another machine")
	case e.scheme == "http":
		return d.permitted(ctx, e)
	}
	return d.certified(l)
}

func (d *discovery) certified(l listing) error {
	if l.Transport == "mtls" && !d.options.hasCertificate() {
		return fmt.Errorf("needs a certificate in Options.TLS")
	}
	return nil
}

func (d *discovery) reachable(ctx context.Context, l listing, e endpoint) error {
	switch {
	case l.Machine == "":
		return fmt.Errorf("it does not say on which machine")
	case d.options.HTTP != nil:
		return fmt.Errorf("Options.HTTP can't reach a unix socket")
	}
	c, err := new(net.Dialer).DialContext(ctx, "unix", e.path)
	if err != nil {
		return err
	}
	return c.Close()
}

// isProven reports whether what answers at the endpoint, asked by httpFor, can only be the server.
func (d *discovery) isProven(ctx context.Context) bool {
	return d.endpoint.scheme != "http" || d.permitted(ctx, d.endpoint) == nil
}

// permitted returns an error unless plain TCP is allowed there. What a name stands for is looked at again by
// overPlain, when it connects.
func (d *discovery) permitted(ctx context.Context, e endpoint) error {
	networks := d.plainNetworks(e)
	refused := fmt.Errorf("plain TCP is not allowed there; see Options.AllowPlain")
	if len(networks) == 0 {
		return refused
	}
	if ip, err := netip.ParseAddr(e.name()); err == nil {
		if !within(networks, ip) {
			return refused
		}
		return nil
	}
	if d.options.HTTP != nil && !(e.same(d.endpoint) && e.isLoopback()) {
		return fmt.Errorf("with Options.HTTP nobody looks where %s is; want an address", e.name())
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", e.name())
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(ips, func(ip netip.Addr) bool { return within(networks, ip) }) {
		return refused
	}
	return nil
}

// plainNetworks are those where an endpoint may be reached over plain TCP.
func (d *discovery) plainNetworks(e endpoint) []netip.Prefix {
	if e.same(d.endpoint) && e.isLoopback() {
		return slices.Concat(d.options.AllowPlain, loopback)
	}
	return d.options.AllowPlain
}

// hasCertificate reports whether there is one to show to servers that ask.
func (o *Options) hasCertificate() bool {
	config := o.TLS
	if o.HTTP != nil {
		t, ok := o.HTTP.Transport.(*http.Transport)
		if !ok {
			return false
		}
		config = t.TLSClientConfig
	}
	return config != nil && (len(config.Certificates) > 0 || config.GetClientCertificate != nil)
}
