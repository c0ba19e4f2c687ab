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
	path := fmt.Sprintf("/call/%v?timeout=%dms", to, timeout.Milliseconds())
	resp, err := c.do(ctx, http.MethodPost, path, address.Key{}, b)
	if err != nil {
		if ctx.Err() == context.DeadlineExceeded {
			return &problem.Problem{Kind: problem.CallTimeout, Detail: "the call may have been handled"}
		}
		return err
	}
	defer resp.Body.Close()
	if typ, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); resp.StatusCode != http.StatusOK || typ != "application/json" {
		return stranger(resp)
	}
	reply, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("client: call: %w", err)
	}
	m := Message{Kind: "reply", Body: reply}
	return m.result(result)
}
