package main

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

type healthcheck struct {
	URL string `arg:"" optional:"" help:"The server." default:"http://127.0.0.1:8080"`
}

func (c *healthcheck) Run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL+"/readyz", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %s", resp.Status)
	}
	return nil
}
