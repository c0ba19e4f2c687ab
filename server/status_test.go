package server

import (
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

func TestStatusOfALog(t *testing.T) {
	s := newServer(t, Options{Log: openLog(t, jetstream.Options{Dir: t.TempDir()})})
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
	before := s.Status(ctx).Log
	mustPost(t, s, box.Address, "4")
	log = s.Status(ctx).Log
	// at least who owns the shards, the mailbox with its messages, and that the log may be trimmed
	if before.Lag < 2 || before.Lag > 4 || log.Lag != before.Lag+1 || log.Err != nil {
		t.Errorf("lag %d after a snapshot, %d after another message: %+v", before.Lag, log.Lag, log)
	}
}
