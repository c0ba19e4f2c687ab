package jetstream

import (
	"cmp"
	"context"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/genbrowser/genbrowser/internal/sock"
)

// writeTimeout is how long what is written may find no room, as where a network drops everything. nats.go waits for it with the
// lock that all calls need, and for a minute by default. One write is a message, and what gathered before it.
const writeTimeout = time.Second

// openExternal connects to a NATS that runs elsewhere. The first connection must succeed, so that a wrong URL is
// noticed; a lost one is sought again for ever.
func openExternal(ctx context.Context, options Options) (*Log, error) {
	how := []nats.Option{
		nats.FlusherTimeout(writeTimeout),
		nats.ReconnectWait(200 * time.Millisecond),
		nats.ReconnectJitter(200*time.Millisecond, time.Second),
		nats.PingInterval(10 * time.Second), // a server that vanished without a word
		nats.MaxPingsOutstanding(2),
	}
	how = append(append(how, options.NATS...), useDialer)
	l := newLog(options)
	if err := l.connect(ctx, options, strings.Join(options.URLs, ","), how...); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// useDialer is an option that comes after the caller's, whose dialer it leaves alone, and whose timeout ours has.
func useDialer(o *nats.Options) error {
	if o.CustomDialer == nil {
		o.CustomDialer = dialer{cmp.Or(o.Timeout, nats.DefaultTimeout), o.NoRandomize}
		o.SkipHostLookup = true
	}
	return nil
}

// dialer makes connections that cost a node less while it has little to do. It looks hosts up itself: nats.go would dial one
// address after the other, and has the time divided among them by no dialer but its own; nor would the lookup end in time.
type dialer struct {
	timeout time.Duration
	inOrder bool // as the names say, and not at random
}

func (d dialer) Dial(network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), d.timeout)
	defer cancel()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	addresses, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return nil, err
	}
	if !d.inOrder {
		rand.Shuffle(len(addresses), func(i, j int) { addresses[i], addresses[j] = addresses[j], addresses[i] })
	}
	for i := range addresses {
		addresses[i] = net.JoinHostPort(addresses[i], port)
	}
	c, err := dialFirst(ctx, network, addresses)
	if err != nil {
		return nil, err
	}
	return conn{sock.Conn(c)}, nil
}

// dialFirst connects to the first of the addresses that is there. Each has its share of the time that is left; Go would give
// two seconds to each, and so none to the others.
func dialFirst(ctx context.Context, network string, addresses []string) (c net.Conn, err error) {
	deadline, _ := ctx.Deadline()
	for i, address := range addresses {
		share := net.Dialer{Timeout: time.Until(deadline) / time.Duration(len(addresses)-i)}
		if c, err = share.DialContext(ctx, network, address); err == nil {
			break
		}
	}
	return c, err
}

// conn is closed if something can't be written. nats.go would go on with it, and without what it wanted to say: what it
// subscribes to, for example.
type conn struct{ net.Conn }

func (c conn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if err != nil {
		c.Close()
	}
	return n, err
}
