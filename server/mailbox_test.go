package server

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
)

// TestLateReader holds that a reader that is gone before it is there does not take another one's place, at its mailbox's
// node and at another.
func TestLateReader(t *testing.T) {
	nodes := startNodes(t, 2, Options{})
	m := farMailbox(t, nodes[0], nodes[1])
	_, r := subscribe(t, nodes[0].Server, m, Subscribing{})
	over, cancel := context.WithCancel(ctx)
	cancel()
	for _, n := range nodes {
		if _, err := n.Subscribe(grant(t, n.Server, m.Key.Reveal()), Subscribing{Context: over}, newReader()); !errors.Is(err, ErrUnavailable) {
			t.Errorf("a reader that is gone: %v, want %v", err, ErrUnavailable)
		}
	}
	select {
	case why := <-r.ended:
		t.Errorf("the reader was ended with %v", why)
	default:
	}
}

func TestOpenAndResume(t *testing.T) {
	s := newServer(t, Options{})
	m := open(t, s)
	mustPost(t, s, m.Address, "1", "2")
	sub, r := subscribe(t, s, m, Subscribing{})
	expectRead(t, sub, "1 2")
	mustPost(t, s, m.Address, "3")
	<-r.woken
	expectRead(t, sub, "3")
	sub.Close()

	again, _ := subscribe(t, s, m, Subscribing{}) // nothing was acknowledged
	expectRead(t, again, "1 2 3")
	after := mailbox.Cursor{Epoch: m.Cursor.Epoch, Seq: 2}
	held, _ := subscribe(t, s, m, Subscribing{After: &after, Hold: true})
	expectRead(t, held, "3")
	expectStats(t, s, 1, 3)
	subscribe(t, s, m, Subscribing{After: &after})
	expectStats(t, s, 1, 1) // the cursor acknowledged
	if err := s.Ack(grant(t, s, m.Key.Reveal()), mailbox.Cursor{Epoch: m.Cursor.Epoch, Seq: 3}); err != nil {
		t.Errorf("Ack = %v", err)
	}
	expectStats(t, s, 1, 0)
}

// A key without the ack right must not acknowledge by way of a cursor, nor by reading.
func TestReadingAloneAcknowledgesNothing(t *testing.T) {
	s := newServer(t, Options{Limits: mailbox.Limits{Backlog: 2}})
	m := open(t, s)
	mustPost(t, s, m.Address, "1", "2")
	key, err := m.Key.Attenuate(address.Only(address.Read))
	if err != nil {
		t.Fatal(err)
	}
	after := mailbox.Cursor{Epoch: m.Cursor.Epoch, Seq: 1}
	sub, err := s.Subscribe(grant(t, s, key.Reveal()), Subscribing{After: &after}, newReader())
	if err != nil {
		t.Fatal(err)
	}
	expectRead(t, sub, "2")
	if err := post(s, m.Address, "3"); !errors.Is(err, mailbox.ErrFull) {
		t.Errorf("Post = %v, want ErrFull: what was read must be kept", err)
	}
	owner, _ := subscribe(t, s, m, Subscribing{})
	expectRead(t, owner, "1 2")
}

func TestExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Options{Limits: mailbox.Limits{Asleep: 10 * time.Minute}})
		m := open(t, s)
		mustPost(t, s, m.Address, "1")
		time.Sleep(10*time.Minute - time.Second)
		synctest.Wait()
		sub, _ := subscribe(t, s, m, Subscribing{}) // just in time
		time.Sleep(time.Hour)
		synctest.Wait()
		expectStats(t, s, 1, 1)
		mustPost(t, s, m.Address, "2")
		expectRead(t, sub, "1 2")
		sub.Close()
		sub.Close() // again changes nothing

		time.Sleep(10*time.Minute - time.Second)
		synctest.Wait()
		mustPost(t, s, m.Address, "3") // a sender does not keep it awake
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if err := post(s, m.Address, "4"); !errors.Is(err, ErrExpired) {
			t.Errorf("Post = %v, want ErrExpired", err)
		}
		if _, err := s.Subscribe(grant(t, s, m.Key.Reveal()), Subscribing{}, newReader()); !errors.Is(err, ErrExpired) {
			t.Errorf("Subscribe = %v, want ErrExpired", err)
		}
		expectStats(t, s, 0, 0)
		shutDown(t, s)
	})
}

func TestTTLIsAccounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Options{Limits: mailbox.Limits{Asleep: time.Hour}})
		m := open(t, s)
		if _, err := s.Post(m.Address.String(), &Letter{Body: []byte(`"short"`), TTL: time.Second}); err != nil {
			t.Fatal(err)
		}
		mustPost(t, s, m.Address, "1")
		time.Sleep(2 * time.Second)
		sub, _ := subscribe(t, s, m, Subscribing{})
		expectRead(t, sub, "1")
		expectStats(t, s, 1, 1)
		sub.Close()
		shutDown(t, s)
	})
}

// A message that does not fit although others made room for it is refused, and what was dropped is given back.
func TestRefusedMessageIsAccounted(t *testing.T) {
	s := newServer(t, Options{Limits: mailbox.Limits{Body: 100, BacklogBytes: 100}})
	m := open(t, s)
	sub, _ := subscribe(t, s, m, Subscribing{})
	mustPost(t, s, m.Address, quoted(30))
	read(sub) // delivered: it may go
	mustPost(t, s, m.Address, quoted(60))
	if err := post(s, m.Address, quoted(90)); !errors.Is(err, mailbox.ErrFull) {
		t.Fatalf("Post = %v, want ErrFull", err)
	}
	_, bytes := sub.box.mail.Len()
	expectStats(t, s, 1, int64(bytes))
	if err := s.Close(grant(t, s, m.Key.Reveal())); err != nil {
		t.Fatal(err)
	}
	expectStats(t, s, 0, 0)
}

func TestTakeOver(t *testing.T) {
	s := newServer(t, Options{})
	m := open(t, s)
	first, r := subscribe(t, s, m, Subscribing{})
	second, _ := subscribe(t, s, m, Subscribing{})
	if err := <-r.ended; !errors.Is(err, ErrTakenOver) {
		t.Errorf("End(%v), want ErrTakenOver", err)
	}
	mustPost(t, s, m.Address, "1")
	expectRead(t, first, "")
	first.Close() // must not put the mailbox to sleep under the second
	expectRead(t, second, "1")
	mustPost(t, s, m.Address, "2")
	expectRead(t, second, "2")
}

func TestClose(t *testing.T) {
	s := newServer(t, Options{})
	m := open(t, s)
	sub, r := subscribe(t, s, m, Subscribing{})
	mustPost(t, s, m.Address, "1")
	g := grant(t, s, m.Key.Reveal())
	if err := s.Close(g); err != nil {
		t.Fatal(err)
	}
	if err := <-r.ended; !errors.Is(err, ErrClosed) {
		t.Errorf("End(%v), want ErrClosed", err)
	}
	expectRead(t, sub, "")
	sub.Close()
	for name, err := range map[string]error{
		"Close": s.Close(g),
		"Ack":   s.Ack(g, m.Cursor),
		"Post":  post(s, m.Address, "1"),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s after Close = %v, want ErrClosed", name, err)
		}
	}
	expectStats(t, s, 0, 0)
}

func TestOwnersRights(t *testing.T) {
	s := newServer(t, Options{})
	m := open(t, s)
	addr := grant(t, s, m.Address.String())
	process := grant(t, s, handle(t, s, "p", newReceived()).String())
	if err := s.Close(addr); !errors.Is(err, address.ErrRight) {
		t.Errorf("Close with an address = %v, want ErrRight", err)
	}
	if err := s.Ack(addr, m.Cursor); !errors.Is(err, address.ErrRight) {
		t.Errorf("Ack with an address = %v, want ErrRight", err)
	}
	if _, err := s.Subscribe(addr, Subscribing{}, newReader()); !errors.Is(err, address.ErrRight) {
		t.Errorf("Subscribe with an address = %v, want ErrRight", err)
	}
	if err := s.Close(process); !errors.Is(err, ErrNotAMailbox) {
		t.Errorf("Close of a process = %v, want ErrNotAMailbox", err)
	}
}

func TestMaxMailboxesAndBytes(t *testing.T) {
	s := newServer(t, Options{MaxMailboxes: 2, MaxBytes: 10})
	m := open(t, s)
	open(t, s)
	if _, err := s.Open(nil); !errors.Is(err, ErrOverloaded) {
		t.Errorf("third Open = %v, want ErrOverloaded", err)
	}
	mustPost(t, s, m.Address, quoted(10))
	if err := post(s, m.Address, "1"); !errors.Is(err, ErrOverloaded) {
		t.Errorf("Post over MaxBytes = %v, want ErrOverloaded", err)
	}
	if err := s.Close(grant(t, s, m.Key.Reveal())); err != nil {
		t.Fatal(err)
	}
	m = open(t, s) // a closed one makes room
	mustPost(t, s, m.Address, quoted(10))
}

func TestLetter(t *testing.T) {
	s := newServer(t, Options{Limits: mailbox.Limits{TTL: time.Hour, Body: 100}})
	m := open(t, s)
	sendOnly, err := m.Address.Attenuate(address.Only(address.Send), address.Label("a"), address.Label("b"))
	if err != nil {
		t.Fatal(err)
	}
	long := make([]byte, 129)
	for i := range long {
		long[i] = 'x'
	}
	call := mailbox.Meta{Kind: mailbox.KindCall, Ref: "1", Reply: m.Address.String()}
	for _, tt := range []struct {
		name string
		to   address.Address
		l    Letter
		want error
	}{
		{"plain", m.Address, Letter{}, nil},
		{"shortest TTL", m.Address, Letter{TTL: time.Second}, nil},
		{"longest TTL", m.Address, Letter{TTL: time.Hour}, nil},
		{"TTL below", m.Address, Letter{TTL: time.Second - 1}, ErrTTL},
		{"negative TTL", m.Address, Letter{TTL: -1}, ErrTTL},
		{"TTL above", m.Address, Letter{TTL: time.Hour + 1}, ErrTTL},
		{"TTL above, of a call", m.Address, Letter{TTL: 2 * time.Hour, Meta: mailbox.Meta{Kind: mailbox.KindCall, Ref: "1", Reply: replyAddress(t, m, "1")}}, nil},
		{"TTL below, of a call", m.Address, Letter{TTL: time.Second - 1, Meta: mailbox.Meta{Kind: mailbox.KindCall, Ref: "1", Reply: replyAddress(t, m, "1")}}, ErrTTL},
		{"longest name", m.Address, Letter{Name: string(long[:128])}, nil},
		{"name too long", m.Address, Letter{Name: string(long)}, ErrName},
		{"name with a space", m.Address, Letter{Name: "a b"}, ErrName},
		{"name not ASCII", m.Address, Letter{Name: "é"}, ErrName},
		{"call", m.Address, Letter{Meta: call}, nil},
		{"call without the right", sendOnly, Letter{Meta: call}, address.ErrRight},
		{"call without ref", m.Address, Letter{Meta: mailbox.Meta{Kind: mailbox.KindCall, Reply: m.Address.String()}}, ErrEnvelope},
		{"call without reply", m.Address, Letter{Meta: mailbox.Meta{Kind: mailbox.KindCall, Ref: "1"}}, ErrEnvelope},
		{"reply without ref", m.Address, Letter{Meta: mailbox.Meta{Kind: mailbox.KindReply}}, ErrEnvelope},
		{"malformed reply", m.Address, Letter{Meta: mailbox.Meta{Reply: "x"}}, ErrEnvelope},
		{"key as reply", m.Address, Letter{Meta: mailbox.Meta{Reply: m.Key.Reveal()}}, ErrEnvelope},
		{"trace", m.Address, Letter{Meta: mailbox.Meta{Trace: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}, nil},
		{"malformed trace", m.Address, Letter{Meta: mailbox.Meta{Trace: "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}, ErrEnvelope},
		{"empty", m.Address, Letter{Body: []byte(" \n")}, mailbox.ErrEmptyBody},
		{"not JSON", m.Address, Letter{Body: []byte("{")}, mailbox.ErrMalformedJSON},
		{"two values", m.Address, Letter{Body: []byte("1 2")}, mailbox.ErrMalformedJSON},
		{"not UTF-8", m.Address, Letter{Body: []byte("\"\xff\"")}, mailbox.ErrUTF8},
		{"too large", m.Address, Letter{Body: []byte(quoted(101))}, mailbox.ErrTooLarge},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.l.Body == nil {
				tt.l.Body = []byte("1")
			}
			if _, err := s.Post(tt.to.String(), &tt.l); !errors.Is(err, tt.want) {
				t.Errorf("Post = %v, want %v", err, tt.want)
			}
		})
	}
}

func TestIdempotency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Options{Limits: mailbox.Limits{NameWindow: time.Minute, Asleep: time.Hour}})
		m := open(t, s)
		named := func(body, name string) {
			t.Helper()
			if _, err := s.Post(m.Address.String(), &Letter{Body: []byte(body), Name: name}); err != nil {
				t.Fatal(err)
			}
		}
		named("1", "a")
		named("2", "a")
		named("3", "b")
		time.Sleep(2 * time.Minute)
		named("4", "a") // its name is new again
		sub, _ := subscribe(t, s, m, Subscribing{})
		expectRead(t, sub, "1 3 4")
		sub.Close()
		shutDown(t, s)
	})
}

func TestGoneRemembersWhy(t *testing.T) {
	var g gone
	ids := make([]Mailbox, 0, 3)
	s := newServer(t, Options{})
	for range 3 {
		ids = append(ids, open(t, s))
	}
	of := func(m Mailbox) (id [16]byte) { return grant(t, s, m.Key.Reveal()).Mailbox() }
	g.add(of(ids[0]), ErrClosed)
	if err := g.why(of(ids[0])); err != ErrClosed {
		t.Errorf("why = %v, want ErrClosed", err)
	}
	if err := g.why(of(ids[1])); err != ErrGone {
		t.Errorf("why of one never seen = %v, want ErrGone", err)
	}
	for i := range 2 * remembered {
		g.add([16]byte{1, byte(i), byte(i >> 8), byte(i >> 16)}, ErrExpired)
	}
	if err := g.why(of(ids[0])); err != ErrGone {
		t.Errorf("why of an old one = %v, want ErrGone", err)
	}
	if n := len(g.recent) + len(g.before); n > 2*remembered {
		t.Errorf("%d are remembered, want at most %d", n, 2*remembered)
	}
}

func TestConfig(t *testing.T) {
	s := newServer(t, Options{})
	if got := string(open(t, s).Config); got != "{}" {
		t.Errorf("config = %s, want {}", got)
	}
	p := handle(t, s, "p", newReceived())
	if err := s.SetConfig(map[string]any{"list": []any{p, map[string]address.Address{"deep": p}}}); err != nil {
		t.Fatal(err)
	}
	want := `{"list":["` + p.String() + `",{"deep":"` + p.String() + `"}]}`
	if got := string(open(t, s).Config); got != want {
		t.Errorf("config = %s, want %s", got, want)
	}
	if err := s.SetConfig(func() {}); err == nil {
		t.Error("SetConfig of a function = nil, want an error")
	}
	own, err := s.Open([]byte(`"own"`))
	if err != nil {
		t.Fatal(err)
	}
	sub, _ := subscribe(t, s, own, Subscribing{})
	if got := string(sub.Mailbox().Config); got != `"own"` {
		t.Errorf("config after a resume = %s, want its own", got)
	}
}

func TestNewRefuses(t *testing.T) {
	ring := testRing(t)
	for name, o := range map[string]Options{
		"no keys":      {},
		"bad limit":    {Keys: ring, Limits: mailbox.Limits{Backlog: -1}},
		"max bytes":    {Keys: ring, MaxBytes: -1},
		"mailboxes":    {Keys: ring, MaxMailboxes: -1},
		"queue length": {Keys: ring, Queue: -1},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%s: New = nil error", name)
		}
	}
}
