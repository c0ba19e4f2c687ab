package mailboxtest

import (
	"errors"
	"sync"
	"testing"

	"github.com/genbrowser/genbrowser/mailbox"
)

func sealStops(t *testing.T, open Open) {
	a, b := open(t), open(t)
	last := mustAppend(t, a, "1")
	mustSeal(t, b, a.Lane(), last)
	wantSealed(t, a)
	wantSealed(t, a)
	mustAppend(t, b, "2")
	wantRead(t, b, map[string]string{a.Lane(): "a", b.Lane(): "b"}, "a:1 a:! b:2 ")
}

// sealMeetsAppend lets an append and a seal begin together, again and again until the seal is first. What was
// acknowledged is there, and nothing after the seal.
func sealMeetsAppend(t *testing.T, open Open) {
	a, b := open(t), open(t)
	first := mustAppend(t, a, "x")
	acked := make(chan uint64)
	done := make(chan []uint64, 1)
	go func() {
		var all []uint64
		for {
			seq, err := a.Append(t.Context(), []byte("x"))
			if err != nil {
				if !errors.Is(err, mailbox.ErrSealed) {
					t.Error(err)
				}
				done <- all
				return
			}
			all = append(all, seq)
			acked <- seq
		}
	}()
	for last := first; ; last = <-acked {
		err := b.Seal(within(t), a.Lane(), last)
		if err == nil {
			break
		}
		if !errors.Is(err, mailbox.ErrNotLast) {
			t.Fatal(err)
		}
	}
	stored := append([]uint64{first}, <-done...)
	all := read(t, b)
	if n := len(all) - 1; !all[n].Seal || n != len(stored) {
		t.Fatalf("%d entries are stored, the last a seal: %v; want %d before the seal", len(all), all[n].Seal, len(stored))
	}
	for i, seq := range stored {
		if all[i].Seq != seq {
			t.Fatalf("entry %d is at %d, want %d", i, all[i].Seq, seq)
		}
	}
}

func sealNeedsNewest(t *testing.T, open Open) {
	a, b := open(t), open(t)
	stale := mustAppend(t, a, "1")
	last := mustAppend(t, a, "2")
	for _, wrong := range []uint64{0, stale, last + 1} {
		if err := b.Seal(within(t), a.Lane(), wrong); !errors.Is(err, mailbox.ErrNotLast) {
			t.Errorf("seal after %d of %d: %v; want ErrNotLast", wrong, last, err)
		}
	}
	mustAppend(t, a, "3")
}

// twoSeal: the same seal by two that don't know of each other is one.
func twoSeal(t *testing.T, open Open) {
	a, b, c := open(t), open(t), open(t)
	last := mustAppend(t, a, "1")
	var both sync.WaitGroup
	for _, l := range []mailbox.Log{b, c} {
		both.Go(func() {
			if err := l.Seal(t.Context(), a.Lane(), last); err != nil {
				t.Error(err)
			}
		})
	}
	both.Wait()
	wantRead(t, b, map[string]string{a.Lane(): "a"}, "a:1 a:! ")
}

func sealOwn(t *testing.T, open Open) {
	a := open(t)
	mustSeal(t, a, a.Lane(), mustAppend(t, a, "1"))
	wantSealed(t, a)
	wantRead(t, a, map[string]string{a.Lane(): "a"}, "a:1 a:! ")
}

func sealEmpty(t *testing.T, open Open) {
	a, b := open(t), open(t)
	mustSeal(t, b, a.Lane(), 0)
	wantSealed(t, a)
	mustSeal(t, b, b.Lane(), 0)
	wantSealed(t, b)
}
