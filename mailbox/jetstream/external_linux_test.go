package jetstream

import (
	"context"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/genbrowser/genbrowser/internal/standstill"
	"github.com/genbrowser/genbrowser/internal/testport"
)

// dead makes an address one where nobody answers: no room is left for those who knock.
func dead(t *testing.T, address string) string {
	t.Helper()
	l, err := net.Listen("tcp4", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { syscall.Listen(int(fd), 0) }); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		c, err := net.DialTimeout("tcp4", l.Addr().String(), 100*time.Millisecond)
		if err != nil {
			return l.Addr().String()
		}
		t.Cleanup(func() { c.Close() })
	}
	t.Skip("a listener has room for all")
	return ""
}

// TestCallersTimeout holds that the caller's timeout, longer or shorter than ours, is that of the dialer.
func TestCallersTimeout(t *testing.T) {
	address := dead(t, "127.0.0.1:0")
	for _, timeout := range []time.Duration{300 * time.Millisecond, 2500 * time.Millisecond} {
		began, running := time.Now(), standstill.Start(t)
		l, err := Open(within(t), Options{URLs: []string{"nats://" + address}, Logger: quiet, NATS: []nats.Option{nats.Timeout(timeout)}})
		if took := time.Since(began); took < timeout || running.Elapsed() > timeout+time.Second || err == nil {
			t.Errorf("open with nobody there took %v: %v, want an error after %v", took, err, timeout)
		}
		if err == nil {
			l.Close()
		}
	}
}

// resolve makes a name stand for addresses, until the test ends.
func resolve(t *testing.T, name string, addresses ...[4]byte) {
	t.Helper()
	server, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for b := make([]byte, 4096); ; {
			n, from, err := server.ReadFrom(b)
			if err != nil {
				return
			}
			server.WriteTo(answer(b[:n], name, addresses), from)
		}
	}()
	before := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp4", server.LocalAddr().String())
	}}
	t.Cleanup(func() {
		net.DefaultResolver = before
		server.Close()
		<-done
	})
}

func answer(question []byte, name string, addresses [][4]byte) []byte {
	var m dnsmessage.Message
	if err := m.Unpack(question); err != nil {
		return nil
	}
	m.Response, m.Additionals = true, nil
	q := m.Questions[0]
	for _, a := range addresses {
		if q.Type == dnsmessage.TypeA && strings.TrimSuffix(q.Name.String(), ".") == name {
			head := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class}
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AResource{A: a}})
		}
	}
	b, _ := m.Pack()
	return b
}

// TestDeadAddresses holds that a name is connected to in one timeout, though nobody is at most of its addresses.
func TestDeadAddresses(t *testing.T) {
	port := testport.Port(t)
	external(t, t.TempDir(), port)
	for n := 2; n <= 4; n++ {
		dead(t, fmt.Sprintf("127.0.0.%d:%d", n, port))
	}
	resolve(t, "nats.test", [4]byte{127, 0, 0, 2}, [4]byte{127, 0, 0, 3}, [4]byte{127, 0, 0, 4}, [4]byte{127, 0, 0, 1})
	began, running := time.Now(), standstill.Start(t)
	mustOpen(t, Options{URLs: []string{fmt.Sprintf("nats://nats.test:%d", port)}, NATS: []nats.Option{nats.DontRandomize()}})
	if took := time.Since(began); took < 1400*time.Millisecond || running.Elapsed() > 4*time.Second {
		t.Errorf("it took %v, want three quarters of 2 s for who is not there, and little more", took)
	}
}
