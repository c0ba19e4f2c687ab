package server

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var ctx = context.Background()

func testRing(t testing.TB) *address.Ring {
	t.Helper()
	secret := sha256.Sum256([]byte(t.Name()))
	ring, err := address.NewRing(secret[:])
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// newServer starts a server, which ends with the test.
func newServer(t testing.TB, o Options) *Server {
	t.Helper()
	if o.Keys == nil {
		o.Keys = testRing(t)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shutDown(t, s) })
	return s
}

func shutDown(t testing.TB, s *Server) {
	t.Helper()
	end, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := s.Shutdown(end); err != nil {
		t.Errorf("Shutdown = %v", err)
	}
}

func open(t testing.TB, s *Server) Mailbox {
	t.Helper()
	var m Mailbox
	err := again(t, s, func() (err error) {
		m, err = s.Open(nil)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func grant(t testing.TB, s *Server, text string) *address.Grant {
	t.Helper()
	var g address.Grant
	if err := s.Verify(&g, text); err != nil {
		t.Fatalf("Verify: %v", err)
	}
	return &g
}

// reader is a Reader that remembers what it was told.
type reader struct {
	woken chan struct{}
	ended chan error
}

func newReader() *reader { return &reader{make(chan struct{}, 1), make(chan error, 1)} }

func (r *reader) Wake() {
	select {
	case r.woken <- struct{}{}:
	default:
	}
}

func (r *reader) End(why error) { r.ended <- why }

func subscribe(t testing.TB, s *Server, m Mailbox, how Subscribing) (*Subscription, *reader) {
	t.Helper()
	r := newReader()
	var sub *Subscription
	err := again(t, s, func() (err error) {
		sub, err = s.Subscribe(grant(t, s, m.Key.Reveal()), how, r)
		return err
	})
	if err != nil {
		t.Fatalf("Subscribe: %v", err)
	}
	return sub, r
}

// subscribeSoon subscribes as clients do: again where a node can store nothing for a moment, or the mailbox is nobody's.
func subscribeSoon(t testing.TB, s *Server, m Mailbox) (sub *Subscription, r *reader) {
	t.Helper()
	r = newReader()
	await(t, 15*time.Second, "there is the mailbox", func() bool {
		var err error
		if sub, err = s.Subscribe(grant(t, s, m.Key.Reveal()), Subscribing{Hold: true}, r); err != nil && !errors.Is(err, ErrUnavailable) {
			t.Fatal(err)
		}
		return err == nil
	})
	return sub, r
}

// post sends a body as a client would and wakes its reader.
func post(s *Server, to address.Address, body string) error { return postNamed(s, to, body, "") }

func postNamed(s *Server, to address.Address, body, name string) error {
	posted, err := s.Post(to.String(), &Letter{Body: []byte(body), Name: name})
	if err != nil {
		return err
	}
	r, err := posted.Wait()
	if r != nil {
		r.Wake()
	}
	return err
}

// again does something as clients do: once more where the server can store nothing for a moment, as on a machine that stands still,
// or is too busy for a node of a cluster to renew its lease in time.
func again(t testing.TB, s *Server, do func() error) (err error) {
	t.Helper()
	if s.member == nil {
		return do()
	}
	await(t, 10*time.Second, "the server can store", func() bool {
		err = do()
		return !errors.Is(err, ErrUnavailable)
	})
	return err
}

func mustPost(t testing.TB, s *Server, to address.Address, bodies ...string) {
	t.Helper()
	for _, b := range bodies {
		name := ""
		if s.member != nil { // what could not be stored for a moment may be stored then
			name = uuid.NewString()
		}
		if err := again(t, s, func() error { return postNamed(s, to, b, name) }); err != nil {
			t.Fatalf("Post(%s) = %v", b, err)
		}
	}
}

// read returns what the subscription reads and notes it as delivered: bodies, and "gap n".
func read(sub *Subscription) string {
	var got []string
	last := sub.Cursor().Seq
	sub.Read(func(m *mailbox.Message, err error) bool {
		if err != nil {
			got = append(got, strings.TrimSuffix(err.Error(), " messages are missing"))
		} else {
			got = append(got, string(m.Body))
			last = m.Seq
		}
		return true
	})
	sub.Delivered(last)
	return strings.Join(got, " ")
}

func expectRead(t testing.TB, sub *Subscription, want string) {
	t.Helper()
	if got := read(sub); got != want {
		t.Errorf("read %q, want %q", got, want)
	}
}

func expectStats(t testing.TB, s *Server, mailboxes, bytes int64) {
	t.Helper()
	if got, want := s.Stats(), (Stats{mailboxes, bytes}); got != want {
		t.Errorf("Stats = %+v, want %+v", got, want)
	}
	var kept int64
	for i := range s.shards {
		kept += int64(len(s.shards[i].all()))
	}
	if kept != mailboxes {
		t.Errorf("%d mailboxes are kept, want %d", kept, mailboxes)
	}
}

// received collects the bodies of messages that a process got.
type received struct {
	mu     sync.Mutex
	bodies []string
	more   chan struct{}
}

func newReceived() *received { return &received{more: make(chan struct{}, 1)} }

func (r *received) Handle(_ context.Context, m Message) error {
	r.mu.Lock()
	r.bodies = append(r.bodies, string(m.Body))
	r.mu.Unlock()
	select {
	case r.more <- struct{}{}:
	default:
	}
	return nil
}

// wait waits for n messages and returns all that came.
func (r *received) wait(t testing.TB, n int) []string {
	t.Helper()
	for timeout := time.After(10 * time.Second); ; {
		r.mu.Lock()
		got := append([]string(nil), r.bodies...)
		r.mu.Unlock()
		if len(got) >= n {
			return got
		}
		select {
		case <-r.more:
		case <-timeout:
			t.Fatalf("got %d messages %v, want %d", len(got), got, n)
		}
	}
}

func handle(t testing.TB, s *Server, name string, h Handler) address.Address {
	t.Helper()
	a, err := s.Handle(name, h)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// logged is a log's text, for tests that look at it.
type logged struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logged) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func quoted(n int) string { return fmt.Sprintf("%q", strings.Repeat("x", n-2)) }
