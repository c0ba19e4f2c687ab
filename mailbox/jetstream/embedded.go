package jetstream

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"golang.org/x/crypto/bcrypt"
)

// startTimeout is for the listeners of a cluster's node; that entries are read back does not count.
const startTimeout = 10 * time.Second

// embedded is the NATS server in this process, and the directory that it has for itself.
type embedded struct {
	dir      *dataDir
	server   *natsserver.Server
	password string // of the connections from this process
	log      string // its name
	tail     *tail  // to be checked; nil for none
}

func openEmbedded(ctx context.Context, options Options) (*Log, error) {
	l := newLog(options)
	server, err := startEmbedded(options, l.noticeTrouble)
	if err != nil {
		return nil, err
	}
	l.embedded, l.syncEvery = server, options.SyncEvery
	if err = errors.Join(l.checkTail(options), server.checkWhole(options)); err == nil {
		err = l.connect(ctx, options, "", server.connection()...)
	}
	if err != nil && ctx.Err() != nil && options.Cluster != nil {
		err = fmt.Errorf("%w: most of the nodes must be there, and the first time all of them; is one of %s?", err, strings.Join(options.Cluster.Join, ", "))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("data directory %s: %w", options.Dir, err), l.Close())
	}
	return l, nil
}

// noticeTrouble keeps what the server says about a store that fails: a publish that it could not store it leaves
// without an answer.
func (l *Log) noticeTrouble(what string) {
	l.trouble.Store(&what)
	l.wake()
}

func startEmbedded(options Options, onTrouble func(string)) (*embedded, error) {
	dir, err := openDataDir(options.Dir, newFormat(options.Cluster))
	if err != nil {
		return nil, err
	}
	e := &embedded{dir: dir, password: rand.Text(), log: options.Name}
	if err = e.keepTail(options); err == nil {
		err = dir.forgetIndex(options)
	}
	if err == nil {
		err = e.start(options, onTrouble)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("data directory %s: %w", options.Dir, err), e.stop(), dir.close())
	}
	return e, nil
}

// keepTail makes sure that it can be judged what the server does to the end of the log. A cluster's node needs no copy, because
// the others have what it lacks, and may have it shorten its log.
func (e *embedded) keepTail(options Options) error {
	err := e.dir.putBack(e.log)
	if err == nil {
		e.tail, err = readTail(options.Dir, e.log)
	}
	if err != nil || e.tail == nil || options.Cluster != nil {
		return err
	}
	return e.tail.keep()
}

func (e *embedded) start(options Options, onTrouble func(string)) error {
	how, err := e.options(options)
	if err != nil {
		return err
	}
	server, err := natsserver.NewServer(how)
	if err != nil {
		return err
	}
	e.server = server
	logger := &serverLog{to: options.Logger, onTrouble: onTrouble}
	server.SetLoggerV2(logger, false, false, false)
	server.Start()
	for deadline := time.Now().Add(startTimeout); ; {
		if reason := logger.fatal.Load(); reason != nil {
			return errors.New(*reason)
		}
		if server.ReadyForConnections(20 * time.Millisecond) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the NATS server is not ready after %v", startTimeout)
		}
	}
}

func (e *embedded) options(o Options) (*natsserver.Options, error) {
	how := &natsserver.Options{
		ServerName:             "genbrowser",
		StoreDir:               o.Dir,
		JetStream:              true,
		SyncAlways:             o.SyncEvery == 0,
		SyncInterval:           o.SyncEvery,
		MaxPayload:             8 << 20,
		NoSigs:                 true,
		NoLog:                  true,
		DisableJetStreamBanner: true,
		DontListen:             true,
	}
	if o.Cluster == nil {
		return how, nil
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(e.password), bcrypt.MinCost) // it is random, and long
	if err != nil {
		return nil, err
	}
	how.Username, how.Password = "genbrowser", string(hash)
	return how, o.Cluster.configure(how)
}

// configure makes a node of a server. A node can't do without a listener for clients: it is on a random port of
// this machine, and only this process knows the password.
func (c *Cluster) configure(how *natsserver.Options) error {
	host, port, err := splitAddress(c.Listen)
	if err != nil {
		return err
	}
	how.ServerName = c.Node
	how.DontListen = false
	how.Host, how.Port = "127.0.0.1", natsserver.RANDOM_PORT
	how.Cluster = natsserver.ClusterOpts{
		Name: c.Name, Host: host, Port: port, Advertise: c.Advertise,
		Username: c.User, Password: c.Password, TLSConfig: c.TLS,
		NoAdvertise: true, // the address of a node's clients is of no use to others
	}
	how.ConnectErrorReports = 30 // one attempt in so many is reported, and there is one a second
	how.ReconnectErrorReports = 30
	for _, address := range c.Join {
		route := &url.URL{Scheme: "nats-route", Host: address}
		if c.Password != "" {
			route.User = url.UserPassword(c.User, c.Password)
		}
		how.Routes = append(how.Routes, route)
	}
	return nil
}

func splitAddress(address string) (host string, port int, err error) {
	host, number, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	if port, err = strconv.Atoi(number); err != nil || port < 1 || port > 65535 {
		return "", 0, fmt.Errorf("cluster address %q: want a port of 1 to 65535", address)
	}
	return cmp.Or(host, "0.0.0.0"), port, nil
}

// connection is how to connect from this process, with no socket.
func (e *embedded) connection() []nats.Option {
	return []nats.Option{nats.InProcessServer(e.server), nats.UserInfo("genbrowser", e.password)}
}

// stop returns when the server is down, and has what it cut off if the log was not let go on without.
func (e *embedded) stop() error {
	if e.server == nil {
		return nil
	}
	e.server.Shutdown()
	e.server.WaitForShutdown()
	return e.dir.putBack(e.log)
}
