package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strconv"
	"syscall"

	"github.com/genbrowser/genbrowser/internal/sock"
)

// listener is one of --listen, and how a client calls it.
type listener struct {
	net.Listener
	socket    *draining // beneath TLS, if there is that
	transport string    // tcp, tls, mtls or unix
	family    string    // of its addresses: tcp, tcp4 or tcp6; unix
	url       string
	exports   names // that its clients find; nil: all
	registers names // that they may register
}

// listenAll opens every listener of the list. One that fails is reported and skipped; all failing is an error.
func listenAll(specs []string, configs tlsConfigs, log *slog.Logger) ([]listener, error) {
	var opened []listener
	var failed []error
	for _, spec := range splitListeners(specs) {
		l, err := listen(spec, configs)
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

// isMutual reports whether a listener asks clients for certificates.
func isMutual(spec string) bool {
	u, err := url.Parse(spec)
	return err == nil && u.Scheme == "mtls"
}

func listen(spec string, configs tlsConfigs) (listener, error) {
	u, err := url.Parse(spec)
	if err != nil || u.Scheme == "" {
		return listener{}, fmt.Errorf("--listen %q: want a URL such as tcp4://127.0.0.1:8080, tcp6://[::1]:8080, tls://:8443, mtls://:8444 or unix:///run/gb.sock", spec)
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return listener{}, fmt.Errorf("--listen %q: %w", spec, err)
	}
	found, err := parseNames(query, "export")
	if err != nil {
		return listener{}, fmt.Errorf("--listen %q: %w", spec, err)
	}
	given, err := parseNames(query, "register")
	if err != nil {
		return listener{}, fmt.Errorf("--listen %q: %w", spec, err)
	}
	l, err := listenAt(spec, u, query, configs)
	l.exports, l.registers = found, given
	return l, err
}

func listenAt(spec string, u *url.URL, query url.Values, configs tlsConfigs) (listener, error) {
	if u.Scheme != "unix" && (len(query) > 0 || u.Path != "" && u.Path != "/") {
		return listener{}, fmt.Errorf("--listen %q: want nothing after %s://HOST:PORT but ?export=NAME,… and register=NAME,…", spec, u.Scheme)
	}
	switch u.Scheme {
	case "tcp", "tcp4", "tcp6":
		return listenTCP("tcp", u.Scheme, u.Host, nil)
	case "tls":
		if configs.tls == nil {
			return listener{}, fmt.Errorf("--listen %q: needs --tls-cert and --tls-key, or --acme-domain", spec)
		}
		return listenTCP("tls", "tcp", u.Host, configs.tls)
	case "mtls":
		if configs.mtls == nil {
			return listener{}, fmt.Errorf("--listen %q: needs --tls-client-ca, and --tls-cert and --tls-key, or --acme-domain", spec)
		}
		return listenTCP("mtls", "tcp", u.Host, configs.mtls)
	case "unix":
		mode, err := socketMode(u, query)
		if err != nil {
			return listener{}, fmt.Errorf("--listen %q: %w", spec, err)
		}
		return listenUnix(u.Path, mode)
	}
	return listener{}, fmt.Errorf("--listen %q: scheme %q; want tcp, tcp4, tcp6, tls, mtls or unix", spec, u.Scheme)
}

// listenTCP speaks TLS if there is a config.
func listenTCP(transport, family, address string, config *tls.Config) (listener, error) {
	l, err := net.Listen(family, address)
	if err != nil {
		return listener{}, err
	}
	socket := &draining{deadliner: l.(deadliner)}
	if config == nil {
		return listener{Listener: socket, socket: socket, transport: transport, family: family, url: "http://" + callable(l.Addr())}, nil
	}
	return listener{Listener: tls.NewListener(sock.Listener(socket), config), socket: socket, transport: transport, family: family, url: "https://" + callable(l.Addr())}, nil
}

// socketMode reads ?mode=0660, the permissions of a socket: who may write may connect. By default that is the server's
// own user.
func socketMode(u *url.URL, query url.Values) (fs.FileMode, error) {
	text := query.Get("mode")
	switch {
	case u.Host != "" || u.Path == "":
		return 0, errors.New("want an absolute path, such as unix:///run/gb.sock")
	case len(query) > 1 || len(query) == 1 && len(query["mode"]) != 1:
		return 0, errors.New("want nothing after the path but ?mode=0660, export=NAME,… and register=NAME,…")
	case len(query) == 0:
		return 0o600, nil
	}
	mode, err := strconv.ParseUint(text, 8, 32)
	if err != nil || mode > 0o777 {
		return 0, fmt.Errorf("mode %q: want permissions in octal, such as 0660", text)
	}
	return fs.FileMode(mode), nil
}

func listenUnix(path string, mode fs.FileMode) (listener, error) {
	if err := removeStale(path); err != nil {
		return listener{}, err
	}
	l, err := listenPrivately(path)
	if err != nil {
		return listener{}, err
	}
	if err := os.Chmod(path, mode); err != nil {
		l.Close()
		return listener{}, err
	}
	socket := &draining{deadliner: l.(deadliner)}
	return listener{Listener: socket, socket: socket, transport: "unix", family: "unix", url: (&url.URL{Scheme: "unix", Path: path}).String()}, nil
}

// refusedOnWindows is WSAECONNREFUSED.
const refusedOnWindows = syscall.Errno(10061)

// removeStale removes a socket that a server left behind which was killed, and nothing else.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != os.ModeSocket {
		return nil
	}
	c, err := net.Dial("unix", path)
	switch {
	case err == nil:
		c.Close()
		return fmt.Errorf("%s: another server listens there", path)
	case !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, refusedOnWindows): // of another user, of another kind, or busy: somebody may listen there
		return err
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
