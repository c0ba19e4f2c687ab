package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/mux"
	"github.com/rs/cors"

	"github.com/genbrowser/genbrowser/internal/crew"
	"github.com/genbrowser/genbrowser/internal/options"
	"github.com/genbrowser/genbrowser/internal/wheel"
	"github.com/genbrowser/genbrowser/server"
	"github.com/genbrowser/genbrowser/web/problem"
)

// Options configure a [Handler]. Only Server is needed.
type Options struct {
	Server *server.Server
	Prefix string // of all routes; "/_gb"
	// Name says what this server is for, such as "shop-production", in discovery. Peers that want another one don't
	// connect. All nodes of a cluster should have the same; by default there is none.
	Name string

	// AllowedOrigins lists the origins whose pages may use the server, such as "https://example.com". Empty
	// means any, without cookies; a list also lets those pages send cookies, for Open to look at. Pages of
	// the server's own origin always may, unless that is plain HTTP at a name with a dot: list it. What a page GETs
	// of its own host names no origin, and passes: see Open, which can look at the host.
	AllowedOrigins []string
	// Open decides who may open a mailbox, and returns the config that this client gets; nil means the
	// server's. Its error is told to the client: a *problem.Problem as it is, any other as 403 open-refused.
	// By default anybody may.
	Open func(*http.Request) (config any, err error)
	// OpenRate is how many mailboxes a client address may open in a second, OpenBurst how many at once: 50
	// and 20,000, so that an office behind one address comes back after a deploy. Below 0: no limit.
	OpenRate  float64
	OpenBurst int
	// SendRate is how many messages a client address may send in a second, SendBurst how many at once, and SendBytes
	// and SendBytesBurst how many bytes of bodies. 0 is no limit for a rate, and what comes in ten seconds for a burst.
	SendRate       float64
	SendBurst      int
	SendBytes      float64
	SendBytesBurst int
	// StreamsPerClient is how many streams a client address may have; 0 is no limit.
	StreamsPerClient int
	// HeldPerClient is how many requests a client address may hold open: calls, long-polls, and uploads but for those that
	// are no longer than one line may be; 0 is no limit. A long-poll that follows another one may come before that one's
	// place is free.
	HeldPerClient int
	// MailboxesPerClient is how many mailboxes a client address may have that it opened here, since this server started
	// and which it keeps, and MonitorsPerClient how many monitors and links, of what this server keeps; 0 is no limit.
	MailboxesPerClient int
	MonitorsPerClient  int
	// ClientAddress tells clients apart for these limits; by default by the connection's address, which behind a
	// proxy is the proxy's. A client that proves who it is, by a certificate that was verified or at a unix socket,
	// counts as that, wherever it comes from: see [ConnContext].
	ClientAddress func(*http.Request) string
	// Listeners returns where discovery says that the client of a request may connect as well; by default it says
	// nothing of that.
	Listeners func(*http.Request) []Listener
	// Exports says whether the client of a request may find what is exported or registered under that name by whereis; by
	// default it may find all. What it may not find can still be reached by who has its address.
	Exports func(r *http.Request, name string) bool
	// Register says whether the client of a request, which has shown a mailbox's key, may register that name for the
	// mailbox; by default it may register none. Others trust what they find under a name: tell clients apart here, by
	// [PeerOf] for example.
	Register func(r *http.Request, name string) bool
	// Operator says whose request may read /metrics, {prefix}/cluster and {prefix}/clients, and end who reads a mailbox by
	// DELETE {prefix}/clients/ID; by default those from this machine. See [OperatorsAt].
	Operator func(*http.Request) bool

	Heartbeat  time.Duration // between signs of life on a silent stream; 15 s
	SlowReader time.Duration // how long a stream may take nothing until it is dropped; 60 s
	SendBuffer int           // bytes that the system may take ahead of a slow reader; 64 KiB
	Logger     *slog.Logger  // slog.Default
}

// Handler serves the protocol. Make one with [New] and end it with [Handler.Shutdown].
type Handler struct {
	// fixed after construction
	office     *server.Server
	prefix     string
	name       string
	sendPrefix string
	origins    []string
	opener     func(*http.Request) (any, error)
	address    func(*http.Request) string
	operator   func(*http.Request) bool
	exports    func(r *http.Request, name string) bool
	mayName    func(r *http.Request, name string) bool
	listeners  func(*http.Request) []Listener
	opens      *limiter
	messages   *limiter
	bytes      *limiter
	mailboxes  int // of a client, at most; 0: any number
	monitors   *monitors
	heartbeat  time.Duration
	slow       time.Duration
	sendBuffer int
	log        *slog.Logger
	start      time.Time
	wheel      *wheel.Wheel
	router     *mux.Router
	handler    http.Handler

	ctx     context.Context // ends when the service shuts down
	cancel  context.CancelFunc
	tally   tally
	turns   turns
	streams streams
	lanes   lanes
	uploads underWay
	held    *held
	crew    crew.Crew // of streams that wait for their readers
}

// New returns a handler for everything below the prefix, and for /.well-known/gen-browser, /healthz, /readyz and
// /metrics.
func New(o Options) (*Handler, error) {
	if o.Server == nil {
		return nil, errors.New("web: Options.Server is needed")
	}
	h := &Handler{
		office:     o.Server,
		prefix:     "/_gb",
		name:       o.Name,
		origins:    o.AllowedOrigins,
		opener:     o.Open,
		address:    o.ClientAddress,
		operator:   o.Operator,
		exports:    o.Exports,
		mayName:    o.Register,
		listeners:  o.Listeners,
		opens:      openLimiter(o.OpenRate, o.OpenBurst),
		messages:   quota(o.SendRate, o.SendBurst, 1),
		bytes:      quota(o.SendBytes, o.SendBytesBurst, o.Server.Limits().Body),
		mailboxes:  o.MailboxesPerClient,
		monitors:   limitMonitors(o.Server, o.MonitorsPerClient),
		heartbeat:  15 * time.Second,
		slow:       60 * time.Second,
		sendBuffer: 64 << 10,
		log:        o.Logger,
		start:      time.Now(),
		wheel:      o.Server.Wheel(),
	}
	if o.Prefix != "" {
		h.prefix = strings.TrimRight(o.Prefix, "/")
		if !strings.HasPrefix(o.Prefix, "/") || h.prefix == "" {
			return nil, errors.New(`web: Options.Prefix must be like "/_gb"`)
		}
	}
	if err := options.NotNegative(o, "OpenRate", "OpenBurst"); err != nil {
		return nil, fmt.Errorf("web: Options.%w", err)
	}
	if o.Heartbeat > 0 {
		h.heartbeat = o.Heartbeat
	}
	if o.SlowReader > 0 {
		h.slow = o.SlowReader
	}
	if o.SendBuffer > 0 {
		h.sendBuffer = o.SendBuffer
	}
	if h.address == nil {
		h.address = remoteAddress
	}
	h.address = byIdentity(h.address)
	if h.operator == nil {
		h.operator, _ = OperatorsAt(nil, nil) // the default is well formed
	}
	if h.exports == nil {
		h.exports = func(*http.Request, string) bool { return true }
	}
	if h.mayName == nil {
		h.mayName = func(*http.Request, string) bool { return false }
	}
	if h.log == nil {
		h.log = slog.Default()
	}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	h.sendPrefix = h.prefix + "/send/"
	h.tally.init()
	h.router = h.routes()
	h.handler = h.cors().Handler(http.HandlerFunc(h.route))
	h.wheel.Exact(h.heartbeat / 8)
	h.streams.init(o.StreamsPerClient)
	h.held = limitHeld(h.address, o.HeldPerClient)
	return h, nil
}

// methods are what one path answers to.
type methods map[string]http.HandlerFunc

// page is what is read and changes nothing.
func page(f http.HandlerFunc) methods { return methods{"GET": f, "HEAD": f} }

func (h *Handler) routes() *mux.Router {
	r := mux.NewRouter().SkipClean(true) // a redirect would be neither the answer nor a problem
	h.add(r, h.prefix+"/mailbox", methods{"POST": h.openMailbox, "GET": h.readMailbox, "DELETE": h.closeMailbox})
	h.add(r, h.prefix+"/ack", methods{"POST": h.ack})
	h.add(r, h.prefix+"/send", methods{"POST": h.sendMany})
	h.add(r, h.prefix+"/send/{address:.*}", methods{"POST": h.send})
	h.add(r, h.prefix+"/call/{address:.*}", methods{"POST": h.call})
	h.add(r, h.prefix+"/whereis/{name:.*}", page(h.whereis))
	h.add(r, h.prefix+"/names/{name:.*}", methods{"PUT": h.registerName, "DELETE": h.unregisterName})
	h.add(r, h.prefix+"/clients", page(h.forOperators(h.clients)))
	h.add(r, h.prefix+"/clients/{mailbox}", methods{"DELETE": h.forOperators(h.disconnectClient)})
	h.add(r, h.prefix+"/cluster", page(h.forOperators(h.cluster)))
	h.add(r, h.prefix+"/client.js", page(script("client.js")))
	h.add(r, h.prefix+"/client.global.js", page(script("client.global.js")))
	h.add(r, "/.well-known/gen-browser", page(h.discover))
	h.add(r, "/healthz", page(h.health))
	h.add(r, "/readyz", page(h.ready))
	h.add(r, "/metrics", page(h.forOperators(h.metrics())))
	r.NotFoundHandler = http.HandlerFunc(h.notFound)
	return r
}

// add routes a path, and answers its other methods with those that it has.
func (h *Handler) add(r *mux.Router, path string, m methods) {
	allow := slices.Sorted(maps.Keys(m))
	for _, method := range allow {
		r.HandleFunc(path, m[method]).Methods(method)
	}
	r.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Allow", strings.Join(allow, ", "))
		h.refuse(w, &problem.Problem{Kind: problem.MethodNotAllowed, Detail: "want " + strings.Join(allow, " or ")})
	})
}

func (h *Handler) cors() *cors.Cors {
	return cors.New(cors.Options{
		AllowOriginVaryRequestFunc: func(r *http.Request, origin string) (bool, []string) { return h.allowed(r, origin), nil },
		AllowedMethods:             []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}, // a page can read a 405 too
		AllowedHeaders:             []string{"Authorization", "Content-Type", "Accept", "Cache-Control", "Last-Event-ID", "Idempotency-Key", "TTL", "Traceparent"},
		ExposedHeaders:             []string{"Retry-After", "Allow"},
		AllowCredentials:           len(h.origins) > 0,
		MaxAge:                     7200,
	})
}

// allowed reports whether pages of an origin may use the server.
func (h *Handler) allowed(r *http.Request, origin string) bool {
	if len(h.origins) == 0 || slices.Contains(h.origins, origin) {
		return true
	}
	return sameOrigin(r, origin) && (strings.HasPrefix(origin, "https:") || !mayBeRebound(r))
}

// embedded reports whether a browser asks for what a page that it does not name put into itself or led to, such as an image: the
// page can't read the answer, but the cookies come along (W3C Fetch Metadata, which browsers send over TLS and to localhost).
func embedded(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	return (site == "cross-site" || site == "same-site") && r.Header.Get("Origin") == ""
}

// ServeHTTP serves one request. It leads the hot one, a send from no page, past CORS and the router.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if _, page := r.Header["Origin"]; !page && h.isSend(r) {
		h.send(w, r)
		return
	}
	h.handler.ServeHTTP(w, r)
}

func (h *Handler) isSend(r *http.Request) bool {
	return r.Method == http.MethodPost && strings.HasPrefix(r.URL.Path, h.sendPrefix)
}

// route leads the sends of pages past the router.
func (h *Handler) route(w http.ResponseWriter, r *http.Request) {
	if origin := r.Header.Get("Origin"); origin != "" && !h.allowed(r, origin) {
		h.refuse(w, &problem.Problem{Kind: problem.OriginNotAllowed, Detail: origin})
		return
	}
	if h.isSend(r) {
		h.send(w, r)
		return
	}
	h.router.ServeHTTP(w, r)
}

func (h *Handler) notFound(w http.ResponseWriter, r *http.Request) {
	h.refuse(w, &problem.Problem{Kind: problem.NotFound, Detail: r.URL.Path})
}

// Shutdown ends the service: new messages get 503, processes finish what is queued for them, and each stream
// is sent what its mailbox holds, then bye. Call it before http.Server.Shutdown, which knows nothing of the
// streams, nor of sends in a [Handler.FastLane] and of the uploads that this ends, which are answered when Shutdown returns. When
// ctx ends first, the streams that are left are cut.
func (h *Handler) Shutdown(ctx context.Context) error {
	h.cancel()
	err := h.office.Shutdown(ctx)
	err = errors.Join(err, h.streams.finish(ctx), h.uploads.finish(ctx))
	h.crew.Close()
	return errors.Join(err, h.lanes.settle(ctx))
}
