package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
)

// listener is one of --listen, and how a client calls it.
type listener struct {
	net.Listener
	socket *draining // beneath TLS, if there is that
	url    string
}

// listenAll opens every listener of the list. One that fails is reported and skipped; all failing is an error.
func listenAll(specs []string, config *tls.Config, log *slog.Logger) ([]listener, error) {
	var opened []listener
	var failed []error
	for _, spec := range specs {
		l, err := listen(spec, config)
		if err != nil {
			log.Error("cannot listen", "on", spec, "error", err)
			failed = append(failed, err)
			continue
		}
		opened = append(opened, l)
	}
	if len(opened) == 0 {
		return nil, fmt.Errorf("no listener could be opened: %w", errors.Join(failed...))
	}
	return opened, nil
}

func listen(spec string, config *tls.Config) (listener, error) {
	u, err := url.Parse(spec)
	if err != nil || u.Scheme == "" {
		return listener{}, fmt.Errorf("--listen %q: want a URL such as tcp4://127.0.0.1:8080, tcp6://[::1]:8080, tls://:8443 or unix:///run/gb.sock", spec)
	}
	switch u.Scheme {
	case "tcp", "tcp4", "tcp6":
		return listenOn(u.Scheme, u.Host, "http://")
	case "tls":
		if config == nil {
			return listener{}, fmt.Errorf("--listen %q: needs --tls-cert and --tls-key, or --acme-domain", spec)
		}
		l, err := listenOn("tcp", u.Host, "https://")
		if err == nil {
			l.Listener = tls.NewListener(l.socket, config)
		}
		return l, err
	case "unix":
		if err := removeStale(u.Path); err != nil {
			return listener{}, err
		}
		return listenOn("unix", u.Path, "unix://")
	}
	return listener{}, fmt.Errorf("--listen %q: scheme %q; want tcp, tcp4, tcp6, tls or unix", spec, u.Scheme)
}

func listenOn(network, address, scheme string) (listener, error) {
	l, err := net.Listen(network, address)
	if err != nil {
		return listener{}, err
	}
	socket := &draining{deadliner: l.(deadliner)}
	return listener{socket, socket, scheme + callable(l.Addr())}, nil
}

// removeStale removes a socket that a server left behind which was killed, and nothing else.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != os.ModeSocket {
		return nil
	}
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
		return fmt.Errorf("%s: another server listens there", path)
	}
	return os.Remove(path)
}

// callable is an address that a client on this machine can call.
func callable(a net.Addr) string {
	host, port, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}
