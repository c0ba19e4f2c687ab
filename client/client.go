package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/web/problem"
)

// Options configure a [Client]. The zero value will do.
type Options struct {
	Prefix string       // of the server's routes; "/_gb"
	HTTP   *http.Client // http.DefaultClient; its Timeout must be 0, for streams last
	// MaxEvent is the most bytes that one event of a stream may have; 8 MiB.
	MaxEvent int
	// MaxPause is the longest pause between two tries to reconnect; 20 s.
	MaxPause time.Duration
}

// Client sends messages and opens mailboxes at one server. Any number of goroutines may use it.
type Client struct {
	base     string
	http     *http.Client
	maxEvent int
	maxPause time.Duration
}

// New returns a client of the server at endpoint, such as "https://example.com". It does not connect yet.
func New(endpoint string, o Options) (*Client, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("client: endpoint %q: want a URL such as https://example.com", endpoint)
	}
	c := &Client{http: o.HTTP, maxEvent: o.MaxEvent, maxPause: o.MaxPause}
	if o.Prefix == "" {
		o.Prefix = "/_gb"
	}
	c.base = strings.TrimRight(u.Scheme+"://"+u.Host+u.Path, "/") + o.Prefix
	if c.http == nil {
		c.http = http.DefaultClient
	}
	if c.http.Timeout != 0 {
		return nil, errors.New("client: Options.HTTP has a Timeout, which would end every stream; use contexts instead")
	}
	if c.maxEvent == 0 {
		c.maxEvent = 8 << 20
	}
	if c.maxPause == 0 {
		c.maxPause = 20 * time.Second
	}
	return c, nil
}

// Send sends body, which is marshalled to JSON, to a mailbox or process. It returns once the server accepted
// the message. The errors are [*problem.Problem] where the server answered.
func (c *Client) Send(ctx context.Context, to address.Address, body any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("client: send: %w", err)
	}
	resp, err := c.do(ctx, http.MethodPost, "/send/"+to.String(), address.Key{}, "application/json", b)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// do makes a request whose success is any 2xx; another answer is its problem. The caller closes the body.
func (c *Client) do(ctx context.Context, method, path string, key address.Key, mediaType string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	if mediaType != "" {
		req.Header.Set("Content-Type", mediaType)
	}
	if !key.IsZero() {
		req.Header.Set("Authorization", "Bearer "+key.Reveal())
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	if err := refusal(resp); err != nil {
		return nil, err
	}
	return resp, nil
}

// refusal reads and closes an answer that is no success.
func refusal(resp *http.Response) error {
	if resp.StatusCode/100 == 2 {
		return nil
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	return problem.Parse(resp.StatusCode, body)
}
