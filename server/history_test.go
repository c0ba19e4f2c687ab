package server

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/genbrowser/genbrowser/mailbox"
)

// slowLog brings an entry now and then.
type slowLog struct {
	mailbox.Log
	entries []mailbox.Entry
	every   time.Duration
}

func (s *slowLog) Read(ctx context.Context, _ uint64, f func(mailbox.Entry) error) error {
	for _, e := range s.entries {
		select {
		case <-time.After(s.every):
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := f(e); err != nil {
			return err
		}
	}
	return nil
}

// TestLongLog: a log is read for as long as something comes of it, and whoever reads it can end that.
func TestLongLog(t *testing.T) {
	d := startDurable(t, t.TempDir(), Options{})
	m := open(t, d.Server)
	for range 5 {
		mustPost(t, d.Server, m.Address, "1")
	}
	var entries []mailbox.Entry
	err := d.log.Read(ctx, 0, func(e mailbox.Entry) error { entries = append(entries, e); return nil })
	if err != nil {
		t.Fatal(err)
	}
	id := grant(t, d.Server, m.Key.Reveal()).Mailbox()
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Options{})
		read := func(ctx context.Context, every time.Duration) (messages int, err error) {
			h, err := s.readHistory(ctx, &slowLog{entries: entries, every: every}, []uint8{shardOf(id)}, nil)
			if err == nil {
				messages, _ = h.boxes[shardOf(id)].get(id).mail.Len()
			}
			return messages, err
		}
		began := time.Now()
		if n, err := read(ctx, readPatience-time.Second); n != 5 || err != nil {
			t.Errorf("%d messages, %v; want 5", n, err)
		} else if took := time.Since(began); took < 5*(readPatience-time.Second) {
			t.Errorf("it took %v only", took)
		}
		if _, err := read(ctx, readPatience+time.Second); !errors.Is(err, errNothingComes) {
			t.Errorf("nothing comes of it: %v, want %v", err, errNothingComes)
		}
		ends, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if _, err := read(ends, time.Minute); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who reads it ends: %v, want %v", err, context.DeadlineExceeded)
		}
	})
}
