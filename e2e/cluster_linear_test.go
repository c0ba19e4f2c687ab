//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// The model of one mailbox: what waits in it, oldest first, and whether it is closed. A history of operations on it,
// made by several clients through several nodes, must look as if each had happened at one moment between its call and
// its answer. What got 503 or no answer at all may have happened at any time since, or never.

type op struct {
	mailbox int
	kind    string // append, read, ack, close
	value   string // of append; of ack, the newest message that is to go
}

type outcome struct {
	unknown bool
	closed  bool   // it was closed before
	values  string // of read
}

type boxState struct {
	values string // each with a space behind it
	closed bool
}

var mailboxModel = porcupine.NondeterministicModel{
	Init: func() []any { return []any{boxState{}} },
	Step: func(state, input, output any) []any {
		s, in, out := state.(boxState), input.(op), output.(outcome)
		if out.closed {
			if s.closed {
				return []any{s}
			}
			return nil
		}
		var next []any
		if out.unknown {
			next = append(next, s)
		}
		if s.closed {
			return next
		}
		switch in.kind {
		case "append":
			return append(next, boxState{values: s.values + in.value + " "})
		case "close":
			return append(next, boxState{closed: true})
		case "ack":
			if at := strings.Index(" "+s.values, " "+in.value+" "); at >= 0 {
				s.values = s.values[at+len(in.value)+1:]
			}
			return append(next, s)
		case "read":
			if out.unknown || out.values == s.values {
				return append(next, s)
			}
		}
		return next
	},
	Partition: func(history []porcupine.Operation) (parts [][]porcupine.Operation) {
		for _, o := range history {
			i := o.Input.(op).mailbox
			for len(parts) <= i {
				parts = append(parts, nil)
			}
			parts[i] = append(parts[i], o)
		}
		return parts
	},
	Equal:             func(a, b any) bool { return a == b },
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v: %+v", input, output) },
}

// linear checks a history, in which each value was appended once.
func linear(history []porcupine.Operation, within time.Duration) porcupine.CheckResult {
	return porcupine.CheckOperationsTimeout(mailboxModel.ToModel(), settled(history), within)
}

// settled decides what became of the appends with unknown outcome, for with many of them a check would take for ever:
// one that somebody read happened, before that reading ended; one that nobody ever read need not have.
func settled(history []porcupine.Operation) (all []porcupine.Operation) {
	read := map[string]int64{}
	for _, o := range history {
		for _, value := range strings.Fields(o.Output.(outcome).values) {
			if at, ok := read[value]; !ok || o.Return < at {
				read[value] = o.Return
			}
		}
	}
	for _, o := range history {
		if in, out := o.Input.(op), o.Output.(outcome); in.kind == "append" && out.unknown {
			at, ok := read[in.value]
			if !ok {
				continue
			}
			o.Output, o.Return = outcome{}, min(at, o.Return)
		}
		all = append(all, o)
	}
	return all
}

// TestModelFindsFaults: the check that finds no fault in the cluster finds one where there is one.
func TestModelFindsFaults(t *testing.T) {
	app := func(client int, call, end int64, value string, out outcome) porcupine.Operation {
		return porcupine.Operation{ClientId: client, Call: call, Return: end, Input: op{kind: "append", value: value}, Output: out}
	}
	read := func(client int, call, end int64, values string) porcupine.Operation {
		return porcupine.Operation{ClientId: client, Call: call, Return: end, Input: op{kind: "read"}, Output: outcome{values: values}}
	}
	ack := func(client int, call, end int64, value string) porcupine.Operation {
		return porcupine.Operation{ClientId: client, Call: call, Return: end, Input: op{kind: "ack", value: value}, Output: outcome{}}
	}
	shut := func(client int, call, end int64, out outcome) porcupine.Operation {
		return porcupine.Operation{ClientId: client, Call: call, Return: end, Input: op{kind: "close"}, Output: out}
	}
	never := int64(math.MaxInt64)
	for name, test := range map[string]struct {
		history []porcupine.Operation
		want    porcupine.CheckResult
	}{
		"in order":             {[]porcupine.Operation{app(0, 1, 2, "a", outcome{}), app(1, 3, 4, "b", outcome{}), read(0, 5, 6, "a b ")}, porcupine.Ok},
		"at the same time":     {[]porcupine.Operation{app(0, 1, 4, "a", outcome{}), app(1, 2, 5, "b", outcome{}), read(0, 6, 7, "b a ")}, porcupine.Ok},
		"unknown, and not":     {[]porcupine.Operation{app(0, 1, never, "a", outcome{unknown: true}), read(1, 3, 4, "")}, porcupine.Ok},
		"unknown, and later":   {[]porcupine.Operation{app(0, 1, never, "a", outcome{unknown: true}), read(1, 3, 4, ""), read(1, 5, 6, "a ")}, porcupine.Ok},
		"acknowledged":         {[]porcupine.Operation{app(0, 1, 2, "a", outcome{}), app(0, 3, 4, "b", outcome{}), ack(1, 5, 6, "a"), read(1, 7, 8, "b ")}, porcupine.Ok},
		"read before it began": {[]porcupine.Operation{read(1, 1, 2, "a "), app(0, 3, never, "a", outcome{unknown: true})}, porcupine.Illegal},
		"lost":                 {[]porcupine.Operation{app(0, 1, 2, "a", outcome{}), read(1, 3, 4, "")}, porcupine.Illegal},
		"twice":                {[]porcupine.Operation{app(0, 1, 2, "a", outcome{}), read(1, 3, 4, "a a ")}, porcupine.Illegal},
		"out of order":         {[]porcupine.Operation{app(0, 1, 2, "a", outcome{}), app(0, 3, 4, "b", outcome{}), read(1, 5, 6, "b a ")}, porcupine.Illegal},
		"gone again":           {[]porcupine.Operation{app(0, 1, never, "a", outcome{unknown: true}), read(1, 3, 4, "a "), read(1, 5, 6, "")}, porcupine.Illegal},
		"an ack undone":        {[]porcupine.Operation{app(0, 1, 2, "a", outcome{}), ack(1, 3, 4, "a"), read(1, 5, 6, "a ")}, porcupine.Illegal},
		"open after its close": {[]porcupine.Operation{shut(0, 1, 2, outcome{}), app(1, 3, 4, "a", outcome{})}, porcupine.Illegal},
		"closed by nobody":     {[]porcupine.Operation{app(0, 1, 2, "a", outcome{closed: true})}, porcupine.Illegal},
	} {
		if got := linear(test.history, 10*time.Second); got != test.want {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

// TestClusterLinearizable: what clients see of a mailbox through different nodes, while these are killed, is what they
// could see of one that is nowhere but in one place.
func TestClusterLinearizable(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	all := startNodes(t, []string{nats, nats, nats}, "--backlog", "100000", "--backlog-bytes", "67108864")
	const mailboxes, clients = 6, 4
	began := time.Now()
	h := &history{began: began, stop: make(chan struct{})}
	for i := range mailboxes {
		h.boxes = append(h.boxes, &owned{box: all[i%3].open(t)})
	}
	var working sync.WaitGroup
	for i := range clients * mailboxes {
		working.Go(func() { h.client(t, i, i%mailboxes, all) })
	}
	rounds := 2
	if soak {
		rounds = 6
	}
	for range rounds {
		n := all[rand.IntN(len(all))]
		done := h.done()
		within(t, 20*time.Second, "operations", func() bool { return h.done() > done+200 })
		n.kill()
		done = h.done()
		within(t, 20*time.Second, "operations go on", func() bool { return h.done() > done+200 })
		n.start(t)
		within(t, 20*time.Second, n.name+" owns shards again", n.owns)
	}
	close(h.stop)
	working.Wait()
	h.closeAll(t, all)
	kinds := map[string]int{}
	for _, o := range h.operations {
		kinds[o.Input.(op).kind]++
		if o.Output.(outcome).unknown {
			kinds["unknown"]++
		}
	}
	t.Logf("%v in %v", kinds, time.Since(began))
	if kinds["unknown"] == 0 {
		t.Error("nothing went wrong; the test shows little")
	}
	checking := time.Now()
	if got := linear(h.operations, 60*time.Second); got != porcupine.Ok {
		t.Errorf("the history is %v", got)
	}
	t.Logf("checked in %v", time.Since(checking))
}

// owned is a mailbox, and a lock for who reads it: a second reader would evict the first.
type owned struct {
	*box
	reader sync.Mutex
}

// history is what clients did and saw.
type history struct {
	began time.Time
	stop  chan struct{}
	boxes []*owned

	mu         sync.Mutex
	operations []porcupine.Operation
}

func (h *history) done() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.operations)
}

// client does one thing after the other with a mailbox, each through some node.
func (h *history) client(t *testing.T, id, mailbox int, all nodes) {
	c := &http.Client{Transport: &http.Transport{}, Timeout: 12 * time.Second}
	defer c.CloseIdleConnections()
	b := h.boxes[mailbox]
	var seen polled // what was read last
	for n := 0; ; n++ {
		select {
		case <-h.stop:
			return
		case <-time.After(rand.N(40 * time.Millisecond)):
		}
		node := all[rand.IntN(len(all))]
		do := op{mailbox: mailbox, kind: "append", value: fmt.Sprintf("%d.%d", id, n)}
		method, path, body, headers := "POST", "/_gb/send/"+b.Address, fmt.Sprintf("%q", do.value), []string(nil)
		switch r := rand.IntN(100); {
		case r < 40:
			b.reader.Lock()
			do = op{mailbox: mailbox, kind: "read"}
			method, path, body, headers = "GET", "/_gb/mailbox?wait=0s&ack=manual", "", append(b.bearer(), "Accept", "application/json")
		case r < 65 && len(seen.Messages) > 0:
			m := seen.Messages[rand.IntN(len(seen.Messages))]
			do = op{mailbox: mailbox, kind: "ack", value: unquote(m.Body)}
			path, body, headers = "/_gb/ack", `{"cursor":"`+m.Cursor+`"}`, b.bearer()
		}
		o := porcupine.Operation{ClientId: id, Input: do, Call: int64(time.Since(h.began))}
		out := outcome{}
		a, err := request(context.Background(), c, method, node.url()+path, body, headers...)
		o.Return = int64(time.Since(h.began))
		if do.kind == "read" {
			b.reader.Unlock()
		}
		switch {
		case err != nil || a.status == 503:
			if out.unknown = true; do.kind == "read" {
				continue // it tells nothing, and changes nothing
			}
			o.Return = math.MaxInt64
		case a.status == 410:
			out.closed = true
		case a.status/100 != 2:
			t.Errorf("%s %s: %d %s", method, path, a.status, a.body)
			return
		case do.kind == "read":
			var p polled
			if err := json.Unmarshal(a.body, &p); err != nil {
				t.Errorf("read: %s: %v", a.body, err)
				return
			}
			seen = p
			for _, m := range p.Messages {
				out.values += unquote(m.Body) + " "
			}
		}
		o.Output = out
		h.add(o)
		if out.closed {
			return
		}
	}
}

// closeAll closes the mailboxes while others still write to them.
func (h *history) closeAll(t *testing.T, all nodes) {
	var working sync.WaitGroup
	for i, b := range h.boxes {
		working.Go(func() {
			o := porcupine.Operation{ClientId: i, Input: op{mailbox: i, kind: "close"}, Call: int64(time.Since(h.began))}
			a, err := request(t.Context(), http.DefaultClient, "DELETE", all[i%3].url()+"/_gb/mailbox", "", b.bearer()...)
			if o.Return = int64(time.Since(h.began)); err != nil || a.status != 204 {
				t.Errorf("close: %d %s, %v", a.status, a.body, err)
			}
			o.Output = outcome{}
			h.add(o)
		})
		working.Go(func() {
			for n := range 100 {
				value := fmt.Sprintf("last%d.%d", i, n)
				o := porcupine.Operation{ClientId: 100 + i, Input: op{mailbox: i, kind: "append", value: value}, Call: int64(time.Since(h.began))}
				a, err := request(t.Context(), http.DefaultClient, "POST", all[n%3].url()+"/_gb/send/"+b.Address, fmt.Sprintf("%q", value))
				o.Return = int64(time.Since(h.began))
				o.Output = outcome{closed: a.status == 410, unknown: a.status == 503}
				if err != nil || a.status != 202 && a.status != 410 && a.status != 503 {
					t.Errorf("append while it is closed: %d %s, %v", a.status, a.body, err)
				}
				if h.add(o); a.status == 410 {
					return
				}
			}
			t.Errorf("mailbox %d takes messages for ever", i)
		})
	}
	working.Wait()
}

func (h *history) add(o porcupine.Operation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.operations = append(h.operations, o)
}

func unquote(text json.RawMessage) (s string) {
	json.Unmarshal(text, &s)
	return s
}
