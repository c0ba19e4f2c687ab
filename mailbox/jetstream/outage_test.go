package jetstream

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"context"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"github.com/genbrowser/genbrowser/internal/testport"
	"github.com/genbrowser/genbrowser/mailbox"
)

// proxy stands between a log and its NATS. With cut set, it lets the next publish through and then cuts the
// connection, before an answer can come back. With swallow set, it cuts it before. With gather set, it lets nothing through until as many lanes are asked
// for, all of them unanswered.
type proxy struct {
	net.Listener
	to       string
	cut      atomic.Bool
	swallow  atomic.Bool
	gather   atomic.Int64
	finished sync.WaitGroup
}

func startProxy(t *testing.T, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp4", testport.Address(t))
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: l, to: to}
	p.finished.Go(p.run)
	t.Cleanup(func() { l.Close(); p.finished.Wait() })
	return p
}

func (p *proxy) run() {
	for {
		client, err := p.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.to)
		if err != nil {
			client.Close()
			continue
		}
		p.finished.Go(func() {
			io.Copy(client, server)
			client.Close()
		})
		p.finished.Go(func() { p.forward(client, server) })
	}
}

func (p *proxy) forward(client, server net.Conn) {
	defer server.Close()
	var held []byte
	for buf := make([]byte, 64<<10); ; {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		if want := int(p.gather.Load()); want > 0 {
			held = append(held, buf[:n]...)
			if asked := bytes.Count(held, []byte("STREAM.MSG.GET")); asked == 0 || asked >= want {
				server.Write(held)
				held = nil
			}
			continue
		}
		if bytes.Contains(buf[:n], []byte("HPUB ")) && p.swallow.CompareAndSwap(true, false) {
			client.Close()
			return
		}
		if bytes.Contains(buf[:n], []byte("HPUB ")) && p.cut.CompareAndSwap(true, false) {
			client.Close()
			server.Write(buf[:n])
			return
		}
		if _, err := server.Write(buf[:n]); err != nil {
			return
		}
	}
}

// TestAnswerLost: an entry is stored, and its acknowledgement is not heard.
func TestAnswerLost(t *testing.T) {
	server := external(t, t.TempDir(), natsserver.RANDOM_PORT)
	p := startProxy(t, server.Addr().String())
	l := mustOpen(t, Options{URLs: []string{"nats://" + p.Addr().String()}})
	mustAppend(t, l, "1")
	for range 5 {
		p.cut.Store(true)
		mustAppend(t, l, "again")
	}
	mustAppend(t, l, "2")
	if got := entries(t, l); len(got) != 7 || l.last != 7 {
		t.Errorf("%d entries are stored, the newest at %d; want 7", len(got), l.last)
	}
}

// TestAnswerLostThenSealed: the writer learns from the seal whether its entry came before.
func TestAnswerLostThenSealed(t *testing.T) {
	server := external(t, t.TempDir(), natsserver.RANDOM_PORT)
	p := startProxy(t, server.Addr().String())
	l := mustOpen(t, Options{URLs: []string{"nats://" + p.Addr().String()}})
	other := mustOpen(t, Options{URLs: []string{server.ClientURL()}})
	mustAppend(t, l, "1")
	p.Close() // so that it does not come back by itself
	p.cut.Store(true)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := l.Append(ctx, []byte("2"))
		done <- err
	}()
	until(t, "the entry", func() bool {
		s, err := other.Stats(within(t))
		return err == nil && s.Last == 2
	})
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatalf("append: %v, want a context that was canceled", err)
	}
	if err := other.Seal(within(t), l.Lane(), 2); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(within(t), []byte("3")); err == nil || !strings.Contains(err.Error(), "again first") {
		t.Errorf("another entry after one in doubt: %v", err)
	}
	again, err := net.Listen("tcp4", p.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	p.Listener = again
	p.finished.Go(p.run)
	t.Cleanup(func() { again.Close() })
	if seq := mustAppend(t, l, "2"); seq != 2 {
		t.Errorf("the entry in doubt is at %d, want 2", seq)
	}
	if _, err := l.Append(within(t), []byte("3")); !errors.Is(err, mailbox.ErrSealed) {
		t.Errorf("append after the seal: %v", err)
	}
}

// TestFirstEntryLost: a lane whose first entry did not arrive is not sealed, whatever was trimmed before it began.
func TestFirstEntryLost(t *testing.T) {
	server := external(t, t.TempDir(), natsserver.RANDOM_PORT)
	p := startProxy(t, server.Addr().String())
	trimmed := func(l *Log) {
		t.Helper()
		seq := mustAppend(t, l, "goes")
		if err := errors.Join(l.Seal(within(t), l.Lane(), seq), l.Trim(within(t), seq+2)); err != nil {
			t.Fatal(err)
		}
	}
	options := Options{URLs: []string{"nats://" + p.Addr().String()}}
	trimmed(mustOpen(t, options))
	l := mustOpen(t, options)
	for n := range 3 {
		p.swallow.Store(true)
		if want, seq := uint64(4*n+3), mustAppend(t, l, "first"); seq != want || p.swallow.Load() {
			t.Errorf("the entry that did not arrive at first is %d, want %d", seq, want)
		}
		if err := l.Seal(within(t), l.Lane(), l.last); err != nil {
			t.Fatal(err)
		}
		trimmed(mustOpen(t, options))
		l.Renew()
	}
}

// TestFirstEntrySealed: a lane whose first entry arrived, and was sealed and trimmed before the writer heard of it, is sealed.
func TestFirstEntrySealed(t *testing.T) {
	server := external(t, t.TempDir(), natsserver.RANDOM_PORT)
	l := mustOpen(t, Options{URLs: []string{server.ClientURL()}})
	other := mustOpen(t, Options{URLs: []string{server.ClientURL()}})
	seq, err := l.publisher.publish(within(t), l.alarm, 0, []byte("1"))
	if err != nil {
		t.Fatal(err)
	}
	l.doubt = []byte("1") // as if there had been no answer
	if err := errors.Join(other.Seal(within(t), l.Lane(), seq), other.Trim(within(t), 3)); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(within(t), []byte("1")); !errors.Is(err, mailbox.ErrSealed) {
		t.Errorf("append: %v, want %v", err, mailbox.ErrSealed)
	}
}

// TestLanesAtOnce: what lanes there are takes as long with a hundred that came and went as with one.
func TestLanesAtOnce(t *testing.T) {
	const lanes = 100
	server := external(t, t.TempDir(), natsserver.RANDOM_PORT)
	p := startProxy(t, server.Addr().String())
	l := mustOpen(t, Options{URLs: []string{"nats://" + p.Addr().String()}})
	mustAppend(t, l, "1")
	for range lanes - 1 {
		if err := l.Seal(within(t), l.Lane(), l.last); err != nil {
			t.Fatal(err)
		}
		l.Renew()
		mustAppend(t, l, "1")
	}
	p.gather.Store(lanes)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if got, err := l.Lanes(ctx); err != nil || len(got) != 1 || got[0].Lane != l.Lane() {
		t.Errorf("lanes: %v, %v; want the newest one, %s", got, err, l.Lane())
	}
}

func TestOutage(t *testing.T) {
	dir := t.TempDir()
	port := testport.Port(t)
	server := external(t, dir, port)
	l := mustOpen(t, Options{URLs: []string{server.ClientURL()}})
	for range 3 {
		mustAppend(t, l, "before")
		stop(server)
		until(t, "the outage", func() bool { return !l.Connected() })
		began := make(chan struct{})
		done := make(chan error, 1)
		go func() {
			close(began)
			_, err := l.Append(within(t), []byte("during"))
			done <- err
		}()
		<-began
		server = external(t, dir, port)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	if got := entries(t, l); len(got) != 6 {
		t.Errorf("%d entries are stored, want 6", len(got))
	}
}

func TestStopsWhileAppending(t *testing.T) {
	dir := t.TempDir()
	port := testport.Port(t)
	server := external(t, dir, port)
	l := mustOpen(t, Options{URLs: []string{server.ClientURL()}})
	var stored atomic.Uint64
	enough := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		for {
			select {
			case <-enough:
				done <- nil
				return
			default:
			}
			if _, err := l.Append(context.Background(), []byte("x")); err != nil {
				done <- err
				return
			}
			stored.Add(1)
		}
	}()
	for range 3 {
		n := stored.Load()
		until(t, "entries", func() bool { return stored.Load() > n+100 })
		stop(server)
		server = external(t, dir, port)
	}
	n := stored.Load()
	until(t, "entries", func() bool { return stored.Load() > n })
	close(enough)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := entries(t, l); uint64(len(got)) != stored.Load() {
		t.Errorf("%d entries are stored, want the %d that were acknowledged", len(got), stored.Load())
	}
}

func TestCloseWhileAppending(t *testing.T) {
	l := mustOpen(t, Options{Dir: t.TempDir()})
	done := make(chan error, 1)
	first := make(chan struct{})
	go func() {
		for n := 0; ; n++ {
			if _, err := l.Append(context.Background(), []byte("x")); err != nil {
				done <- err
				return
			}
			if n == 0 {
				close(first)
			}
		}
	}()
	<-first
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Errorf("append while the log is closed: %v, want ErrClosed", err)
	}
}

// TestEndedBefore: an entry that was never sent is not in doubt.
func TestEndedBefore(t *testing.T) {
	l := mustOpen(t, Options{Dir: t.TempDir()})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Append(ctx, []byte("1")); !errors.Is(err, context.Canceled) {
		t.Errorf("append with an ended context: %v", err)
	}
	mustAppend(t, l, "2")
}

// TestReadsNoFurther: entries that come while Read begins are in its batches, and not for it.
func TestReadsNoFurther(t *testing.T) {
	l := mustOpen(t, Options{Dir: t.TempDir()})
	for range 5 {
		mustAppend(t, l, "x")
	}
	n := 0
	r := &reader{log: l, f: func(mailbox.Entry) error { n++; return nil }, next: 2, last: 3}
	if err := r.run(within(t)); err != nil || n != 2 {
		t.Errorf("read %d entries of 2 to 3, %v", n, err)
	}
}

func TestNoServer(t *testing.T) {
	url := "nats://" + testport.Address(t)
	began := time.Now()
	_, err := Open(within(t), Options{URLs: []string{url}, Logger: quiet})
	if err == nil || !strings.Contains(err.Error(), url) || time.Since(began) > 10*time.Second {
		t.Errorf("open with nobody there: %v", err)
	}
	for _, url := range []string{"nats://me:hidden@" + testport.Address(t), "nats://hidden@" + testport.Address(t), "me:hidden@127.0.0.1:1", "nats://me:hidden@%zz"} {
		if _, err := Open(within(t), Options{URLs: []string{url}, Logger: quiet}); err == nil || strings.Contains(err.Error(), "hidden") {
			t.Errorf("open with nobody there and a password: %v", err)
		}
	}
}
