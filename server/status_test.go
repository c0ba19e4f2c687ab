package server

import (
	"context"
	"testing"

	"github.com/genbrowser/genbrowser/mailbox/jetstream"
)

func TestStatusInMemory(t *testing.T) {
	s := newServer(t, Options{})
	box := open(t, s)
	mustPost(t, s, box.Address, "123")
	got := s.Status(ctx)
	if len(got.Nodes) != 1 || !got.Alone || got.Log != nil {
		t.Fatalf("Status = %+v, want one node and no log", got)
	}
	if n := got.Nodes[0]; !n.Self || n.Owned != shardCount || len(n.Shards) != shardCount || n.Mailboxes != 1 || n.Bytes != 3 {
		t.Errorf("the node is %+v", n)
	}
}

// untrimmed is a log that keeps all, as one does whose trimming waits for other nodes.
type untrimmed struct{ *jetstream.Log }

func (untrimmed) Trim(context.Context, uint64) error { return nil }

func TestStatusOfALog(t *testing.T) {
	s := newServer(t, Options{Log: untrimmed{openLog(t, jetstream.Options{Dir: t.TempDir()})}})
	defer stopServer(t, s)
	box := open(t, s)
	mustPost(t, s, box.Address, "1", "2", "3")
	log := s.Status(ctx).Log
	// the claim, the mailbox, three messages
	if log.Err != nil || log.Entries != 5 || log.Last != 5 || log.Bytes == 0 || log.Lag != 5 || log.Replicas != nil {
		t.Errorf("Log = %+v, want 5 entries, none of which a snapshot tells anew", log)
	}
	if err := s.Snapshot(ctx); err != nil {
		t.Fatal(err)
	}
	// who owns the shards, the mailbox with its messages, in one entry if no commit comes between, and that the log may be
	// trimmed
	log = s.Status(ctx).Log
	if log.Entries < 8 || log.Entries > 11 || log.Lag != log.Entries-5 {
		t.Errorf("%d entries after a snapshot, %d of them since it; want 8 to 11, of which 5 came before", log.Entries, log.Lag)
	}
	snapshot := log.Lag
	mustPost(t, s, box.Address, "4")
	if log = s.Status(ctx).Log; log.Lag != snapshot+1 {
		t.Errorf("%d entries since the snapshot and a message, want %d", log.Lag, snapshot+1)
	}
}
