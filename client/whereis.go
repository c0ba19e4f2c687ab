package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/genbrowser/genbrowser/address"
)

// Whereis returns the address of the process that the server's operator exported under a name, or that was
// registered under it, as by [Peer.Register]. A name is [address.NameForm]. If there is none, the error is a [*problem.Problem] of kind NotExported.
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

// checkName refuses what is no name, which could be the way to another route.
func checkName(doing, name string) error {
	if !address.ValidName(name) {
		return fmt.Errorf("client: %s %q: want %s", doing, name, address.NameForm)
	}
	return nil
}
