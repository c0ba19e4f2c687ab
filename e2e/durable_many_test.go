//go:build linux

package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// TestManyMailboxes kills a program that holds many mailboxes, with ten messages each. The next one serves them all
// soon, and needs no more memory for long.
func TestManyMailboxes(t *testing.T) {
	mailboxes, soon := 10_000, 2*time.Second
	if soaking() {
		mailboxes, soon = 100_000, 5*time.Second
	}
	dir := t.TempDir()
	began := time.Now()
	p := startDurable(t, dir)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}}
	defer client.CloseIdleConnections()
	all := openMany(t, p, client, mailboxes)
	opened := time.Since(began)
	sendMany(t, p, client, all)
	filled := time.Since(began)
	before := p.rss(t)
	p.kill()

	began = time.Now()
	p = startDurable(t, dir)
	started := time.Since(began)
	var took []time.Duration
	for range 50 {
		i := rand.IntN(len(all))
		began := time.Now()
		s, gap, body, err := p.subscribe(client, all[i], "")
		if err != nil || gap != 0 {
			t.Fatalf("gap %d, %v", gap, err)
		}
		for n := range 10 {
			e, err := s.event()
			if n == 0 {
				took = append(took, time.Since(began))
			}
			if want := manyBody(i, n); err != nil || e.data != want {
				t.Fatalf("message %d is %q, %v; want %q", n, e.data, err, want)
			}
		}
		body.Close()
	}
	slices.Sort(took)
	first := p.rss(t)
	after := first
	within(t, 20*time.Second, fmt.Sprintf("the memory is at most 1.5 times %d MiB, what it was", before>>20), func() bool {
		after = p.rss(t)
		return after <= before*3/2
	})
	t.Logf("%d mailboxes with 10 messages each: opened in %v, filled in %v; %d MiB on disk; serves after %v; %d MiB before the kill, %d MiB at first, %d MiB after; a mailbox answers in %v, %v at most",
		len(all), opened, filled, size(t, dir)>>20, started, before>>20, first>>20, after>>20, took[len(took)/2], took[len(took)-1])
	if started > soon {
		t.Errorf("it took %v to start, want %v at most", started, soon)
	}
	if median := took[len(took)/2]; median > 20*time.Millisecond {
		t.Errorf("a mailbox that slept answers in %v, want 20ms at most", median)
	}
	for i := 0; i < len(all); i += 100 {
		if got := len(p.waiting(t, all[i])); got != 10 {
			t.Errorf("mailbox %d holds %d messages, want 10", i, got)
		}
	}
}

func manyBody(mailbox, n int) string {
	return fmt.Sprintf(`{"mailbox":%d,"number":%d,"text":"about as long as a message that says something"}`, mailbox, n)
}

// openMany opens mailboxes, many at a time.
func openMany(t *testing.T, p *program, client *http.Client, count int) []account {
	t.Helper()
	all := make([]account, count)
	const workers = 32
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w; i < count; i += workers {
				a, err := ask(client, "POST", p.url+"/_gb/mailbox", "", "")
				if err == nil && a.status == 201 {
					all[i], err = parseAccount(a.body)
				}
				if err != nil || a.status != 201 {
					t.Errorf("open: %v, %v", a, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return all
}

// sendMany sends ten messages to each mailbox.
func sendMany(t *testing.T, p *program, client *http.Client, all []account) {
	t.Helper()
	const workers, mailboxes = 4, 200
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for from := w * mailboxes; from < len(all); from += workers * mailboxes {
				var lines bytes.Buffer
				end := min(from+mailboxes, len(all))
				for n := range 10 {
					for i := from; i < end; i++ {
						fmt.Fprintf(&lines, `{"to":%q,"body":%s}`+"\n", all[i].Address, manyBody(i, n))
					}
				}
				answers, err := upload(client, p.url, lines.Bytes(), false)
				refused := slices.IndexFunc(answers, func(a lineAnswer) bool { return a.Status != 202 })
				if err != nil || len(answers) != 10*(end-from) || refused >= 0 {
					t.Errorf("upload: %d answers, of which the first refusal is %d; %v", len(answers), refused, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
}
