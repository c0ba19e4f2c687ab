package server

import (
	"io"
	"log/slog"
	"testing"

	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/mailbox/jetstream"
)

// Who was to be told something before a compaction is told after it.
func TestCompactTellsNobodyAndForgetsNobody(t *testing.T) {
	dir := t.TempDir()
	limits := mailbox.Limits{Backlog: 1}
	s := startDurable(t, dir, Options{Limits: limits})
	full, watched := open(t, s.Server), open(t, s.Server)
	ask(t, s.Server, mailbox.KindMonitor, "watched", full, watched.Address)
	mustPost(t, s.Server, full.Address, "1") // now there is no room for what it is to be told
	closeBox(t, s.Server, watched)
	caller, callee := open(t, s.Server), open(t, s.Server)
	ask(t, s.Server, mailbox.KindCall, "taken", caller, callee.Address)
	if err := s.Ack(grant(t, s.Server, callee.Key.Reveal()), mailbox.Cursor{Epoch: callee.Cursor.Epoch, Seq: 1}); err != nil {
		t.Fatal(err)
	}
	watcher, sleeper := open(t, s.Server), open(t, s.Server)
	askMonitor(t, s.Server, "sleeps", `{"grace":1}`, watcher, sleeper)
	s.crash(t)

	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	for range 2 {
		log, err := jetstream.Open(ctx, jetstream.Options{Dir: dir, Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		did, err := Compact(ctx, log, quiet)
		if err != nil || did.Mailboxes != 5 || did.Before.Bytes == 0 || did.After.Bytes == 0 {
			t.Fatalf("Compact = %+v, %v; want 5 mailboxes", did, err)
		}
	}

	s = startDurable(t, dir, Options{Limits: limits})
	expectHolds(t, s.Server, full, "1")
	if err := s.Ack(grant(t, s.Server, full.Key.Reveal()), mailbox.Cursor{Epoch: full.Cursor.Epoch, Seq: 1}); err != nil {
		t.Fatal(err)
	}
	expectTold(t, s.Server, full, `down watched {"reason":"closed"}`)
	closeBox(t, s.Server, callee)
	expectTold(t, s.Server, caller, `failure taken {"type":"urn:gen-browser:closed","title":"The mailbox was closed","status":410}`)
	expectTold(t, s.Server, watcher, `down sleeps {"reason":"disconnected"}`)
}
