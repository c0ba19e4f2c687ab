package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	neturl "net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/genbrowser/genbrowser/mailbox"
)

const (
	// maxEntry leaves room for a header in the 1 MiB that a NATS takes by default, and stays the same however
	// the servers are configured. Longer entries would only make others wait behind them.
	maxEntry = 512 << 10
	// headerRoom is what our headers, and the subject, need of a server's maximum at most.
	headerRoom = 1 << 10
	// minEntry is what a server with the default limits needs at least, of which a mailbox may be restated in one record: with a
	// config of 64 KiB and 1,000 names.
	minEntry = 96 << 10
)

// Log is a [mailbox.Log] that is a JetStream stream.
type Log struct {
	name     string
	lane     string
	maxEntry int
	logger   *slog.Logger
	conn     *nats.Conn
	embedded *embedded // nil if the NATS runs elsewhere
	alarm    chan struct{}
	closing  sync.Once
	sealed   atomic.Bool // the lane is; never false again
	trouble  atomic.Pointer[string]
	opened   bool
	broken   error  // what Close found
	found    uint64 // the newest entry when it was opened

	syncEvery time.Duration // of an embedded server

	stating sync.Mutex
	state   state // as the data directory has it, if there is one

	// The rest is Append's.
	publisher publisher
	last      uint64 // the newest entry of the lane
	begun     bool   // began is known
	began     uint64 // the newest entry of the log before the lane's first
	doubt     []byte // an entry that may be stored after last
}

var _ mailbox.Log = (*Log)(nil)

// Open opens the log that options describe, making it if it is new. With a [Cluster] it waits, until ctx ends,
// for enough nodes to be there.
func Open(ctx context.Context, options Options) (*Log, error) {
	options = options.withDefaults()
	if err := options.check(); err != nil {
		return nil, err
	}
	if options.Dir == "" {
		return openExternal(ctx, options)
	}
	return openEmbedded(ctx, options)
}

func newLog(options Options) *Log {
	return &Log{name: options.Name, lane: uuid.NewString(), logger: options.Logger, alarm: make(chan struct{}, 1)}
}

// connect brings the log to its stream, over a connection made with options of ours and of the caller's.
func (l *Log) connect(ctx context.Context, options Options, url string, how ...nats.Option) error {
	conn, err := nats.Connect(url, append(how, l.connection()...)...)
	if err != nil {
		if broken := new(neturl.Error); errors.As(err, &broken) {
			err = broken.Err // it repeats the URL
		}
		return fmt.Errorf("connect to NATS at %s: %w", redacted(options.URLs), err)
	}
	l.conn = conn
	if l.maxEntry = min(maxEntry, int(conn.MaxPayload())-headerRoom); l.maxEntry < minEntry {
		return fmt.Errorf("the NATS at %s takes messages of up to %d bytes: its max_payload must be at least %d",
			url, conn.MaxPayload(), minEntry+headerRoom)
	}
	if err := l.findStream(ctx, options); err != nil {
		return err
	}
	l.opened = true
	return l.publisher.start(conn, l.name, l.subject())
}

// redacted are the URLs with no password in them, nor what can't be told from one.
func redacted(urls []string) string {
	told := make([]string, len(urls))
	for i, text := range urls {
		u, err := neturl.Parse(text)
		if err != nil || u.Host == "" {
			told[i] = "(no URL)"
			continue
		}
		if u.User != nil {
			u.User = neturl.User("xxxxx") // it may be a token
		}
		told[i] = u.String()
	}
	return strings.Join(told, ", ")
}

// connection is what a log needs of its connection. A message is never kept for when NATS comes back, because
// Append could not tell any more whether it was sent.
func (l *Log) connection() []nats.Option {
	return []nats.Option{
		nats.Name("genbrowser " + l.name + " " + l.lane),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(),
		nats.ReconnectBufSize(-1),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				l.logger.Warn("the connection to NATS is lost", "error", err)
			}
			l.wake()
		}),
		nats.ReconnectHandler(func(conn *nats.Conn) {
			l.logger.Info("connected to NATS again", "url", conn.ConnectedUrlRedacted())
			l.wake()
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			l.logger.Warn("NATS reports an error", "error", err)
		}),
	}
}

// wake makes an Append that waits for an answer look whether one will come.
func (l *Log) wake() {
	select {
	case l.alarm <- struct{}{}:
	default:
	}
}

func (l *Log) subject() string { return l.name + ".log." + l.lane }

// Renew implements [mailbox.Log].
func (l *Log) Renew() {
	l.lane = uuid.NewString()
	l.last, l.begun, l.doubt = 0, false, nil
	l.publisher.msg.Subject = l.subject()
	l.sealed.Store(false)
}

// Lane implements [mailbox.Log].
func (l *Log) Lane() string { return l.lane }

// MaxEntry implements [mailbox.Log].
func (l *Log) MaxEntry() int { return l.maxEntry }

// Conn is the connection to NATS, for what else the nodes have to tell each other. It is closed with the log.
func (l *Log) Conn() *nats.Conn { return l.conn }

// Connected tells whether an Append has a chance at present.
func (l *Log) Connected() bool {
	return l.conn.IsConnected() && (l.embedded == nil || l.embedded.server.JetStreamEnabled())
}

// Close implements [mailbox.Log]. It returns when an embedded server is down and the data directory free.
func (l *Log) Close() error {
	l.closing.Do(func() {
		last := uint64(0)
		if l.embedded != nil && l.opened {
			last = l.newestEntry()
		}
		if l.conn != nil {
			l.conn.Close()
		}
		if l.embedded == nil {
			return
		}
		if l.broken = l.embedded.stop(); l.broken == nil && l.opened {
			l.broken = l.noteClosed(last)
		}
		l.broken = errors.Join(l.broken, l.embedded.dir.close())
	})
	return l.broken
}

// pause waits before another try: longer each time, and not at all if something happened meanwhile.
func (l *Log) pause(ctx context.Context, try int) error {
	if l.conn.IsClosed() {
		return ErrClosed
	}
	timer := time.NewTimer(min(10*time.Millisecond<<min(try, 10), time.Second))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-l.alarm:
	case <-timer.C:
	}
	return nil
}

// triesUnsaid is after how many tries, about 3 s, it is said that something is waited for.
const triesUnsaid = 9

// retry calls f until it succeeds, fails for good, or ctx ends.
func (l *Log) retry(ctx context.Context, f func() error) error {
	for try := 0; ; try++ {
		err := f()
		if err == nil || !transient(err) {
			return err
		}
		if try == triesUnsaid {
			l.logger.Warn("JetStream does not answer, and is waited for; is it enabled?", "stream", l.name, "error", err)
		}
		if stop := l.pause(ctx, try); stop != nil {
			return fmt.Errorf("%w: %w", stop, err)
		}
		if err := l.dead(); err != nil {
			return err
		}
	}
}

// dead is why the embedded server can't do anything any more, if that is so.
func (l *Log) dead() error {
	if l.embedded == nil || l.conn.IsClosed() || l.embedded.server.JetStreamEnabled() {
		return nil
	}
	why := "it does not say why"
	if s := l.trouble.Load(); s != nil {
		why = *s
	}
	return fmt.Errorf("%w: the embedded NATS has given up, and needs a restart: %s", ErrFull, why)
}

func transient(err error) bool {
	for _, t := range []error{
		nats.ErrTimeout, nats.ErrNoResponders, nats.ErrDisconnected, nats.ErrConnectionReconnecting,
		nats.ErrReconnectBufExceeded, context.DeadlineExceeded, errUnanswered,
	} {
		if errors.Is(err, t) {
			return true
		}
	}
	var api *apiError
	return errors.As(err, &api) && api.transient()
}

func decimal(n uint64) string { return strconv.FormatUint(n, 10) }
