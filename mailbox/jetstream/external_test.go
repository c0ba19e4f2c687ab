package jetstream

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/genbrowser/genbrowser/internal/standstill"
	"github.com/genbrowser/genbrowser/internal/testport"
)

// counting is a dialer of a caller's.
type counting struct{ dials atomic.Int64 }

func (c *counting) Dial(network, address string) (net.Conn, error) {
	c.dials.Add(1)
	return net.Dial(network, address)
}

// A caller's own dialer is the one that dials.
func TestCallersDialer(t *testing.T) {
	server := external(t, t.TempDir(), testport.Port(t))
	var own counting
	mustOpen(t, Options{URLs: []string{server.ClientURL()}, NATS: []nats.Option{nats.SetCustomDialer(&own)}})
	if n := own.dials.Load(); n != 1 {
		t.Errorf("it dialled %d times, want once", n)
	}
}

// TestFailedWrite holds that a connection is closed if something can't be written, even if that is nothing of it.
func TestFailedWrite(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := dialer{timeout: 10 * time.Second}.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetWriteDeadline(time.Unix(1, 0))
	if n, err := c.Write([]byte("x")); n != 0 || err == nil {
		t.Fatalf("wrote %d bytes after the deadline, %v", n, err)
	}
	c.SetReadDeadline(time.Unix(1, 0))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read: %v, want %v", err, net.ErrClosed)
	}
}

// hole is a network that drops everything while it is locked.
type hole struct {
	sync.RWMutex
	net.Listener
	to       string
	finished sync.WaitGroup
}

func startHole(t *testing.T, to string) *hole {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &hole{Listener: l, to: to}
	h.finished.Go(func() { h.run(t.Context()) })
	t.Cleanup(func() { l.Close(); h.finished.Wait() })
	return h
}

func (h *hole) run(ctx context.Context) {
	for {
		client, err := h.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", h.to)
		if err != nil {
			client.Close()
			continue
		}
		context.AfterFunc(ctx, func() { client.Close() }) // nats.go does not close those that never said anything
		h.finished.Go(func() { h.pass(client, server) })
		h.finished.Go(func() { h.pass(server, client) })
	}
}

func (h *hole) pass(to, from net.Conn) {
	defer to.Close()
	for b := make([]byte, 64<<10); ; {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		h.RLock()
		_, err = to.Write(b[:n])
		h.RUnlock()
		if err != nil {
			return
		}
	}
}

// TestNoJetStream: who waits for a NATS that has none is told so.
func TestNoJetStream(t *testing.T) {
	t.Parallel()
	url := externalWith(t, natsserver.Options{Port: natsserver.RANDOM_PORT}).ClientURL()
	told := make(chan string, 100)
	waits, cancel := context.WithCancel(within(t))
	ended := make(chan error, 1)
	go func() {
		_, err := Open(waits, Options{URLs: []string{url}, Logger: slog.New(slog.NewTextHandler(telling(told), nil))})
		ended <- err
	}()
	if got := <-told; !strings.Contains(got, "level=WARN") || !strings.Contains(got, "is it enabled?") {
		t.Errorf("told %s", got)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("opened: %v", err)
	}
}

// telling is a writer to a channel.
type telling chan<- string

func (t telling) Write(b []byte) (int, error) {
	t <- string(b)
	return len(b), nil
}

// TestHole holds that an Append ends soon after its context does, though the network drops everything and all buffers are
// full; and that the log goes on when it no longer does.
func TestHole(t *testing.T) {
	server := external(t, t.TempDir(), testport.Port(t))
	h := startHole(t, server.Addr().String())
	l := mustOpen(t, Options{URLs: []string{"nats://" + h.Addr().String()}})
	mustAppend(t, l, "before")
	h.Lock()
	var filled sync.WaitGroup
	filled.Go(func() {
		for l.Conn().Publish("elsewhere", make([]byte, 512<<10)) == nil {
		}
	})
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		running := standstill.Start(t)
		_, err := l.Append(ctx, []byte("into the hole"))
		if took := running.Elapsed(); took > 3*time.Second || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("append took %v: %v, want %v in a second", took, err, context.DeadlineExceeded)
		}
		cancel()
	}
	filled.Wait()
	h.Unlock()
	mustAppend(t, l, "into the hole")
	if got := entries(t, l); len(got) != 2 {
		t.Errorf("%d entries are stored, want 2", len(got))
	}
}
