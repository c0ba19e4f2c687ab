package jetstream

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/genbrowser/genbrowser/mailbox"
)

// sealHeader marks the end of a lane. Its value is the entry that it follows, by which a writer whose answer got
// lost sees whether its entry came before.
const sealHeader = "Genbrowser-Seal"

// Seal implements [mailbox.Log]. A lane that was sealed after the same entry already is sealed.
func (l *Log) Seal(ctx context.Context, lane string, last uint64) error {
	if err := l.seal(ctx, lane, last); err != nil {
		return fmt.Errorf("seal the lane %s: %w", lane, err)
	}
	if lane == l.lane {
		l.sealed.Store(true)
	}
	return nil
}

func (l *Log) seal(ctx context.Context, lane string, last uint64) error {
	if lane == "" || strings.ContainsAny(lane, ".*> \t\r\n") {
		return errors.New("no lane has that name")
	}
	msg := &nats.Msg{Subject: l.name + ".log." + lane, Header: nats.Header{
		expectLast: {decimal(last)},
		sealHeader: {decimal(last)},
	}}
	return l.retry(ctx, func() error {
		err := l.publishSeal(ctx, msg)
		if err == nil || !is(err, wrongLastSequence) && !is(err, wrongLastSequenceInProgress) {
			return err
		}
		newest, lookup := l.newest(ctx, lane)
		switch {
		case lookup != nil:
			return lookup
		case newest.Seal && newest.After == last:
			return nil
		case newest.Seq == last: // an Append under way, perhaps
			return errUnanswered
		}
		return mailbox.ErrNotLast
	})
}

func (l *Log) publishSeal(ctx context.Context, msg *nats.Msg) error {
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	answer, err := l.conn.RequestMsgWithContext(waiting, msg)
	if err != nil {
		return err
	}
	_, err = l.publisher.parse(answer)
	return err
}

// lanesAtOnce is how many lanes are asked for at the same time.
const lanesAtOnce = 256

// Lanes implements [mailbox.Log]. It does not ask for one lane after the other: a lane stays, sealed, until the log is
// trimmed, and where many nodes came and went, or answers are slow, whoever waits for all of them would give up.
func (l *Log) Lanes(ctx context.Context) ([]mailbox.Entry, error) {
	info, err := l.info(ctx, l.name+".log.*")
	if err != nil {
		return nil, fmt.Errorf("lanes of the log: %w", err)
	}
	var (
		asking sync.WaitGroup
		room   = make(chan struct{}, lanesAtOnce)
		mu     sync.Mutex
		lanes  []mailbox.Entry
		failed error
	)
	for subject := range info.State.Subjects {
		room <- struct{}{}
		asking.Go(func() {
			defer func() { <-room }()
			newest, err := l.newest(ctx, l.laneOf(subject))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				failed = err
			case newest.Seq != 0 && !newest.Seal:
				newest.Data = nil
				lanes = append(lanes, newest)
			}
		})
	}
	asking.Wait()
	if failed != nil {
		return nil, fmt.Errorf("lanes of the log: %w", failed)
	}
	return lanes, nil
}

func (l *Log) laneOf(subject string) string { return strings.TrimPrefix(subject, l.name+".log.") }

// newest returns the newest entry of a lane, with Seq 0 if there is none.
func (l *Log) newest(ctx context.Context, lane string) (mailbox.Entry, error) {
	return l.get(ctx, getRequest{LastOf: l.name + ".log." + lane})
}

// getRequest asks for one message, or for a Batch.
type getRequest struct {
	Seq      uint64 `json:"seq,omitempty"`
	LastOf   string `json:"last_by_subj,omitempty"`
	NextOf   string `json:"next_by_subj,omitempty"`
	Batch    int    `json:"batch,omitempty"`
	MaxBytes int    `json:"max_bytes,omitempty"`
}

// get asks the stream's leader, because a replica may lag behind. Seq is 0 if there is no such message.
func (l *Log) get(ctx context.Context, request getRequest) (mailbox.Entry, error) {
	var response struct {
		Message struct {
			Subject string `json:"subject"`
			Seq     uint64 `json:"seq"`
			Header  []byte `json:"hdrs"`
			Data    []byte `json:"data"`
		} `json:"message"`
	}
	err := l.call(ctx, "STREAM.MSG.GET."+l.name, request, &response)
	if is(err, noMessageFound) {
		return mailbox.Entry{}, nil
	}
	if err != nil {
		return mailbox.Entry{}, err
	}
	m := response.Message
	header, err := parseHeader(m.Header)
	if err != nil {
		return mailbox.Entry{}, fmt.Errorf("header of the entry %d: %w", m.Seq, err)
	}
	return l.entry(m.Subject, m.Seq, header, m.Data)
}

func (l *Log) entry(subject string, seq uint64, header http.Header, data []byte) (mailbox.Entry, error) {
	e := mailbox.Entry{Seq: seq, Lane: l.laneOf(subject), Data: data}
	if after := header[sealHeader]; len(after) == 1 {
		var err error
		if e.After, err = strconv.ParseUint(after[0], 10, 64); err != nil {
			return mailbox.Entry{}, fmt.Errorf("seal %d: %w", seq, err)
		}
		e.Seal = true
	}
	return e, nil
}

// parseHeader reads a header as NATS stores it: NATS/1.0, then lines as in HTTP.
func parseHeader(raw []byte) (http.Header, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	_, lines, _ := bytes.Cut(raw, []byte("\r\n"))
	header, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(lines))).ReadMIMEHeader()
	return http.Header(header), err
}
