package main_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/client"
	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/mailbox/jetstream"
)

// filled is a data directory with a mailbox that keeps so many messages, and of whose server nothing runs.
func filled(t *testing.T, messages int) string {
	t.Helper()
	dir := t.TempDir()
	s := simple(t, "--data", dir)
	box := openBox(t, s.client(t))
	for n := range messages {
		if err := s.client(t).Send(t.Context(), box.Address(), strings.Repeat(fmt.Sprintf("%03d", n), 100)); err != nil {
			t.Fatal(err)
		}
	}
	s.stop()
	return dir
}

// row returns what data check says of one thing.
func row(t *testing.T, text, name string) string {
	t.Helper()
	m := regexp.MustCompile(`(?m)^` + name + ` +(.*)$`).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("no %s in\n%s", name, text)
	}
	return m[1]
}

func TestDataCheck(t *testing.T) {
	dir := filled(t, 3)
	text := ok(t, "", "data", "check", dir)
	for name, want := range map[string]string{
		"mailboxes": "1", "messages": "3, of 906 bytes", "lanes": "1, 0 of them not sealed",
	} {
		if got := row(t, text, name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	for _, name := range []string{"oldest", "newest"} {
		if at, err := time.Parse(time.RFC3339, row(t, text, name)); err != nil || time.Since(at) > time.Minute {
			t.Errorf("%s: %v, %v", name, at, err)
		}
	}
	var entries, first, last, records int
	fmt.Sscanf(row(t, text, "entries"), "%d, from %d to %d", &entries, &first, &last)
	fmt.Sscan(row(t, text, "records"), &records)
	if first != 1 || last != entries || records < 5 || entries < 6 { // a claim, a mailbox, three messages, and the end
		t.Errorf("got\n%s", text)
	}
	if again := ok(t, "", "data", "check", dir); again != text {
		t.Errorf("looking at it changed it from\n%s\nto\n%s", text, again)
	}
}

func TestDataOfNobody(t *testing.T) {
	s := simple(t, "--data", t.TempDir())
	dir := s.Args[len(s.Args)-1]
	none := filepath.Join(t.TempDir(), "none")
	for _, command := range []string{"check", "compact"} {
		fails(t, run(t, "", "data", command, dir), "in use by process", fmt.Sprint(s.Process.Pid))
		fails(t, run(t, "", "data", command, none), none, "no data directory")
		if _, err := os.Stat(none); err == nil {
			t.Errorf("data %s made a directory", command)
		}
	}
	s.stop()
	loop := filepath.Join(t.TempDir(), "loop")
	if err := os.Symlink("loop", loop); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"data", "check", loop}, {"serve", "--listen=none://", "--data", loop}} { // it may be one
		if r := run(t, "", args...); r.code != 1 || !strings.Contains(r.err, "too many levels") || strings.Contains(r.err, "no data directory") {
			t.Errorf("%v, what can't be looked at: exits with %d and complains %q", args, r.code, r.err)
		}
	}
}

// TestDataCheckOfATornEnd: what was being written when the server was killed is cut off, which is said.
func TestDataCheckOfATornEnd(t *testing.T) {
	dir := t.TempDir()
	s := simple(t, "--data", dir)
	openBox(t, s.client(t))
	s.Process.Kill()
	s.ended(-1)
	blocks, err := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", "*", "msgs", "*.blk"))
	if err != nil || len(blocks) != 1 {
		t.Fatalf("blocks %v, %v", blocks, err)
	}
	block, err := os.ReadFile(blocks[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(blocks[0], block[:len(block)-5], 0o600); err != nil {
		t.Fatal(err)
	}
	r := run(t, "", "data", "check", dir)
	if mailboxes := row(t, r.out, "mailboxes"); r.code != 0 || mailboxes != "0" || !strings.Contains(r.err, "cut off") {
		t.Errorf("exits with %d, finds %s mailboxes, and says %q", r.code, mailboxes, r.err)
	}
	ok(t, "", "data", "check", dir)
}

// TestDataCheckOfDamage: whatever part of the file is damaged, the entry is named, and is again the next time.
func TestDataCheckOfDamage(t *testing.T) {
	for name, damage := range map[string]func(block []byte, index string) []byte{
		"a bit in the middle": func(b []byte, _ string) []byte { b[len(b)/2] ^= 4; return b },
		"a bit at the end":    func(b []byte, _ string) []byte { b[len(b)-20] ^= 4; return b },
		"cut at the end":      func(b []byte, _ string) []byte { return b[:len(b)-5] },
		"cut at the end, as nothing else tells": func(b []byte, index string) []byte {
			if err := os.Remove(index); err != nil {
				t.Fatal(err)
			}
			return b[:len(b)-5]
		},
		"all is gone":       nil,
		"cut in the middle": func(b []byte, _ string) []byte { return b[:len(b)/2] },
	} {
		dir := filled(t, 20)
		blocks, err := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", "*", "msgs", "*.blk"))
		if err != nil || len(blocks) != 1 {
			t.Fatalf("blocks %v, %v", blocks, err)
		}
		block, err := os.ReadFile(blocks[0])
		if err != nil {
			t.Fatal(err)
		}
		if name == "all is gone" {
			err = os.Remove(blocks[0])
		} else {
			err = os.WriteFile(blocks[0], damage(block, filepath.Join(filepath.Dir(blocks[0]), "index.db")), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, time := range []string{"the first time", "again"} {
			r := run(t, "", "data", "check", dir)
			if r.code != 1 || !regexp.MustCompile(`genbrowser: .*the log is damaged: .*entr(y|ies) \d+`).MatchString(r.err) {
				t.Errorf("%s, %s: exits with %d and complains %q", name, time, r.code, r.err)
			}
		}
	}
}

func TestDataCompact(t *testing.T) {
	dir := t.TempDir()
	s := simple(t, "--data", dir)
	c := s.client(t)
	kept, closed := openBox(t, c), openBox(t, c)
	for box, count := range map[*client.Mailbox]int{kept: 5, closed: 50} {
		for n := range count {
			if err := c.Send(t.Context(), box.Address(), strings.Repeat("x", 1000)+fmt.Sprint(n)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := closed.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.stop()
	before := ok(t, "", "data", "check", dir)
	var was, is, mailboxes int
	if _, err := fmt.Sscanf(ok(t, "", "data", "compact", dir), "%d bytes before, %d after; %d mailboxes", &was, &is, &mailboxes); err != nil {
		t.Fatal(err)
	}
	if was < 55_000 || is > 10_000 || is < 5_000 || mailboxes != 1 {
		t.Errorf("%d bytes became %d, with %d mailboxes", was, is, mailboxes)
	}
	after := ok(t, "", "data", "check", dir)
	for _, name := range []string{"mailboxes", "messages"} {
		if row(t, before, name) != row(t, after, name) {
			t.Errorf("%s: %s before, %s after", name, row(t, before, name), row(t, after, name))
		}
	}
}

// A mailbox may have slept, and a name may be remembered, for longer than is the default: what limits its server had
// nobody knows.
func TestDataCompactForgetsNothing(t *testing.T) {
	dir := t.TempDir()
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	log, err := jetstream.Open(t.Context(), jetstream.Options{Dir: dir, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	id, all := [16]byte{1, 15: 5}, make([]byte, 64)
	for i := range all {
		all[i] = byte(i)
	}
	var prev uint64
	for _, e := range []struct {
		age     time.Duration
		records []mailbox.Record
	}{
		{3 * time.Hour, []mailbox.Record{
			{Type: mailbox.Claimed, Shards: all},
			{Type: mailbox.Opened, Mailbox: id, Epoch: 1},
			{Type: mailbox.Appended, Mailbox: id, Name: mailbox.HashName("name"), Message: mailbox.Message{Seq: 1, Body: []byte("1")}},
		}},
		{time.Hour, []mailbox.Record{{Type: mailbox.Opened, Mailbox: [16]byte{2}, Epoch: 2}}},
	} {
		entry := make([]byte, mailbox.EntryHeaderSize)
		for i := range e.records {
			entry = e.records[i].AppendTo(entry)
		}
		header := mailbox.EntryHeader{Clock: time.Now().Add(-e.age), Prev: prev}
		header.Put(entry)
		if prev, err = log.Append(t.Context(), entry); err != nil {
			t.Fatal(err)
		}
	}
	log.Close()

	ok(t, "", "data", "compact", dir)
	if log, err = jetstream.Open(t.Context(), jetstream.Options{Dir: dir, Logger: quiet}); err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	var restated *mailbox.Record
	err = mailbox.NewReplay(log, func(r *mailbox.Record, _ *mailbox.Origin) error {
		if r.Type == mailbox.Restated && r.Mailbox == id {
			copied := *r
			restated = &copied
		}
		return nil
	}).Read(context.Background())
	if err != nil || restated == nil {
		t.Fatalf("%v, %v", restated, err)
	}
	if len(restated.Names) != 1 || restated.Names[0].Age.Round(time.Hour) != 2*time.Hour || restated.Asleep.Round(time.Hour) != 2*time.Hour {
		t.Errorf("the mailbox slept %v and remembers %v, want 2h and one name", restated.Asleep, restated.Names)
	}
}
