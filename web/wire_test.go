package web

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"testing"
)

// veiled is a connection as encryption is put around one: a socket by its other methods.
type veiled struct{ *net.TCPConn }

func (v veiled) Read(b []byte) (int, error) {
	n, err := v.TCPConn.Read(b)
	veil(b[:n])
	return n, err
}

func (v veiled) Write(b []byte) (int, error) {
	b = bytes.Clone(b)
	veil(b)
	return v.TCPConn.Write(b)
}

func (v veiled) ReadFrom(r io.Reader) (int64, error) { return io.Copy(struct{ io.Writer }{v}, r) }

func veil(b []byte) {
	for i := range b {
		b[i] ^= 0x55
	}
}

type veiling struct{ net.Listener }

func (l veiling) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return veiled{c.(*net.TCPConn)}, nil
}

// What reads and writes in its own way is never passed by: neither by the listeners, nor by a stream.
func TestWrappedConnections(t *testing.T) {
	for name, around := range map[string]func(h *Handler, l net.Listener, srv *http.Server) net.Listener{
		"net/http": func(_ *Handler, l net.Listener, _ *http.Server) net.Listener { return l },
		"plain":    func(_ *Handler, l net.Listener, _ *http.Server) net.Listener { return NewListener(l) },
		"fast":     (*Handler).FastLane,
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, setup{})
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			srv := &http.Server{Handler: s.gb, ConnContext: ConnContext}
			go srv.Serve(around(s.gb, veiling{l}, srv))
			defer srv.Close()
			s.srv.URL = "http://" + l.Addr().String()
			s.srv.Client().Transport.(*http.Transport).DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
				c, err := new(net.Dialer).DialContext(ctx, network, address)
				if err != nil {
					return nil, err
				}
				return veiled{c.(*net.TCPConn)}, nil
			}
			e := s.stream("/_gb/mailbox?new")
			box := e.init()
			s.mustSend(box.Address, `"one"`, quoted(60_000), `"two"`)
			e.expect(`"one"`, quoted(60_000), `"two"`)
		})
	}
}
