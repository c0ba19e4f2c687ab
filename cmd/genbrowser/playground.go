package main

import (
	"context"
	"errors"
	"net/http"

	pages "github.com/genbrowser/genbrowser/examples/playground"
	"github.com/genbrowser/genbrowser/server"
)

type playground struct{ flags }

// Run serves the pages beside the protocol until ctx ends.
func (c *playground) Run(ctx context.Context) error {
	if c.Prefix != "/_gb" {
		return errors.New("--prefix: the playground's pages are written for /_gb; genbrowser serve takes another")
	}
	return c.run(ctx, func(office *server.Server, gb http.Handler) (http.Handler, error) {
		return pages.New(office, gb)
	})
}
