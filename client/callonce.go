package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/web/problem"
)

const (
	usualCall   = 10 * time.Second
	longestCall = time.Minute
	callGrace   = 2 * time.Second // for the server to say itself that no reply came
)

// Call sends body to a mailbox or process that answers calls, in one request that waits for the reply, and unmarshals
// that into result, unless it is nil. It needs no mailbox; [Peer.Call] outlives broken connections and costs less. It
// waits until ctx's deadline, but a minute at most, or 10 s if there is none. Errors are those of [Peer.Call].
func (c *Client) Call(ctx context.Context, to address.Address, body, result any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("client: call: %w", err)
	}
	timeout := usualCall
	if deadline, ok := ctx.Deadline(); ok {
		timeout = max(time.Millisecond, min(longestCall, time.Until(deadline)))
	}
	ctx, cancel := context.WithTimeout(ctx, timeout+callGrace)
	defer cancel()
	reply, err := c.callOnce(ctx, fmt.Sprintf("/call/%v?timeout=%dms", to, timeout.Milliseconds()), b)
	if err != nil {
		if ctx.Err() == context.DeadlineExceeded {
			return &problem.Problem{Kind: problem.CallTimeout, Detail: "the call may have been handled"}
		}
		return err
	}
	m := Message{Kind: "reply", Body: reply}
	return m.result(result)
}

// callOnce makes the request, and returns the reply that answers it.
func (c *Client) callOnce(ctx context.Context, path string, body []byte) ([]byte, error) {
	resp, err := c.do(ctx, http.MethodPost, path, address.Key{}, body)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if typ, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); resp.StatusCode != http.StatusOK || typ != "application/json" {
		return nil, stranger(resp)
	}
	reply, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("client: call: %w", err)
	}
	return reply, nil
}
