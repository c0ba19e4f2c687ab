package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/genbrowser/genbrowser/mailbox/jetstream"
	"github.com/genbrowser/genbrowser/server"
)

// deafMesh hears no packets until gate, if there is one, is closed.
type deafMesh struct {
	server.Mesh
	gate atomic.Pointer[chan struct{}]
}

func (d *deafMesh) Join(node string, receive func(string, []byte)) error {
	return d.Mesh.Join(node, func(from string, data []byte) {
		if gate := d.gate.Load(); gate != nil && data[0] == 'p' {
			<-*gate
		}
		receive(from, data)
	})
}

// A line does not go to the node that has its mailbox now before it is known what became of one that went to the node that had it.
func TestNothingPassesALineWhoseMailboxMoves(t *testing.T) {
	var deaf deafMesh
	sites := clusteredOver(t, 2, func(i int, m server.Mesh) server.Mesh {
		if i == 0 {
			return m
		}
		deaf.Mesh = m
		return &deaf
	})
	a, b := sites[0], sites[1]
	o := b.open()
	until(t, "the mailbox is found", func() bool { return a.send(o.Address, "0").status == 202 })

	w := httptest.NewRecorder()
	u := &upload{h: a.gb, maxLine: 1 << 20, depth: 10, answers: new(answers)}
	u.answers.begin(a.gb, w, http.NewResponseController(w), false)
	defer u.answers.end()
	line := func(id string) { u.line(fmt.Appendf(nil, `{"to":%q,"id":%q,"body":1}`, o.Address, id)) }
	gate := make(chan struct{})
	deaf.gate.Store(&gate)
	line("1")
	left := make(chan struct{})
	go func() {
		defer close(left)
		b.gb.Shutdown(ctx)
	}()
	until(t, "the other node has no mailboxes any more", func() bool {
		return !slices.ContainsFunc(a.office.Nodes(), func(n server.NodeStatus) bool { return !n.Self && n.Owned > 0 })
	})
	close(gate)
	line("2")
	u.settle()
	u.answers.writeAll()
	if got := w.Body.String(); strings.Count(got, `"status":503`) != 2 {
		t.Error("the first line is refused, and the second one passed it:", got)
	}
	<-left
}

// balky is a log that takes nothing now and then.
type balky struct {
	*jetstream.Log
	full atomic.Bool
}

func (b *balky) Append(ctx context.Context, entry []byte) (uint64, error) {
	if b.full.Load() {
		return 0, errors.New("no room")
	}
	return b.Log.Append(ctx, entry)
}

// What follows a line that was refused for a moment does not pass it: its sender will send it again.
func TestNothingPassesARefusedLine(t *testing.T) {
	log, err := jetstream.Open(ctx, jetstream.Options{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	store := &balky{Log: log}
	s := serveStored(t, store, setup{})
	a, b, c := s.open(), s.open(), s.open()
	lineTo := func(o opened, id string) string {
		return fmt.Sprintf(`{"to":%q,"id":%q,"body":1}`, o.Address, id) + "\n"
	}
	u := s.sendMany()
	expect := func(u *upstream, line, want string) {
		t.Helper()
		u.write(line)
		if got := u.next(); got != want {
			t.Errorf("%s is answered %s, want %s", line, got, want)
		}
	}
	expect(u, lineTo(a, "a1"), "a1 202")
	store.full.Store(true)
	expect(u, lineTo(a, "a2"), "a2 503 unavailable")
	expect(u, lineTo(c, "c1"), "c1 503 unavailable") // at once: the log is known to take nothing
	store.full.Store(false)
	until(t, "the log takes entries again", func() bool { return s.send(b.Address, "0").status == 202 })
	expect(u, lineTo(a, "a3"), "a3 503 unavailable")
	expect(u, lineTo(c, "c2"), "c2 503 unavailable")
	expect(u, lineTo(b, "b1"), "b1 202")
	again := s.sendMany()
	expect(again, lineTo(a, "a2"), "a2 202")
	expect(again, lineTo(a, "a3"), "a3 202")
}

func TestBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b behind
		expect := func(what string, address uint64, want error) {
			t.Helper()
			if got := b.pass(address); got != want {
				t.Errorf("%s: %v, want %v", what, got, want)
			}
		}
		for _, err := range []error{nil, server.ErrFull, server.ErrGone} {
			b.noting(1, err)
			expect(fmt.Sprint("after ", err), 1, nil)
		}
		for _, err := range []error{server.ErrMoved, server.ErrShuttingDown, server.ErrUnavailable} {
			b.noting(1, err)
			expect(fmt.Sprint("after ", err), 1, errBehind)
			expect("to another address", 2, nil)
			time.Sleep(behindFor)
			expect("in the end", 1, errBehind)
			time.Sleep(time.Nanosecond)
			expect("after that", 1, nil)
		}
		for address := range uint64(maxBehind) {
			b.noting(address, server.ErrMoved)
		}
		expect("to one more than remembered", maxBehind, nil)
		b.noting(maxBehind, server.ErrMoved)
		expect("to another, once they are too many", maxBehind+1, errBehind)
		if len(b.addresses) > maxBehind {
			t.Errorf("%d are remembered", len(b.addresses))
		}
		time.Sleep(behindFor + 1)
		expect("after that", 1, nil)
	})
}
