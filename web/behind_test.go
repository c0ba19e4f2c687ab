package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/genbrowser/genbrowser/mailbox/jetstream"
	"github.com/genbrowser/genbrowser/server"
)

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
