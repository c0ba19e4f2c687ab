package jetstream

import (
	"context"
	"net"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/genbrowser/genbrowser/internal/sock"
)

const dialTimeout = 5 * time.Second

// openExternal connects to a NATS that runs elsewhere. The first connection must succeed, so that a wrong URL is
// noticed; a lost one is sought again for ever.
func openExternal(ctx context.Context, options Options) (*Log, error) {
	how := []nats.Option{
		nats.Timeout(dialTimeout),
		nats.SetCustomDialer(dialer{}),
		nats.ReconnectWait(200 * time.Millisecond),
		nats.ReconnectJitter(200*time.Millisecond, time.Second),
		nats.PingInterval(10 * time.Second), // a server that vanished without a word
		nats.MaxPingsOutstanding(2),
	}
	l := newLog(options)
	if err := l.connect(ctx, options, strings.Join(options.URLs, ","), append(how, options.NATS...)...); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// dialer makes connections that cost a node less while it has little to do.
type dialer struct{}

func (dialer) Dial(network, address string) (net.Conn, error) {
	c, err := net.DialTimeout(network, address, dialTimeout)
	if err != nil {
		return nil, err
	}
	return sock.Conn(c), nil
}
