package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/genbrowser/genbrowser/mailbox"
)

const (
	// A batch is what one question brings. Small enough that an Append on the same connection is not held up.
	batchEntries = 2048
	batchBytes   = 4 << 20
)

// Read implements [mailbox.Log]. It may go through copies of the stream that lag behind: whenever these don't go
// on with the next sequence, the stream's leader is asked what comes next. Entries that were trimmed meanwhile
// are left out. So are those that the store lost; the logger gets how many.
func (l *Log) Read(ctx context.Context, from uint64, f func(mailbox.Entry) error) error {
	info, err := l.info(ctx, "")
	if err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	if info.State.Messages == 0 {
		return nil
	}
	r := &reader{log: l, f: f, next: max(info.State.First, from, 1), last: info.State.Last}
	defer r.reportLoss()
	if err := r.run(ctx); err != nil {
		if r.stopped != nil {
			return r.stopped
		}
		return fmt.Errorf("read the log: %w", err)
	}
	return nil
}

type reader struct {
	log        *Log
	f          func(mailbox.Entry) error
	next, last uint64
	stopped    error // what f returned
	inbox      string
	messages   chan *nats.Msg
	batches    uint64
	lost       uint64
}

func (r *reader) run(ctx context.Context) error {
	r.inbox = r.log.conn.NewInbox() + "."
	r.messages = make(chan *nats.Msg, 2*batchEntries)
	sub, err := r.log.conn.ChanSubscribe(r.inbox+"*", r.messages)
	if err != nil {
		return err
	}
	defer sub.Unsubscribe()
	for r.next <= r.last {
		err := r.batch(ctx)
		if errors.Is(err, errInterrupted) {
			err = r.step(ctx)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// step takes one entry from the leader.
func (r *reader) step(ctx context.Context) error {
	e, err := r.log.get(ctx, getRequest{Seq: r.next, NextOf: r.log.name + ".log.*"})
	if err != nil {
		return err
	}
	if e.Seq == 0 {
		return r.skip(ctx)
	}
	if e.Seq > r.last {
		r.next = r.last + 1
		return nil
	}
	return r.deliver(e)
}

// skip goes on behind what was trimmed. If nothing was, the next entry can't be read: the leader does not look
// behind damage by itself.
func (r *reader) skip(ctx context.Context) error {
	info, err := r.log.info(ctx, "")
	if err != nil {
		return err
	}
	if info.State.First > r.next {
		r.next = info.State.First
		return nil
	}
	r.next++
	r.lost++
	return nil
}

func (r *reader) reportLoss() {
	if r.lost > 0 {
		r.log.logger.Error("entries of the log can't be read", "stream", r.log.name, "missing", r.lost)
	}
}

func (r *reader) deliver(e mailbox.Entry) error {
	if err := r.f(e); err != nil {
		r.stopped = err
		return err
	}
	r.next = e.Seq + 1
	return nil
}

// errInterrupted ends a batch that did not go on with the next entry.
var errInterrupted = errors.New("interrupted")

func (r *reader) batch(ctx context.Context) error {
	r.batches++
	reply := r.inbox + decimal(r.batches)
	request, err := json.Marshal(getRequest{Seq: r.next, Batch: batchEntries, MaxBytes: batchBytes})
	if err != nil {
		return err
	}
	if err := r.log.conn.PublishRequest("$JS.API.DIRECT.GET."+r.log.name, reply, request); err != nil {
		if transient(err) {
			return errInterrupted
		}
		return err
	}
	began := r.next
	for r.next <= r.last {
		m, err := r.receive(ctx, reply)
		if err != nil {
			return err
		}
		switch done, err := r.take(m); {
		case err != nil:
			return err
		case done && r.next == began:
			return errInterrupted
		case done:
			return nil
		}
	}
	return nil
}

func (r *reader) receive(ctx context.Context, reply string) (*nats.Msg, error) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		select {
		case m := <-r.messages:
			if m.Subject == reply {
				return m, nil
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-timer.C:
			return nil, errInterrupted
		}
	}
}

// take delivers a message of a batch, or sees that it is the batch's end.
func (r *reader) take(m *nats.Msg) (done bool, err error) {
	if m.Header[statusHeader] != nil {
		return true, nil
	}
	subject, sequence := m.Header["Nats-Subject"], m.Header["Nats-Sequence"]
	if len(subject) != 1 || len(sequence) != 1 {
		return false, errors.New("an answer without the stored subject and sequence")
	}
	seq, err := strconv.ParseUint(sequence[0], 10, 64)
	if err != nil {
		return false, err
	}
	if seq != r.next {
		return false, errInterrupted
	}
	e, err := r.log.entry(subject[0], seq, http.Header(m.Header), m.Data)
	if err != nil {
		return false, err
	}
	return false, r.deliver(e)
}

const statusHeader = "Status"
