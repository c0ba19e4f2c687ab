package jetstream

import (
	"context"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// openExternal connects to a NATS that runs elsewhere. The first connection must succeed, so that a wrong URL is
// noticed; a lost one is sought again for ever.
func openExternal(ctx context.Context, options Options) (*Log, error) {
	how := []nats.Option{
		nats.Timeout(5 * time.Second),
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
