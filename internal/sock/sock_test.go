package sock_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/internal/sock"
)

// each runs a test with both ends of a connection, of each kind. What is tested is the first one.
func each(t *testing.T, test func(t *testing.T, c, peer net.Conn)) {
	for network, address := range map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "s")} {
		t.Run(network, func(t *testing.T) {
			l, err := net.Listen(network, address)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			peer, err := net.Dial(network, l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer peer.Close()
			c, err := sock.Listener(l).Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			test(t, c, peer)
		})
	}
}

// A connection carries much both ways at once, and ends.
func TestCarries(t *testing.T) {
	each(t, func(t *testing.T, c, peer net.Conn) {
		random := rand.NewChaCha8([32]byte{1})
		there, back := make([]byte, 8<<20), make([]byte, 8<<20)
		random.Read(there)
		random.Read(back)
		var both sync.WaitGroup
		for _, x := range []struct {
			from, to net.Conn
			b        []byte
		}{{c, peer, there}, {peer, c, back}} {
			both.Go(func() {
				n, err := x.from.Write(x.b)
				if n != len(x.b) || err != nil {
					t.Errorf("wrote %d of %d: %v", n, len(x.b), err)
				}
				x.from.(interface{ CloseWrite() error }).CloseWrite()
			})
			both.Go(func() {
				if got, err := io.ReadAll(x.to); err != nil || !bytes.Equal(got, x.b) {
					t.Errorf("read %d bytes of %d, or others: %v", len(got), len(x.b), err)
				}
			})
		}
		both.Wait()
		if n, err := c.Read(nil); n != 0 || err != nil {
			t.Errorf("reading nothing gives %d, %v", n, err)
		}
		if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("reading more gives %d, %v", n, err)
		}
	})
}

// What fails gives the error that it gives without us.
func TestErrors(t *testing.T) {
	full := make([]byte, 16<<20)
	for name, of := range map[string]struct {
		is error
		do func(c, peer net.Conn) error
	}{
		"a read after its deadline": {os.ErrDeadlineExceeded, func(c, _ net.Conn) error {
			c.SetReadDeadline(time.Unix(1, 0))
			_, err := c.Read(make([]byte, 1))
			return err
		}},
		"a read until its deadline": {os.ErrDeadlineExceeded, func(c, _ net.Conn) error {
			c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
			_, err := c.Read(make([]byte, 1))
			return err
		}},
		"a write after its deadline": {os.ErrDeadlineExceeded, func(c, _ net.Conn) error {
			c.SetWriteDeadline(time.Unix(1, 0))
			_, err := c.Write(full[:1])
			return err
		}},
		"a write until its deadline": {os.ErrDeadlineExceeded, func(c, _ net.Conn) error {
			c.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
			_, err := c.Write(full)
			return err
		}},
		"a read of what is closed": {net.ErrClosed, func(c, _ net.Conn) error {
			c.Close()
			_, err := c.Read(make([]byte, 1))
			return err
		}},
		"a write to what is closed": {net.ErrClosed, func(c, _ net.Conn) error {
			c.Close()
			_, err := c.Write(full[:1])
			return err
		}},
		"a write to nobody": {syscall.EPIPE, func(c, peer net.Conn) error {
			c.(interface{ CloseWrite() error }).CloseWrite()
			_, err := c.Write(full[:1])
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, c, peer net.Conn) {
				err := of.do(c, peer)
				var at *net.OpError
				if !errors.Is(err, of.is) || !errors.As(err, &at) || at.Net != c.LocalAddr().Network() {
					t.Fatalf("%#v, want %v at %v", err, of.is, c.LocalAddr())
				}
				bare, other := pair(t, c.LocalAddr().Network())
				want := of.do(bare, other)
				var usual *net.OpError
				if !errors.As(want, &usual) || at.Op != usual.Op || reflect.TypeOf(at.Err) != reflect.TypeOf(usual.Err) {
					t.Errorf("%#v, without us %#v", at, usual)
				}
			})
		})
	}
}

// pair returns both ends of a connection that we have nothing to do with.
func pair(t testing.TB, network string) (c, peer net.Conn) {
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(t.TempDir(), "s")
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if peer, err = net.Dial(network, l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if c, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); peer.Close() })
	return c, peer
}

// Closing ends a read that waits.
func TestCloseWhileReading(t *testing.T) {
	each(t, func(t *testing.T, c, peer net.Conn) {
		read := make(chan error)
		go func() {
			b := make([]byte, 2)
			if _, err := io.ReadFull(c, b[:1]); err != nil {
				t.Error(err)
			}
			read <- nil
			_, err := c.Read(b)
			read <- err
		}()
		peer.Write([]byte("x"))
		<-read
		c.Close()
		if err := <-read; !errors.Is(err, net.ErrClosed) {
			t.Errorf("%v, want %v", err, net.ErrClosed)
		}
	})
}

// What is no socket is left as it is, and so is what is around one, which reads and writes in its own way.
func TestOthers(t *testing.T) {
	c, _ := net.Pipe()
	defer c.Close()
	tcp, _ := pair(t, "tcp")
	unix, _ := pair(t, "unix")
	for _, c := range []net.Conn{c, struct{ *net.TCPConn }{tcp.(*net.TCPConn)}, struct{ *net.UnixConn }{unix.(*net.UnixConn)}, sock.Conn(tcp)} {
		if got := sock.Conn(c); got != c {
			t.Errorf("of %T it makes %T", c, got)
		}
		if sock.Raw(c) != nil {
			t.Errorf("it reads and writes for %T", c)
		}
	}
}

// A read or a write allocates nothing.
func TestAllocates(t *testing.T) {
	each(t, func(t *testing.T, c, peer net.Conn) {
		b, got := []byte("x"), make([]byte, 1)
		if n := testing.AllocsPerRun(100, func() {
			c.Write(b)
			peer.Read(got)
			peer.Write(b)
			c.Read(got)
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}

// BenchmarkConn is a message of 200 bytes and its answer.
func BenchmarkConn(b *testing.B) {
	for _, kind := range []string{"net", "sock"} {
		b.Run("of="+kind, func(b *testing.B) {
			c, peer := pair(b, "tcp")
			if kind == "sock" {
				c, peer = sock.Conn(c), sock.Conn(peer)
			}
			go io.Copy(struct{ io.Writer }{peer}, struct{ io.Reader }{peer})
			m := make([]byte, 200)
			b.ReportAllocs()
			for b.Loop() {
				c.Write(m)
				io.ReadFull(c, m)
			}
		})
	}
}

// TryWrite writes as much as the system takes at once, however much that is, and no more.
func TestTryWrite(t *testing.T) {
	if !sock.CanTry {
		t.Skip("it is not for this system")
	}
	c, peer := pair(t, "unix")
	c.(*net.UnixConn).SetWriteBuffer(512 << 10) // which the system may take for less
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 16<<20)
	var wrote int
	try := func(fd uintptr) { wrote, err = sock.TryWrite(fd, b) }
	if raw.Control(try); err != nil || wrote < 100<<10 || wrote == len(b) {
		t.Fatalf("wrote %d bytes of %d: %v", wrote, len(b), err)
	}
	all := wrote
	if raw.Control(try); err != nil || wrote != 0 {
		t.Errorf("wrote %d bytes where there was no room: %v", wrote, err)
	}
	if n, err := io.ReadFull(peer, b[:all]); err != nil {
		t.Errorf("%d bytes arrived of %d: %v", n, all, err)
	}
}
