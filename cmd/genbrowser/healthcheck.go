package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

type healthcheck struct {
	URL    string   `arg:"" optional:"" help:"The server, an http:// or https:// URL; default: the first tcp listener of --listen, on this machine."`
	Listen []string `help:"Where the server listens." default:"tcp4://127.0.0.1:8080" sep:"," placeholder:"URL"`
}

// Run asks once; whoever calls it asks again.
func (c *healthcheck) Run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	server, err := c.server()
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, server+"/readyz", nil)
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

func (c *healthcheck) server() (string, error) {
	if c.URL != "" {
		return strings.TrimRight(c.URL, "/"), nil
	}
	for _, spec := range c.Listen {
		u, err := url.Parse(spec)
		if err != nil || !strings.HasPrefix(u.Scheme, "tcp") {
			continue
		}
		host := u.Hostname()
		switch { // by number: an empty root directory knows no names
		case host != "" && host != "0.0.0.0" && host != "::":
		case u.Scheme == "tcp6":
			host = "::1"
		default:
			host = "127.0.0.1"
		}
		return "http://" + net.JoinHostPort(host, u.Port()), nil
	}
	return "", fmt.Errorf("no tcp listener among %s; give the server's URL", strings.Join(c.Listen, ","))
}
