package server

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
)

func register(t testing.TB, s *Server, name string, to address.Address) {
	t.Helper()
	if err := again(t, s, func() error { return s.Register(name, to) }); err != nil {
		t.Fatalf("Register(%q) = %v", name, err)
	}
}

func narrowed(t testing.TB, a address.Address, caveats ...address.Caveat) address.Address {
	t.Helper()
	a, err := a.Attenuate(caveats...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// expectName holds what a name is for now; the zero value is nothing.
func expectName(t testing.TB, s *Server, name string, want address.Address) {
	t.Helper()
	if got, ok := s.Whereis(name); got != want || ok == want.IsZero() {
		t.Errorf("Whereis(%q) = %q, %v, want %q", name, got, ok, want)
	}
}

// awaitName waits until all nodes know what a name is for.
func awaitName(t testing.TB, name string, want address.Address, nodes ...*testNode) {
	t.Helper()
	await(t, 15*time.Second, fmt.Sprintf("every node knows that %q is for %q", name, want), func() bool {
		for _, n := range nodes {
			if got, ok := n.Whereis(name); got != want || ok == want.IsZero() {
				return false
			}
		}
		return true
	})
}

func TestRegister(t *testing.T) {
	s := newServer(t, Options{})
	m, other := open(t, s), open(t, s)
	expectName(t, s, "m", address.Address{})
	sendOnly := narrowed(t, m.Address, address.Only(address.Send), address.Label("by name"))
	register(t, s, "m", sendOnly)
	expectName(t, s, "m", sendOnly)
	if err := s.Register("m", other.Address); !errors.Is(err, ErrNameTaken) {
		t.Errorf("another mailbox's = %v, want ErrNameTaken", err)
	}
	register(t, s, "m", m.Address) // the same mailbox
	expectName(t, s, "m", m.Address)
	register(t, s, "also/m", m.Address)

	// names of processes are taken, but for the process itself
	process := handle(t, s, "process", newReceived())
	if err := s.Export("exported"); err != nil {
		t.Fatal(err)
	}
	if err := s.Keyed("keyed", func(string) Service { return &session{} }, KeyedOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, taken := range []string{"process", "exported", "keyed/1"} {
		if err := s.Register(taken, m.Address); !errors.Is(err, ErrNameTaken) {
			t.Errorf("Register(%q) = %v, want ErrNameTaken", taken, err)
		}
	}
	register(t, s, "process", narrowed(t, process, address.Only(address.Call)))
	expectName(t, s, "process", narrowed(t, process, address.Only(address.Call)))
	if err := s.Export("process"); err != nil {
		t.Errorf("Export of what is registered for itself = %v", err)
	}
	if err := s.Export("m"); !errors.Is(err, ErrNameTaken) {
		t.Errorf("Export of a registered name = %v, want ErrNameTaken", err)
	}

	r, err := s.readName("late", m.Address.String())
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.beginClaim(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Export("late"); err != nil {
		t.Errorf("Export of what is about to be registered = %v", err)
	}
	if err := s.endClaim(c, r, nil); !errors.Is(err, ErrNameTaken) {
		t.Errorf("and that = %v, want ErrNameTaken", err)
	}
	for _, of := range []address.Address{other.Address, process} { // leads elsewhere
		if err := s.Unregister("m", of); err != nil {
			t.Error(err)
		}
		expectName(t, s, "m", m.Address)
	}
	for name, of := range map[string]address.Address{"m": sendOnly, "also/m": {}, "process": {}, "none": {}} {
		if err := s.Unregister(name, of); err != nil {
			t.Error(err)
		}
		if name != "process" {
			expectName(t, s, name, address.Address{})
		}
	}
	expectName(t, s, "process", process) // exported
	if n := len(s.names.of) + s.Metrics().Registered; n != 0 {
		t.Errorf("%d names are left", n)
	}
}

func TestRegisterRefuses(t *testing.T) {
	s := newServer(t, Options{})
	m, closed := open(t, s), open(t, s)
	closeBox(t, s, closed)
	foreign, err := address.NewRing([]byte(strings.Repeat("x", 32)))
	if err != nil {
		t.Fatal(err)
	}
	for what, tt := range map[string]struct {
		name string
		to   address.Address
		want error
	}{
		"no name":      {"", m.Address, nil},
		"a long name":  {strings.Repeat("n", 129), m.Address, nil},
		"a space":      {"a b", m.Address, nil},
		"the server's": {"~callers/x", m.Address, nil},
		"no address":   {"n", address.Address{}, address.ErrMalformed},
		"foreign":      {"n", Mailbox{Address: mustAddress(t, foreign.MailboxKey(grant(t, s, m.Key.Reveal()).Mailbox()))}.Address, address.ErrInvalid},
		"expired":      {"n", narrowed(t, m.Address, address.Expires(time.Now().Add(-time.Second))), address.ErrExpired},
		"closed":       {"n", closed.Address, ErrClosed},
		"no process":   {"n", mustProcess(t, s, "none"), ErrGone},
	} {
		if err := s.Register(tt.name, tt.to); err == nil || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", what, err, tt.want)
		}
	}
	shutDown(t, s)
	if err := s.Register("n", m.Address); !errors.Is(err, ErrShuttingDown) {
		t.Errorf("after Shutdown: %v", err)
	}
}

func mustAddress(t testing.TB, k address.Key) address.Address {
	t.Helper()
	a, err := k.Address()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestMaxRegistered(t *testing.T) {
	if _, err := New(Options{Keys: testRing(t), MaxRegistered: -1}); err == nil || !strings.Contains(err.Error(), "MaxRegistered is -1") {
		t.Errorf("a negative limit: %v", err)
	}
	s := newServer(t, Options{MaxRegistered: 2})
	m := open(t, s)
	register(t, s, "1", m.Address)
	soon := time.Now().Add(time.Second).Truncate(time.Second)
	register(t, s, "2", narrowed(t, m.Address, address.Expires(soon)))
	if err := s.Register("3", m.Address); !errors.Is(err, ErrOverloaded) {
		t.Errorf("one more than the limit: %v, want ErrOverloaded", err)
	}
	register(t, s, "1", m.Address) // is not one more
	await(t, 10*time.Second, "an address that expired makes room", func() bool { return s.Register("3", m.Address) == nil })
	expectName(t, s, "2", address.Address{})
	if err := s.Register("4", m.Address); !errors.Is(err, ErrOverloaded) {
		t.Errorf("one more than the limit: %v, want ErrOverloaded", err)
	}
	if err := s.Unregister("1", m.Address); err != nil {
		t.Fatal(err)
	}
	register(t, s, "4", m.Address)
}

// TestNamesEnd holds that a name ends with what it is for, however that ends, and is free then.
func TestNamesEnd(t *testing.T) {
	s := newServer(t, Options{})
	free := open(t, s)
	exit := func(a address.Address) {
		if err := s.Exit(ctx, a, "why"); err != nil {
			t.Fatal(err)
		}
	}
	for how, end := range map[string]func() (to address.Address, end func()){
		"closed": func() (address.Address, func()) {
			m := open(t, s)
			return m.Address, func() { closeBox(t, s, m) }
		},
		"exit": func() (address.Address, func()) {
			m := open(t, s)
			may, err := m.Key.AddressFor(address.Exit)
			if err != nil {
				t.Fatal(err)
			}
			return may, func() { exit(may) }
		},
		"released": func() (address.Address, func()) { return handle(t, s, "p", newReceived()), func() { s.Release("p") } },
		"released keyed": func() (address.Address, func()) {
			if err := s.Keyed("k", func(string) Service { return &session{} }, KeyedOptions{}); err != nil {
				t.Fatal(err)
			}
			return mustProcess(t, s, "k/1"), func() { s.Release("k") }
		},
		"process exit": func() (address.Address, func()) {
			handle(t, s, "q", newReceived())
			may, err := s.keys.ProcessFor("q", address.Exit)
			if err != nil {
				t.Fatal(err)
			}
			return may, func() { exit(may) }
		},
	} {
		to, finish := end()
		register(t, s, how[:4], to)
		expectName(t, s, how[:4], to)
		finish()
		await(t, 10*time.Second, how+": the name ends", func() bool { return s.Metrics().Registered == 0 })
		expectName(t, s, how[:4], address.Address{})
		register(t, s, how[:4], free.Address)
		if err := s.Unregister(how[:4], address.Address{}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestNamesExpire holds that a name ends with a mailbox that sleeps too long, and with its address.
func TestNamesExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Options{Limits: mailbox.Limits{Asleep: 10 * time.Minute}})
		m := open(t, s)
		short := narrowed(t, m.Address, address.Expires(time.Now().Add(time.Minute)))
		register(t, s, "sleeper", m.Address)
		register(t, s, "short", short)
		time.Sleep(time.Minute - time.Second)
		expectName(t, s, "short", short)
		time.Sleep(time.Second)
		expectName(t, s, "short", address.Address{})
		other := open(t, s)
		register(t, s, "short", other.Address) // is free
		expectName(t, s, "sleeper", m.Address)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		expectName(t, s, "sleeper", address.Address{})
		shutDown(t, s)
	})
}

// TestNameOutlivesARestart holds that a crash ends a process's name only if nobody restarts it.
func TestNameOutlivesARestart(t *testing.T) {
	s := newServer(t, Options{})
	for name, restart := range map[string]Restart{"permanent": Permanent, "temporary": Temporary} {
		to, err := s.Serve(name, func() Service { return crasher{} }, ProcessOptions{Restart: restart})
		if err != nil {
			t.Fatal(err)
		}
		register(t, s, "is-"+name, to)
		if _, err := s.Call(ctx, to, "crash"); !errors.Is(err, ErrCallFailed) {
			t.Fatalf("the call: %v", err)
		}
	}
	await(t, 10*time.Second, "the one that is not restarted has no name", func() bool { return s.Metrics().Registered == 1 })
	expectName(t, s, "is-temporary", address.Address{})
	expectName(t, s, "is-permanent", mustProcess(t, s, "permanent"))
}

type crasher struct{}

func (crasher) Call(*Context, Message) (any, error) { panic("as asked") }
func (crasher) Cast(*Context, Message) error        { return nil }
