package client

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/internal/options"
	"github.com/genbrowser/genbrowser/web/problem"
)

// Options configure a [Client]. The zero value will do.
type Options struct {
	Prefix string // of the server's routes; "/_gb"
	// HTTP is one that follows no redirects. Its Timeout must be 0, for streams last; and its Transport's
	// HTTP2.SendPingTimeout should not be, or a dead connection of HTTP/2 may be kept for a quarter of an hour.
	HTTP *http.Client
	// TLS is for https endpoints: whom to trust, and the certificate to show to mtls listeners; the system's roots, and
	// none. Not with HTTP, whose transport has its own.
	TLS *tls.Config
	// Name is for Connect, Discover and Dial: the name that the server must have, by its operator's --name. What has
	// another one is refused with [ErrOtherServer]; empty: any will do.
	Name string
	// Select is for Connect: it chooses one of the offers, at least one, and returns it as it is, or an error; DefaultSelect.
	Select func(offers []Offer) (Offer, error)
	// AllowPlain is for Connect and Discover: the networks in which plain TCP may be used; none. What is sent there,
	// keys included, everybody on the way can read.
	AllowPlain []netip.Prefix
	// OpenWithin is how long Open and Dial try to reach a server that is not there, or not ready; 15 s.
	OpenWithin time.Duration
	// MaxPause bounds the random pause between two tries to reconnect; 20 s. The server may ask for more.
	MaxPause time.Duration
	// MaxEvent is the most bytes that one event of a stream may have; 8 MiB. A longer one ends Messages with an
	// error, for it would come again and again.
	MaxEvent int
}

// Client sends messages and opens mailboxes at one server. Any number of goroutines may use it.
type Client struct {
	base       string
	http       *http.Client
	openWithin time.Duration
	maxPause   time.Duration
	maxEvent   int
}

// New returns a client of the server at endpoint, such as "https://example.com" or "unix:///run/gb.sock". It does not
// connect yet. [Connect] asks the server first how best to.
func New(endpoint string, o Options) (*Client, error) {
	e, err := parseEndpoint(endpoint)
	if err != nil {
		return nil, err
	}
	h, err := o.httpFor(e)
	if err != nil {
		return nil, err
	}
	return o.client(e, h)
}

// client returns one that makes its requests with h.
func (o *Options) client(e endpoint, h *http.Client) (*Client, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	c := &Client{http: h, openWithin: o.openWithin(), maxPause: o.maxPause(), maxEvent: 8 << 20}
	prefix := "/_gb"
	if o.Prefix != "" {
		prefix = strings.TrimRight(o.Prefix, "/")
	}
	c.base = e.base() + prefix
	if o.MaxEvent > 0 {
		c.maxEvent = o.MaxEvent
	}
	return c, nil
}

func (o *Options) check() error {
	if err := options.NotNegative(*o); err != nil {
		return fmt.Errorf("client: Options.%w", err)
	}
	if h := cmp.Or(o.HTTP, http.DefaultClient); h.Timeout != 0 {
		return errors.New("client: Options.HTTP has a Timeout, which would end every stream; use contexts instead")
	}
	return nil
}

func (o *Options) openWithin() time.Duration { return cmp.Or(o.OpenWithin, 15*time.Second) }

func (o *Options) maxPause() time.Duration { return cmp.Or(o.MaxPause, 20*time.Second) }

// Send sends body, which is marshalled to JSON, to a mailbox or process. It returns once the server accepted
// the message, and tries once. What the server refuses is a [*problem.Problem]; after any other error the
// message may have arrived or not, which [Client.SendMany] with an ID makes harmless to repeat.
func (c *Client) Send(ctx context.Context, to address.Address, body any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("client: send: %w", err)
	}
	return c.done(ctx, http.MethodPost, "/send/"+to.String(), address.Key{}, b, http.StatusAccepted)
}

// done makes a request that is done if it is answered with that status. Another success is not the server's: a page to
// log in at answers 200.
func (c *Client) done(ctx context.Context, method, path string, key address.Key, body []byte, status int) error {
	resp, err := c.do(ctx, method, path, key, body)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != status {
		return stranger(resp)
	}
	return nil
}

// stranger is the error of a success that is not the server's.
func stranger(resp *http.Response) error {
	return fmt.Errorf("client: somebody answers in the server's place: %s %s", resp.Status, resp.Header.Get("Content-Type"))
}

// do makes a request whose success is any 2xx; another answer is its problem. A body is JSON, nil is none. The
// caller closes the answer's body.
func (c *Client) do(ctx context.Context, method, path string, key address.Key, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if !key.IsZero() {
		req.Header.Set("Authorization", "Bearer "+key.Reveal())
	}
	resp, err := c.http.Do(req)
	for tries := 1; err != nil && errors.Is(err, context.Canceled) && ctx.Err() == nil; tries++ {
		// net/http may end a request for another one's context, which had the connection just before
		if method == http.MethodPost || tries > 3 {
			return nil, fmt.Errorf("client: %w", io.ErrUnexpectedEOF)
		}
		if req.GetBody != nil {
			if req.Body, err = req.GetBody(); err != nil {
				return nil, fmt.Errorf("client: %w", err)
			}
		}
		resp, err = c.http.Do(req)
	}
	if err != nil {
		return nil, fmt.Errorf("client: %w", withoutURL(err))
	}
	if err := refusal(resp); err != nil {
		return nil, err
	}
	return resp, nil
}

// withoutURL takes the URL out of an error, for who reads it in a log should not be able to send.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// maxRefusal is how much is read of an answer that is no success: enough for one that echoes a message.
const maxRefusal = 1 << 20

// refusal reads and closes an answer that is no success.
func refusal(resp *http.Response) error {
	if resp.StatusCode/100 == 2 {
		return nil
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
	p := problem.Parse(resp.StatusCode, body)
	if p.RetryAfter == 0 { // a proxy's answer
		p.RetryAfter = retryAfter(resp.Header.Get("Retry-After"))
	}
	return p
}

// retryAfter reads the header of RFC 9110 §10.2.3: seconds or a date; 0 if it is neither.
func retryAfter(text string) time.Duration {
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}
