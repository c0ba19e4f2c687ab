package main

import (
	"context"
	"net/http"

	pages "github.com/genbrowser/genbrowser/examples/playground"
	"github.com/genbrowser/genbrowser/server"
)

type playground struct{ flags }

// Run serves the pages beside the protocol until ctx ends.
func (c *playground) Run(ctx context.Context) error {
	return c.run(ctx, func(office *server.Server, gb http.Handler) (http.Handler, error) {
		return pages.New(office, gb)
	})
}
