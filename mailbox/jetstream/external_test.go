package jetstream

import (
	"net"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"

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
