package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/server"
	"github.com/genbrowser/genbrowser/web"
)

// flags are those of every server.
type flags struct {
	Listen    []string `help:"Where to listen: ${listeners}; default: tcp4://127.0.0.1:8080. With ?export=ping,shop/* its clients find no other names; with ?register=shop/* they may register these. May be repeated." default:"tcp4://127.0.0.1:8080" sep:"none" placeholder:"URL"`
	Advertise []string `help:"Where discovery says that clients can connect: URLs such as https://gb.example.com, mtls://gb.example.com:8444 or unix:///run/gb.sock; one with no host, such as tls://:8443, is at the host that the client called. Default: where the server listens; empty: nowhere. May be repeated." sep:"," placeholder:"URL" empty:"nowhere"`
	certificates
	storage

	Prefix       string   `help:"Prefix of all routes." default:"/_gb"`
	Name         string   `help:"What this server is for, such as shop-production. Peers that want another one do not connect." placeholder:"NAME"`
	Origin       []string `help:"Origin whose pages may use the server, such as https://example.com; default: any. May be repeated." placeholder:"ORIGIN"`
	TrustedProxy []string `help:"Network of proxies whose X-Forwarded-For is believed, such as 10.0.0.0/8, or unix for those at unix sockets. May be repeated." placeholder:"CIDR"`
	OperatorHost []string `help:"Name by which operators call the server in plain HTTP, or a proxy that ends TLS does for them, such as gb1.example.com. Addresses and names without a dot are taken as they are; any other may be one that a page of elsewhere has lead here. May be repeated." placeholder:"HOST"`
	Operators    []string `help:"Network whose clients may read /metrics and the cluster's status, and list clients and end their streams, such as 10.1.0.0/16, or unix for unix sockets; default: this machine. May be repeated." placeholder:"CIDR"`

	Body         int           `help:"Limit of a message's body, in bytes; with --data or --nats at most 516096, or less if that NATS takes less." default:"65536"`
	Depth        int           `help:"Limit of a body's nesting; at most 9999." default:"512"`
	Backlog      int           `help:"Messages that a mailbox keeps." default:"1000"`
	BacklogBytes int           `help:"Bytes of bodies that a mailbox keeps; at least --body." default:"1048576"`
	Overflow     string        `help:"What a full mailbox does: refuse the sender, or drop-oldest." enum:"refuse,drop-oldest" default:"refuse"`
	Asleep       time.Duration `help:"How long a mailbox lives without a reader." default:"10m"`
	TTL          time.Duration `help:"Longest time to live that a sender may give a message." default:"168h"`
	Names        int           `help:"Idempotency keys that a mailbox remembers; with --data or --nats at most 21455, or less if that NATS takes less." default:"1000"`
	NameWindow   time.Duration `help:"How long it remembers them." default:"10m"`
	Queue        int           `help:"Messages that may wait for a process." default:"1000"`
	Calls        int           `help:"Calls by POST /_gb/call, and of Go code in the server, that may wait for their replies; the first leave a quarter to the second." default:"10000"`
	MaxMailboxes int           `help:"Mailboxes that the server keeps." default:"1000000"`
	MaxBytes     int64         `help:"Bytes of bodies that the server keeps." default:"1073741824"`
	OpenRate     float64       `help:"Mailboxes that a client address may open in a second; -1 for no limit." default:"50"`
	OpenBurst    int           `help:"Mailboxes that a client address may open at once." default:"20000"`

	SendRate         float64 `help:"Messages that a client address may send in a second; 0 for no limit." placeholder:"N"`
	SendBurst        int     `help:"Messages that it may send at once; 0 for those of ten seconds." placeholder:"N" needs:"send-rate"`
	SendBytes        float64 `help:"Bytes of bodies that it may send in a second; 0 for no limit." placeholder:"N"`
	SendBytesBurst   int     `help:"Bytes of bodies that it may send at once; 0 for those of ten seconds." placeholder:"N" needs:"send-bytes"`
	StreamsPerClient int     `help:"Streams that a client address may have; 0 for no limit." placeholder:"N"`

	HeldPerClient      int `help:"Uploads, calls and long-polls that a client address may hold open; 0 for no limit." placeholder:"N"`
	MailboxesPerClient int `help:"Mailboxes that a client address may have; 0 for no limit." placeholder:"N"`
	MonitorsPerClient  int `help:"Monitors and links that a client address may have; 0 for no limit." placeholder:"N"`

	MaxRegistered int `help:"Names that may be registered at this server." default:"10000"`

	Heartbeat     time.Duration `help:"Sign of life on silent streams." default:"15s"`
	SlowReader    time.Duration `help:"How long a client may take nothing of a stream or an answer until it is dropped." default:"60s"`
	SendBuffer    int           `help:"Bytes that the system may take ahead of a slow reader, for each stream." default:"65536"`
	FastLane      bool          `negatable:"" help:"Serve sends over plain TCP and unix sockets past net/http, which takes less CPU. Anything but the most usual form of a send is net/http's as ever. Without effect with --send-rate or --send-bytes."`
	AcceptRate    int           `help:"Connections that are accepted in a second, at all listeners together; others wait a little. 0 for 3000 for each processor, -1 for no limit." placeholder:"N"`
	ReadTimeout   time.Duration `help:"How long a request may take to arrive, streaming uploads apart." default:"30s"`
	ShutdownGrace time.Duration `help:"How long streams and handlers have to finish after SIGTERM." default:"10s" zero:"none"`

	logging
}

type serve struct {
	flags
	Config string `help:"JSON that every client is given as its config." default:"{}" placeholder:"JSON"`
}

// Run serves until ctx ends.
func (c *serve) Run(ctx context.Context) error {
	if !json.Valid([]byte(c.Config)) {
		return errors.New("--config: want JSON")
	}
	return c.run(ctx, func(office *server.Server, gb http.Handler) (http.Handler, error) {
		return gb, office.SetConfig(json.RawMessage(c.Config))
	})
}

// run serves what mount makes of the protocol's handler.
func (f *flags) run(ctx context.Context, mount func(*server.Server, http.Handler) (http.Handler, error)) error {
	log := f.logger(os.Stderr)
	office, err := f.office(ctx, log)
	if err != nil {
		return err
	}
	at, err := parsePlaces(f.Advertise)
	if err != nil {
		return err
	}
	gb, err := f.handler(office, log, func(r *http.Request) []web.Listener { return at.listed(r.Host) })
	if err != nil {
		return err
	}
	root, err := mount(office, gb)
	if err != nil {
		return err
	}
	configs, err := f.certificates.configs(f.Listen, log)
	if err != nil {
		return err
	}
	listeners, err := listenAll(f.Listen, configs, log)
	if err != nil {
		return err
	}
	if f.Advertise == nil {
		at = placesOf(listeners)
	}
	go tidy(ctx)
	err = f.serveOn(ctx, listeners, root, gb, log)
	grace, cancel := context.WithTimeout(context.Background(), f.ShutdownGrace)
	defer cancel()
	err = errors.Join(err, office.Stop(grace))
	log.Info("bye")
	return err
}

// handler is that of the protocol.
func (f *flags) handler(office *server.Server, log *slog.Logger, listeners func(*http.Request) []web.Listener) (*web.Handler, error) {
	if err := checkOrigins(f.Origin); err != nil {
		return nil, err
	}
	clientAddress, err := web.ForwardedFor(f.TrustedProxy...)
	if err != nil {
		return nil, fmt.Errorf("--trusted-proxy: %w", err)
	}
	operator, err := web.OperatorsAt(f.Operators, f.TrustedProxy, f.OperatorHost...)
	if err != nil {
		return nil, fmt.Errorf("--operators: %w", err)
	}
	return web.New(web.Options{
		Server: office, Prefix: f.Prefix, Name: f.Name, AllowedOrigins: f.Origin, OpenRate: f.OpenRate, OpenBurst: f.OpenBurst,
		SendRate: f.SendRate, SendBurst: f.SendBurst, SendBytes: f.SendBytes, SendBytesBurst: f.SendBytesBurst, StreamsPerClient: f.StreamsPerClient, HeldPerClient: f.HeldPerClient,
		MailboxesPerClient: f.MailboxesPerClient, MonitorsPerClient: f.MonitorsPerClient,
		ClientAddress: clientAddress, Operator: operator, Heartbeat: f.Heartbeat, SlowReader: f.SlowReader, SendBuffer: f.SendBuffer,
		Listeners: listeners, Exports: mayFind, Register: mayRegister, Logger: log,
	})
}

// office opens the log, if there is to be one, and the post office on it.
func (f *flags) office(ctx context.Context, log *slog.Logger) (*server.Server, error) {
	secrets, err := secretsOf(&f.storage, log)
	if err != nil {
		return nil, err
	}
	keys, err := secrets.ring()
	if err != nil {
		return nil, err
	}
	records, err := f.storage.open(ctx, secrets, log)
	if err != nil {
		return nil, err
	}
	o := server.Options{
		Keys: keys, Snapshot: f.Snapshot, Limits: f.limits(), MaxMailboxes: f.MaxMailboxes, MaxBytes: f.MaxBytes,
		Queue: f.Queue, MaxRegistered: f.MaxRegistered, Calls: f.Calls, Logger: log,
	}
	if records != nil {
		o.Log = records
	}
	if f.shared() {
		o.Mesh, o.Node = records.Mesh(), f.node()
	}
	office, err := server.New(o)
	if err != nil && records != nil {
		err = errors.Join(err, records.Close())
	}
	return office, err
}

func (f *flags) limits() mailbox.Limits {
	l := mailbox.Limits{
		Body: f.Body, Depth: f.Depth, Backlog: f.Backlog, BacklogBytes: f.BacklogBytes, Asleep: f.Asleep,
		TTL: f.TTL, Names: f.Names, NameWindow: f.NameWindow,
	}
	if f.Overflow == "drop-oldest" {
		l.Overflow = mailbox.DropOldest
	}
	return l
}

// serveOn serves until ctx ends or no listener is left, then lets everything that was accepted be delivered.
func (f *flags) serveOn(ctx context.Context, listeners []listener, root http.Handler, gb *web.Handler, log *slog.Logger) error {
	srv := &http.Server{
		Handler: tellPanics(root, log), ReadTimeout: f.ReadTimeout, WriteTimeout: f.ReadTimeout + f.SlowReader, // from the end of a request's head
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		Protocols: protocols(),
	}
	silent := newcomers{open: make(map[net.Conn]bool)}
	srv.ConnState, srv.ConnContext = silent.note, web.ConnContext
	srv.BaseContext = baseContext
	var serving sync.WaitGroup
	pace := f.pace()
	for _, l := range listeners {
		log.Info("listening", "url", l.url)
		l.socket.pace = pace
		l.socket.slow = f.SlowReader
		switch plain := l.transport == "tcp" || l.transport == "unix"; {
		case plain && f.FastLane:
			l.Listener = gb.FastLane(l.Listener, srv)
		case plain:
			l.Listener = web.NewListener(l.Listener)
		}
		serving.Go(func() {
			if err := srv.Serve(l); !errors.Is(err, net.ErrClosed) && !errors.Is(err, http.ErrServerClosed) {
				log.Error("listener failed", "url", l.url, "error", err)
			}
		})
	}
	ended := make(chan struct{})
	go func() { serving.Wait(); close(ended) }()
	var err error
	select {
	case <-ctx.Done():
	case <-ended:
		err = errors.New("every listener failed")
	}
	log.Info("shutting down", "grace", f.ShutdownGrace)
	grace, cancel := context.WithTimeout(context.Background(), f.ShutdownGrace)
	defer cancel()
	err = errors.Join(err, gb.Shutdown(grace))
	for _, l := range listeners {
		l.socket.beginDrain()
	}
	select {
	case <-ended:
	case <-grace.Done(): // somebody in a fast lane takes no answers
	}
	silent.hurry()
	err = errors.Join(err, srv.Shutdown(grace), srv.Close())
	return err
}

// acceptBurst is how many connections are accepted at once.
const acceptBurst = 64

// pace keeps thousands of clients that come back at once from keeping those that are here: the requests of all
// connections have their turn in the order in which they came.
func (f *flags) pace() *rate.Limiter {
	switch {
	case f.AcceptRate < 0:
		return rate.NewLimiter(rate.Inf, 0)
	case f.AcceptRate == 0:
		return rate.NewLimiter(rate.Limit(3000*runtime.GOMAXPROCS(0)), acceptBurst)
	}
	return rate.NewLimiter(rate.Limit(f.AcceptRate), acceptBurst)
}

// protocols adds HTTP/2 without TLS, for proxies that speak it.
func protocols() *http.Protocols {
	var p http.Protocols
	p.SetHTTP1(true)
	p.SetHTTP2(true)
	p.SetUnencryptedHTTP2(true)
	return &p
}
