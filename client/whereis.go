package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/genbrowser/genbrowser/address"
)

// Whereis returns the address of the process that the server's operator exported under a name, 1 to 128 of
// A-Z a-z 0-9 . _ ~ : @ / - without . or .. between slashes, or that was registered under it, as by [Peer.Register]. If
// there is none, the error is a [*problem.Problem] of kind NotExported.
func (c *Client) Whereis(ctx context.Context, name string) (address.Address, error) {
	if err := checkName("whereis", name); err != nil {
		return address.Address{}, err
	}
	resp, err := c.do(ctx, http.MethodGet, "/whereis/"+name, address.Key{}, nil)
	if err != nil {
		return address.Address{}, err
	}
	defer resp.Body.Close()
	var found struct {
		Address address.Address `json:"address"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&found); err != nil {
		return address.Address{}, fmt.Errorf("client: whereis %q: %w", name, err)
	}
	return found.Address, nil
}

// checkName refuses what can be no name in a URL: of . and .. a proxy on the way makes another route.
func checkName(doing, name string) error {
	isDots := func(segment string) bool { return segment == "." || segment == ".." }
	if !address.ValidName(name) || slices.ContainsFunc(strings.Split(name, "/"), isDots) {
		return fmt.Errorf("client: %s %q: want 1 to %d of A-Z a-z 0-9 . _ ~ : @ / -, with neither . nor .. between slashes", doing, name, address.MaxName)
	}
	return nil
}
