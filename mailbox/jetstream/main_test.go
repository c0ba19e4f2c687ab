package jetstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"go.uber.org/goleak"

	"github.com/genbrowser/genbrowser/internal/testport"
	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/mailbox/mailboxtest"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		appendForEver(dir)
	}
	goleak.VerifyTestMain(m)
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func mustOpen(t testing.TB, o Options) *Log {
	t.Helper()
	if o.Logger == nil {
		o.Logger = quiet
	}
	l, err := Open(within(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// shared opens many logs on one embedded server, which goes down when the last is closed.
type shared struct {
	mu      sync.Mutex
	options Options
	owner   *Log
	open    int
}

type sharing struct {
	*Log
	of   *shared
	once sync.Once
}

func (s *shared) Open(t *testing.T) mailbox.Log {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == 0 {
		s.owner = mustOpen(t, s.options)
	}
	s.open++
	l := newLog(s.options)
	if err := l.connect(within(t), s.options, "", s.owner.embedded.connection()...); err != nil {
		t.Fatal(err)
	}
	opened := &sharing{Log: l, of: s}
	t.Cleanup(func() { opened.Close() })
	return opened
}

func (l *sharing) Close() (err error) {
	l.once.Do(func() {
		l.of.mu.Lock()
		defer l.of.mu.Unlock()
		err = l.Log.Close()
		if l.of.open--; l.of.open == 0 {
			err = l.of.owner.Close()
		}
	})
	return err
}

func TestEmbedded(t *testing.T) {
	for name, every := range map[string]time.Duration{"sync always": 0, "sync interval": time.Minute} {
		t.Run(name, func(t *testing.T) {
			mailboxtest.TestLog(t, func(t *testing.T) mailboxtest.Open {
				options := Options{Dir: t.TempDir(), SyncEvery: every, Logger: quiet}.withDefaults()
				return (&shared{options: options}).Open
			})
		})
	}
}

// external is a NATS server that listens.
func external(t testing.TB, dir string, port int) *natsserver.Server {
	t.Helper()
	return externalWith(t, natsserver.Options{Port: port, StoreDir: dir, JetStream: true})
}

func externalWith(t testing.TB, o natsserver.Options) *natsserver.Server {
	t.Helper()
	o.Host, o.NoSigs, o.NoLog = "127.0.0.1", true, true
	server, err := natsserver.NewServer(&o)
	if err != nil {
		t.Fatal(err)
	}
	server.Start()
	if !server.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server does not start")
	}
	t.Cleanup(func() { stop(server) })
	return server
}

func stop(server *natsserver.Server) {
	server.Shutdown()
	server.WaitForShutdown()
}

// fresh begins a log of another name on one NATS with each call.
func fresh(options func(n int) Options) func(t *testing.T) mailboxtest.Open {
	var logs, opened atomic.Int32
	return func(*testing.T) mailboxtest.Open {
		name := fmt.Sprintf("log%d", logs.Add(1))
		return func(t *testing.T) mailbox.Log {
			o := options(int(opened.Add(1)))
			o.Name = name
			return mustOpen(t, o)
		}
	}
}

func TestExternal(t *testing.T) {
	url := external(t, t.TempDir(), natsserver.RANDOM_PORT).ClientURL()
	mailboxtest.TestLog(t, fresh(func(int) Options { return Options{URLs: []string{url}} }))
}

// nodes opens a cluster of three.
func nodes(t testing.TB) []*Log {
	t.Helper()
	logs, _ := nodesWith(t)
	return logs
}

// nodesWith also returns what they were opened with. Whoever opens one again puts it in its place.
func nodesWith(t testing.TB) (logs []*Log, options []Options) {
	t.Helper()
	addresses := testport.Addresses(t, 3)
	logs = make([]*Log, 3)
	var all sync.WaitGroup
	for i := range logs {
		o := Options{Dir: t.TempDir(), Logger: quiet, Cluster: &Cluster{
			Name: "c", Node: fmt.Sprintf("n%d", i), Listen: addresses[i], User: "u", Password: "p",
			Join: []string{addresses[(i+1)%3], addresses[(i+2)%3]},
		}}
		options = append(options, o)
		all.Go(func() {
			var err error
			if logs[i], err = Open(within(t), o); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	t.Cleanup(func() {
		for _, l := range logs {
			all.Go(func() {
				if l != nil {
					l.Close()
				}
			})
		}
		all.Wait()
	})
	if t.Failed() {
		t.FailNow()
	}
	return logs, options
}

// TestDamagedNode: what a node lost at the end of its log comes from the others, also if its index says that it is there. What it lost
// before the end does not, so that it does not start.
func TestDamagedNode(t *testing.T) {
	if testing.Short() {
		t.Skip("three servers")
	}
	logs, options := nodesWith(t)
	appended := 0
	more := func(n, size int) {
		t.Helper()
		for range n {
			mustAppend(t, logs[0], strings.Repeat("x", size))
		}
		appended += n
	}
	awaitAll := func() {
		t.Helper()
		until(t, "the node has all", func() bool { return logs[1].embedded.entries(t) == appended })
	}
	reopen := func() {
		t.Helper()
		var err error
		if logs[1], err = Open(within(t), options[1]); err != nil {
			t.Fatal(err)
		}
	}
	more(60, 1000)
	awaitAll()
	logs[1].Close() // which notes how far it goes
	reopen()
	more(3, 1000)
	awaitAll()
	dir := filepath.Join(t.TempDir(), "killed")
	if err := os.CopyFS(dir, os.DirFS(options[1].Dir)); err != nil {
		t.Fatal(err)
	}
	logs[1].Close()
	newest, err := readTail(dir, logs[1].name)
	if err != nil {
		t.Fatal(err)
	}
	newest.was[heads(newest.was)[20]-1] ^= 4
	if err := os.WriteFile(newest.file, newest.was, 0o600); err != nil {
		t.Fatal(err)
	}
	options[1].Dir = dir
	reopen()
	awaitAll()

	more(40, 500_000)
	awaitAll()
	logs[1].Close()
	files, err := streamFiles(dir, logs[1].name, "*.blk")
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	oldest, err := os.ReadFile(slices.MinFunc(files, byNumber))
	if err != nil {
		t.Fatal(err)
	}
	oldest[heads(oldest)[20]-1] ^= 4
	if err := os.WriteFile(slices.MinFunc(files, byNumber), oldest, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, err := Open(within(t), options[1])
		if !errors.Is(err, mailbox.ErrDamaged) || !strings.Contains(err.Error(), "delete "+dir) {
			t.Fatalf("%v, want %v, and what to do", err, mailbox.ErrDamaged)
		}
	}
	options[1].Dir = t.TempDir()
	reopen()
	awaitAll()
}

// entries is how many this node itself has.
func (e *embedded) entries(t *testing.T) (n int) {
	t.Helper()
	info, err := e.server.Jsz(&natsserver.JSzOptions{Accounts: true, Streams: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, account := range info.AccountDetails {
		for _, stream := range account.Streams {
			n += int(stream.State.Msgs)
		}
	}
	return n
}

func TestCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("three servers")
	}
	logs := nodes(t)
	var names atomic.Int32
	mailboxtest.TestLog(t, func(*testing.T) mailboxtest.Open {
		o := Options{Name: fmt.Sprintf("log%d", names.Add(1)), Logger: quiet, Replicas: 3}
		var opened atomic.Int32
		return func(t *testing.T) mailbox.Log {
			node := logs[int(opened.Add(1))%3]
			l := newLog(o)
			if err := l.connect(within(t), o, "", node.embedded.connection()...); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			return l
		}
	})
	t.Run("a node fails", func(t *testing.T) {
		mustAppend(t, logs[0], "before")
		awaitReplicas(t, logs[0], 0)
		logs[2].Close()
		mustAppend(t, logs[0], "after")
		if got := entries(t, logs[1]); len(got) != 2 || string(got[1].Data) != "after" {
			t.Errorf("the other node reads %d entries, want 2", len(got))
		}
		awaitReplicas(t, logs[0], 1)
	})
}
