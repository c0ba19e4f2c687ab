package jetstream

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"regexp"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/genbrowser/genbrowser/internal/options"
)

// Options say where a log is kept: in Dir by a server inside this process, or in the NATS at URLs.
type Options struct {
	// Name is the stream's. Logs of other names may share one NATS. If empty: genbrowser.
	Name string
	// MaxBytes is how much the log may hold; what would be more is [ErrFull]. 0 leaves it to the disk: an
	// embedded server stores up to three quarters of what was free when it started.
	MaxBytes int64
	// Replicas is how many servers keep each entry. 0: what the stream has; a new one gets 3 in a cluster (2 if
	// it is a [Cluster] of two) and 1 otherwise.
	Replicas int
	// Restored says that the log was put back from a copy, so that it may lack what was in it before.
	Restored bool
	// Logger gets what the NATS server, or the connection to it, has to say. If nil: slog.Default().
	Logger *slog.Logger

	// Dir is the data directory, made if there is none. One process at a time can use it.
	Dir string
	// SyncEvery is how often the disk is made to keep what was written. 0: before each Append returns, so that
	// not even a power cut loses an entry. Otherwise a power cut or a crash of the system loses what was
	// appended since; a crash of the process alone loses nothing. In a cluster of three, whose entries are on
	// two disks at least, two of them must fail at about the same time.
	SyncEvery time.Duration
	// Cluster makes the server in this process one of several. If nil it is alone, and listens nowhere.
	Cluster *Cluster

	// URLs are servers of a NATS that runs elsewhere, such as nats://10.0.0.1:4222 or tls://nats.example.
	URLs []string
	// NATS is how to connect to them, for example nats.UserCredentials("file"). Of dialers it takes those of
	// nats.SetCustomDialer.
	NATS []nats.Option
}

// Cluster is this process's place among the processes that keep the log together.
type Cluster struct {
	Name string // the same for all
	Node string // another for each, and the same after a restart
	// Listen is where the other nodes connect to, such as 10.0.0.1:6222. Advertise is how they find it, if they
	// can't by that address.
	Listen, Advertise string
	// Join is the addresses of the other nodes.
	Join []string
	// User and Password are the nodes' common secret. Who can connect can read and write all, so there must be
	// a Password, or a TLS that asks for certificates of the nodes.
	User, Password string
	TLS            *tls.Config
}

var validName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func (o Options) withDefaults() Options {
	o.Name = cmp.Or(o.Name, "genbrowser")
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return o
}

func (o Options) check() error {
	switch {
	case !validName.MatchString(o.Name):
		return fmt.Errorf("log name %q: want 1 to 64 of A-Z a-z 0-9 _ -", o.Name)
	case o.Dir == "" && len(o.URLs) == 0:
		return errors.New("a log needs a data directory, or the URLs of a NATS")
	case o.Dir != "" && len(o.URLs) > 0:
		return errors.New("a log is kept in a data directory or in the NATS at some URLs, not both")
	case o.Dir == "" && o.Cluster != nil:
		return errors.New("a cluster's node needs a data directory")
	case o.Dir != "" && o.Cluster == nil && o.Replicas > 1:
		return fmt.Errorf("%d replicas of a log: a data directory has one, unless it is a cluster's", o.Replicas)
	}
	if err := options.NotNegative(o); err != nil {
		return fmt.Errorf("a log's %w", err)
	}
	if o.Cluster != nil {
		return o.Cluster.check()
	}
	return nil
}

func (c *Cluster) check() error {
	switch {
	case !validName.MatchString(c.Name):
		return fmt.Errorf("cluster name %q: want 1 to 64 of A-Z a-z 0-9 _ -", c.Name)
	case !validName.MatchString(c.Node):
		return fmt.Errorf("node name %q: want 1 to 64 of A-Z a-z 0-9 _ -", c.Node)
	case len(c.Join) == 0:
		return errors.New("a cluster's node needs the addresses of the other nodes")
	case (c.User == "") != (c.Password == ""):
		return errors.New("a cluster's user and password come together")
	case c.Password == "" && (c.TLS == nil || c.TLS.ClientAuth != tls.RequireAndVerifyClientCert):
		return errors.New("a cluster needs a password, or TLS that requires and verifies the nodes' certificates")
	}
	for _, address := range append([]string{c.Listen}, c.Join...) {
		if _, _, err := net.SplitHostPort(address); err != nil {
			return fmt.Errorf("cluster address %q: want host:port", address)
		}
	}
	return nil
}

// replicas is how many nodes keep each entry: a majority of them must be there for anything to happen.
func (c *Cluster) replicas() int { return min(3, 1+len(c.Join)) }
