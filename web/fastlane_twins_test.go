package web

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/server"
)

// twins are a site with a fast lane and one without.
type twins struct {
	fast, plain *site
	to          [2]recipient
}

// recipient is a mailbox, and the right to read it.
type recipient struct {
	opened
	grant *address.Grant
}

func newTwins(t testing.TB, how func(*http.Server)) *twins {
	ring := testRing(t, "twins")
	w := &twins{}
	for i, kind := range []string{"fast", ""} {
		s := serve(t, setup{kind: kind, server: server.Options{Keys: ring}, http: how})
		o := s.open()
		w.to[i] = recipient{o, s.grant(o.Key)}
		if i == 0 {
			w.fast = s
		} else {
			w.plain = s
		}
	}
	return w
}

// withHTTP2 has a server speak HTTP/2 without TLS as well.
func withHTTP2(srv *http.Server) {
	srv.Protocols = new(http.Protocols)
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
}

// compare sends the same to both, in pieces, and fails if they answer otherwise or other messages arrive.
func (w *twins) compare(t testing.TB, input string, cuts ...int) {
	t.Helper()
	var fast, plain came
	for again := true; again; {
		fast = w.fast.exchange(t, w.to[0], input, cuts)
		plain = w.plain.exchange(t, w.to[1], input, cuts)
		again = fast.reset || plain.reset
	}
	if n := len(fast.answers); strings.Contains(input, http2Preface) && len(plain.answers) == n+1 {
		plain.answers = plain.answers[:n] // behind a send, net/http refuses it and ends the connection; the lane only ends it
	}
	if !reflect.DeepEqual(fast, plain) {
		t.Fatalf("of %q, cut at %v,\nthe fast lane makes %s\nand net/http %s", input, cuts, fast, plain)
	}
}

// came is what came of an input. A server that closes with bytes unread resets the connection, which may take answers away.
type came struct {
	answers  []string
	messages string // that arrived
	reset    bool
}

func (c came) String() string { return strings.Join(c.answers, "") + "\nmessages: " + c.messages }

func (s *site) exchange(t testing.TB, to recipient, input string, cuts []int) (all came) {
	t.Helper()
	input = strings.NewReplacer("ADDR", to.Address, "SECRET", to.Key).Replace(input)
	c, err := net.Dial("tcp", s.srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	go func() {
		at := 0
		for _, cut := range cuts {
			if cut > at && cut < len(input) {
				io.WriteString(c, input[at:cut])
				at = cut
			}
		}
		io.WriteString(c, input[at:])
		c.(*net.TCPConn).CloseWrite()
	}()
	for br := bufio.NewReader(c); ; {
		resp, err := http.ReadResponse(br, nil)
		var body []byte
		if err == nil {
			body, err = io.ReadAll(resp.Body)
		}
		if all.reset = errors.Is(err, syscall.ECONNRESET); all.reset || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			t.Fatalf("of %q: %v", input, err)
		}
		var header []string
		for name := range resp.Header {
			if name != "Date" && name != "Content-Length" { // which ReadResponse held the body to
				header = append(header, name+": "+resp.Header.Get(name))
			}
		}
		slices.Sort(header)
		if bytes.Contains(body, []byte("malformed-address")) && !bytes.Contains(body, []byte(keyInURL)) { // in which way depends on the address
			body, _, _ = bytes.Cut(body, []byte(`,"detail"`))
		}
		answer := fmt.Sprintf("\n%s %v %v %.1000s", resp.Status, resp.Close, header, body)
		all.answers = append(all.answers, strings.ReplaceAll(answer, to.Address, "ADDR"))
	}
	all.messages = strings.ReplaceAll(s.arrived(t, to), to.Address, "ADDR")
	return all
}

// arrived takes what is in a mailbox.
func (s *site) arrived(t testing.TB, to recipient) string {
	t.Helper()
	sub, err := s.office.Subscribe(to.grant, server.Subscribing{}, &poller{wake: make(chan struct{}, 1), end: make(chan error, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	var all strings.Builder
	var last mailbox.Cursor
	sub.Read(func(m *mailbox.Message, err error) bool {
		last = sub.Cursor()
		last.Seq = m.Seq
		fmt.Fprintf(&all, "%q %+v %v; ", m.Body, m.Meta, m.Expires != 0)
		return true
	})
	if last.Seq > 0 {
		if err := s.office.Ack(to.grant, last); err != nil {
			t.Fatal(err)
		}
	}
	return all.String()
}
