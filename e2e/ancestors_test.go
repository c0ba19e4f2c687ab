//go:build linux

package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/client"
	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/server"
	"github.com/genbrowser/genbrowser/web"
	"github.com/genbrowser/genbrowser/web/problem"
)

// What the suites of the ancestors (erps, ergo, fabric) go through stands here, as far as no other test does:
//
//	one call overtakes another      client TestACallOvertakesAnother, server TestLaterOvertakes
//	the server restarts             client TestPeersOverRestarts, TestPeersWhoseServerForgets
//	the client restarts             client TestResume, TestResumeOfADeadMailbox
//	calls while the server is down  client TestPeersOverRestarts, TestFailFast
//	connections cut under load      client TestPeersUnderAHundredCuts, TestCutAtEveryByte
//	two clients, two servers        TestRemoteProcesses
//	the version, and the name       client TestListings, TestDiscoverFails, TestName
//	TLS of both sides               cmd/genbrowser TestTLSOfBothSides, TestMutualTLS, TestHellos
//	a name that is taken            server TestRegistry

// alone is a server in this program that shares nothing with others.
func alone(t *testing.T, limits mailbox.Limits) (*server.Server, *httptest.Server) {
	t.Helper()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	secret := sha256.Sum256([]byte(t.Name()))
	keys, err := address.NewRing(secret[:])
	if err != nil {
		t.Fatal(err)
	}
	office, err := server.New(server.Options{Keys: keys, Limits: limits, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	gb, err := web.New(web.Options{Server: office, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	site := httptest.NewServer(gb)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := gb.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		site.CloseClientConnections()
		site.Close()
	})
	return office, site
}

func dialAt(t *testing.T, url string) *client.Peer {
	t.Helper()
	p, err := client.Dial(t.Context(), url, client.DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		p.Close(ctx)
	})
	return p
}

// expectNote waits for what a process notes.
func expectNote(t *testing.T, notes <-chan string, want string) {
	t.Helper()
	select {
	case got := <-notes:
		if got != want {
			t.Errorf("the process notes %q, want %q", got, want)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("the process does not note %q", want)
	}
}

// obliging is a process that is told by each call how to answer it.
type obliging struct {
	notes chan string
	owed  *server.Later
}

func (o *obliging) Call(c *server.Context, m server.Message) (any, error) {
	var how string
	if err := json.Unmarshal(m.Body, &how); err != nil {
		return nil, err
	}
	switch how {
	case "at once":
		return how, nil
	case "later":
		o.owed = c.Later()
		o.notes <- "owes"
	case "continue":
		l := c.Later()
		c.Continue(func(c *server.Context) error { return l.Reply(c, how) })
	case "never":
		c.Later()
	case "and stop":
		c.Stop(server.Down{})
		return how, nil
	case "stop":
		c.Stop(server.Down{})
	default: // the address of what to monitor
		to, err := address.Parse(how)
		if err == nil {
			_, err = c.Monitor(to)
		}
		return "monitored", err
	}
	return server.NoReply, nil
}

func (o *obliging) Cast(c *server.Context, m server.Message) error {
	if o.owed != nil {
		return o.owed.Reply(c, m.Body)
	}
	o.notes <- "cast " + string(m.Body)
	return nil
}

func (o *obliging) Info(_ *server.Context, m server.Message) error {
	o.notes <- fmt.Sprintf("info %v %s", m.Kind, m.Body)
	return nil
}

// caller is who uses a process, and what it is told of failures.
type caller struct {
	call          func(ctx context.Context, to address.Address, body string) (string, error)
	cast          func(ctx context.Context, to address.Address, body string) error
	timeout, gone error
	// mortal is something that can be monitored, and end has it end, for that reason
	mortal address.Address
	end    func()
	reason string
}

// TestEveryAnswer is the matrix of erps: who calls, from the same server or from a program that is connected to it, by
// how the process answers.
func TestEveryAnswer(t *testing.T) {
	t.Parallel()
	office, site := alone(t, mailbox.Limits{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	mortal, err := office.Handle("mortal", server.HandlerFunc(func(context.Context, server.Message) error { return nil }))
	if err != nil {
		t.Fatal(err)
	}
	peer, other := dialAt(t, site.URL), dialAt(t, site.URL)
	for where, c := range map[string]caller{
		"local": {
			call: func(ctx context.Context, to address.Address, body string) (string, error) {
				return server.CallAs[string](ctx, office, to, body)
			},
			cast: func(ctx context.Context, to address.Address, body string) error {
				return office.Send(ctx, to, body)
			},
			timeout: server.ErrCallTimeout, gone: server.ErrGone,
			mortal: mortal, end: func() { office.Release("mortal") }, reason: "normal",
		},
		"remote": {
			call: func(ctx context.Context, to address.Address, body string) (string, error) {
				return client.CallAs[string](ctx, peer, to, body)
			},
			cast:    func(ctx context.Context, to address.Address, body string) error { return peer.Cast(ctx, to, body) },
			timeout: problem.CallTimeout, gone: problem.Gone,
			mortal: other.Address(), end: func() { other.Close(ctx) }, reason: "closed",
		},
	} {
		// each has a process of its own
		start := func(t *testing.T) (address.Address, chan string) {
			notes := make(chan string, 10)
			to, err := office.Serve(strings.ReplaceAll(t.Name(), "_", "-"), func() server.Service { return &obliging{notes: notes} },
				server.ProcessOptions{Restart: server.Temporary})
			if err != nil {
				t.Fatal(err)
			}
			return to, notes
		}
		expect := func(t *testing.T, to address.Address, body string) {
			t.Helper()
			if got, err := c.call(ctx, to, body); got != body || err != nil {
				t.Errorf("the call's answer is %q, %v", got, err)
			}
		}
		expectGone := func(t *testing.T, to address.Address) {
			t.Helper()
			if _, err := c.call(ctx, to, "at once"); !errors.Is(err, c.gone) {
				t.Errorf("a call to what stopped: %v, want %v", err, c.gone)
			}
		}
		for name, test := range map[string]func(t *testing.T, to address.Address, notes chan string){
			"at once":  func(t *testing.T, to address.Address, _ chan string) { expect(t, to, "at once") },
			"continue": func(t *testing.T, to address.Address, _ chan string) { expect(t, to, "continue") },
			"later": func(t *testing.T, to address.Address, notes chan string) {
				var calling sync.WaitGroup
				calling.Go(func() {
					if got, err := c.call(ctx, to, "later"); got != "now" || err != nil {
						t.Errorf("the call's answer is %q, %v", got, err)
					}
				})
				expectNote(t, notes, "owes")
				expect(t, to, "at once") // it handles others meanwhile
				if err := c.cast(ctx, to, "now"); err != nil {
					t.Error(err)
				}
				calling.Wait()
			},
			"never": func(t *testing.T, to address.Address, _ chan string) {
				soon, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
				defer cancel()
				if got, err := c.call(soon, to, "never"); !errors.Is(err, c.timeout) {
					t.Errorf("the call's answer is %q, %v, want %v", got, err, c.timeout)
				}
				expect(t, to, "at once") // and it goes on
			},
			"and stop": func(t *testing.T, to address.Address, _ chan string) {
				expect(t, to, "and stop")
				within(t, 10*time.Second, "it stops", func() bool { _, err := c.call(ctx, to, "at once"); return err != nil })
				expectGone(t, to)
			},
			"stop": func(t *testing.T, to address.Address, _ chan string) {
				if got, err := c.call(ctx, to, "stop"); !errors.Is(err, c.gone) {
					t.Errorf("the call's answer is %q, %v, want %v", got, err, c.gone)
				}
				expectGone(t, to)
			},
			"cast": func(t *testing.T, to address.Address, notes chan string) {
				if err := c.cast(ctx, to, "hello"); err != nil {
					t.Error(err)
				}
				expectNote(t, notes, `cast "hello"`)
			},
			"info": func(t *testing.T, to address.Address, notes chan string) {
				if got, err := c.call(ctx, to, c.mortal.String()); got != "monitored" || err != nil {
					t.Fatalf("the call's answer is %q, %v", got, err)
				}
				c.end()
				expectNote(t, notes, `info down {"reason":"`+c.reason+`"}`)
			},
		} {
			t.Run(where+"/"+name, func(t *testing.T) {
				to, notes := start(t)
				test(t, to, notes)
			})
		}
	}
}

// companion is a process of a client's.
type companion struct{ notes chan string }

func (p *companion) Call(c *server.Context, m server.Message) (any, error) {
	if string(m.Body) == `"stop"` {
		c.Stop(server.Down{Reason: "normal"})
	}
	return nil, nil
}

func (p *companion) Cast(*server.Context, server.Message) error { return nil }

func (p *companion) Terminate(why server.Down) { p.notes <- why.Reason }

// TestClientsTakeTheirProcessesAlong goes through the ends of a client and of the process that it has at the server:
// each takes the other along, also where a client is killed and can say nothing.
func TestClientsTakeTheirProcessesAlong(t *testing.T) {
	t.Parallel()
	office, site := alone(t, mailbox.Limits{Asleep: time.Second})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	notes := make(chan string, 10)
	front, err := office.PerClient("companion", func(address.Address) server.Service { return &companion{notes} }, server.KeyedOptions{})
	if err != nil {
		t.Fatal(err)
	}
	accompany := func(p *client.Peer) address.Address {
		t.Helper()
		to, err := client.CallAs[address.Address](ctx, p, front, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Call(ctx, to, "begin", nil); err != nil {
			t.Fatal(err)
		}
		return to
	}
	closes := dialAt(t, site.URL)
	accompany(closes)
	if err := closes.Close(ctx); err != nil {
		t.Fatal(err)
	}
	expectNote(t, notes, "closed")

	// killed: it is cut off, and never heard again
	var mu sync.Mutex
	var conns []net.Conn
	dead := false
	transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		mu.Lock()
		defer mu.Unlock()
		if dead {
			return nil, errors.New("dead")
		}
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err == nil {
			conns = append(conns, c)
		}
		return c, err
	}}
	killed, err := client.Dial(ctx, site.URL, client.DialOptions{Options: client.Options{HTTP: &http.Client{Transport: transport}}})
	if err != nil {
		t.Fatal(err)
	}
	accompany(killed)
	mu.Lock()
	dead = true
	for _, c := range conns {
		c.Close()
	}
	mu.Unlock()
	expectNote(t, notes, "expired")
	short, cancelShort := context.WithTimeout(ctx, time.Millisecond)
	defer cancelShort()
	killed.Close(short)

	// the process ends first
	lives := dialAt(t, site.URL)
	to := accompany(lives)
	if err := lives.Call(ctx, to, "stop", nil); err != nil {
		t.Fatal(err)
	}
	expectNote(t, notes, "normal")
	m, err := lives.Receive(ctx)
	if down, isEnd := m.End(); err != nil || m.Kind != "exited" || !isEnd || down.Reason != "normal" {
		t.Errorf("the client is told %s %s, %v", m.Kind, m.Body, err)
	}
}

// oneByOne is a connection that hands its bytes on one at a time.
type oneByOne struct{ net.Conn }

func (c oneByOne) Read(b []byte) (int, error) { return c.Conn.Read(b[:min(1, len(b))]) }

func (c oneByOne) Write(b []byte) (n int, err error) {
	for ; n < len(b) && err == nil; n++ {
		_, err = c.Conn.Write(b[n : n+1])
	}
	return n, err
}

// TestSplitAndJoined sends what is larger than a packet, byte by byte, and much that comes in one.
func TestSplitAndJoined(t *testing.T) {
	t.Parallel()
	_, site := alone(t, mailbox.Limits{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		return oneByOne{c}, err
	}}
	t.Cleanup(transport.CloseIdleConnections)
	p, err := client.Dial(ctx, site.URL, client.DialOptions{Options: client.Options{HTTP: &http.Client{Transport: transport}}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close(ctx)
	whole, serving := dialAt(t, site.URL), make(chan error, 1)
	echo, stop := context.WithCancel(ctx)
	go func() {
		serving <- whole.Serve(echo, client.CallFunc(func(_ context.Context, m client.Message) (any, error) { return m.Body, nil }))
	}()
	for _, size := range []int{1, 1499, 1500, 5000, 60_000} {
		body := strings.Repeat("x", size)
		if got, err := client.CallAs[string](ctx, p, whole.Address(), body); got != body || err != nil {
			t.Errorf("a body of %d bytes comes back with %d, %v", size, len(got), err)
		}
	}
	stop()
	<-serving
	var batch []client.Outgoing
	for n := range 100 {
		batch = append(batch, client.Outgoing{To: p.Address(), Body: n})
	}
	if err := whole.SendBatch(ctx, batch); err != nil {
		t.Fatal(err)
	}
	for n := range batch {
		if m, err := p.Receive(ctx); err != nil || string(m.Body) != fmt.Sprint(n) {
			t.Fatalf("message %d is %s, %v", n, m.Body, err)
		}
	}
}

// TestStopOfAnothersName holds that who may call a process can't end it, nor take its name.
func TestStopOfAnothersName(t *testing.T) {
	t.Parallel()
	office, site := alone(t, mailbox.Limits{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	answer := server.HandlerFunc(func(ctx context.Context, m server.Message) error { return m.Answer(ctx, "mine") })
	if _, err := office.Handle("mine", answer); err != nil {
		t.Fatal(err)
	}
	if err := office.Export("mine"); err != nil {
		t.Fatal(err)
	}
	p := dialAt(t, site.URL)
	to, err := p.Whereis(ctx, "mine")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Exit(ctx, to, "go"); !errors.Is(err, problem.MissingRight) {
		t.Errorf("Exit = %v, want %v", err, problem.MissingRight)
	}
	if _, err := office.Handle("mine", answer); !errors.Is(err, server.ErrNameTaken) {
		t.Errorf("Handle = %v, want %v", err, server.ErrNameTaken)
	}
	if got, err := client.CallAs[string](ctx, p, to, 1); got != "mine" || err != nil {
		t.Errorf("afterwards it answers %q, %v", got, err)
	}
}
