package jetstream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/genbrowser/genbrowser/mailbox"
)

const (
	expectLast = "Nats-Expected-Last-Subject-Sequence"
	// maxSilent is how often a server may leave one entry unanswered, while it answers other questions,
	// until it is clear that it can't store.
	maxSilent = 3
)

var (
	errUnanswered = errors.New("no answer from NATS")
	errSilent     = fmt.Errorf("%w in %v", errUnanswered, patience)
)

// Append implements [mailbox.Log]. What NATS refuses for want of room is [ErrFull].
func (l *Log) Append(ctx context.Context, entry []byte) (uint64, error) {
	if err := l.appendable(entry); err != nil {
		return 0, err
	}
	seq, err := l.append(ctx, entry)
	if err != nil {
		return 0, fmt.Errorf("append to the log: %w", err)
	}
	l.last, l.doubt = seq, nil
	return seq, nil
}

func (l *Log) appendable(entry []byte) error {
	switch {
	case len(entry) == 0 || len(entry) > l.maxEntry:
		return fmt.Errorf("append %d bytes to the log: want 1 to %d", len(entry), l.maxEntry)
	case l.conn.IsClosed():
		return ErrClosed
	case l.sealed.Load():
		return mailbox.ErrSealed
	case l.doubt != nil && !bytes.Equal(l.doubt, entry):
		return errors.New("append to the log: an earlier entry may be stored or not, and must be appended again first")
	}
	return nil
}

func (l *Log) append(ctx context.Context, entry []byte) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err // nothing was sent, so nothing is in doubt
	}
	if err := l.begin(ctx); err != nil {
		return 0, err
	}
	silent := 0
	for try := 0; ; try++ {
		if l.doubt != nil {
			seq, err := l.settle(ctx)
			if seq != 0 || err != nil {
				return seq, err
			}
		}
		seq, err := l.publisher.publish(ctx, l.alarm, l.last, entry)
		if err == nil {
			return seq, nil
		}
		if errors.Is(err, errSilent) {
			silent++
		}
		if l.doubt == nil && doubtful(err) {
			l.doubt = bytes.Clone(entry)
		}
		if err := l.giveUp(ctx, err, try, silent); err != nil {
			return 0, err
		}
	}
}

// begin finds out where the log ends that the lane's first entry comes after: [Log.trimmed] goes by it.
func (l *Log) begin(ctx context.Context) error {
	if l.begun {
		return nil
	}
	stats, err := l.Stats(ctx)
	if err == nil {
		l.begun, l.began = true, stats.Last
	}
	return err
}

// doubtful tells whether the entry may be stored in spite of the error, or the lane has changed.
func doubtful(err error) bool {
	return errors.Is(err, errUnanswered) || is(err, wrongLastSequence) || is(err, wrongLastSequenceInProgress)
}

// giveUp returns why there is no point in another try; nil after a pause if there is.
func (l *Log) giveUp(ctx context.Context, err error, try, silent int) error {
	if ended := ctx.Err(); ended != nil {
		return fmt.Errorf("%w: %w", ended, err)
	}
	if errors.Is(err, ErrFull) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	if !doubtful(err) && !transient(err) {
		return err
	}
	if dead := l.dead(); dead != nil {
		return dead
	}
	if s := l.trouble.Load(); s != nil && errors.Is(err, errUnanswered) {
		return fmt.Errorf("%w: %s", ErrFull, *s)
	}
	if silent >= maxSilent {
		return fmt.Errorf("%w, which answers other questions: its own log says what keeps it from storing", err)
	}
	if is(err, wrongLastSequence) && try == 0 {
		return nil
	}
	if stop := l.pause(ctx, try); stop != nil {
		return fmt.Errorf("%w: %w", stop, err)
	}
	return nil
}

// settle finds out what became of the entry in doubt. It returns 0 if that is not stored. Whatever is newer than
// the newest entry we know of is that entry or a seal, because only we append to the lane.
func (l *Log) settle(ctx context.Context) (uint64, error) {
	newest, err := l.newest(ctx, l.lane)
	switch {
	case err != nil:
		return 0, err
	case newest.Seq == 0:
		return 0, l.trimmed(ctx)
	case newest.Seq < l.last, newest.Seal && newest.After < l.last:
		return 0, l.lost()
	case newest.Seq == l.last:
		return 0, nil
	case newest.Seal && newest.After == l.last:
		return 0, l.stop()
	case newest.Seal && newest.After > l.last:
		l.sealed.Store(true)
		return newest.After, nil
	case bytes.Equal(newest.Data, l.doubt):
		return newest.Seq, nil
	}
	return 0, fmt.Errorf("somebody else appends to the lane %s", l.lane)
}

// trimmed is for a lane that has no entry. Trim keeps the newest one of a lane that is not sealed, so it was sealed, unless
// its first entry is not stored: that is certain as long as all is there that came after the lane began.
func (l *Log) trimmed(ctx context.Context) error {
	stats, err := l.Stats(ctx)
	switch {
	case err != nil:
		return err
	case stats.Last < l.last:
		return l.lost()
	case l.last == 0 && stats.First <= l.began+1:
		return nil
	}
	return l.stop()
}

func (l *Log) lost() error {
	noted := l.change(func(s *state) { s.Doubt = true })
	return errors.Join(fmt.Errorf("%w: %d, and maybe others", mailbox.ErrLost, l.last), noted)
}

func (l *Log) stop() error {
	l.sealed.Store(true)
	return mailbox.ErrSealed
}

// publisher publishes one message at a time, and gets the answers on one subscription: that is cheaper than a
// request of the NATS client, and can wait for an alarm as well.
type publisher struct {
	conn     *nats.Conn
	msg      nats.Msg
	expected []string
	inbox    string
	answers  chan *nats.Msg
	prefix   []byte // what an acknowledgement begins with
	tries    uint64
	timer    *time.Timer
}

func (p *publisher) start(conn *nats.Conn, stream, subject string) error {
	p.conn = conn
	p.expected = []string{""}
	p.msg = nats.Msg{Subject: subject, Header: nats.Header{expectLast: p.expected}}
	p.prefix = fmt.Appendf(nil, `{"stream":%q,"seq":`, stream)
	p.inbox = conn.NewInbox() + "."
	p.answers = make(chan *nats.Msg, 64)
	p.timer = time.NewTimer(time.Hour)
	p.timer.Stop()
	if _, err := conn.ChanSubscribe(p.inbox+"*", p.answers); err != nil {
		return fmt.Errorf("subscribe to acknowledgements: %w", err)
	}
	return nil
}

func (p *publisher) publish(ctx context.Context, alarm <-chan struct{}, last uint64, entry []byte) (uint64, error) {
	p.tries++
	p.expected[0] = decimal(last)
	p.msg.Reply = p.inbox + decimal(p.tries)
	p.msg.Data = entry
	select {
	case <-alarm: // about something earlier
	default:
	}
	switch err := p.conn.PublishMsg(&p.msg); {
	case errors.Is(err, nats.ErrReconnectBufExceeded): // disconnected, so that nothing was sent
		return 0, err
	case err != nil:
		return 0, fmt.Errorf("%w: %w", errUnanswered, err)
	}
	answer, err := p.await(ctx, alarm)
	if err != nil {
		return 0, err
	}
	return p.parse(answer)
}

// await returns the answer to the newest try. Those to earlier ones came too late.
func (p *publisher) await(ctx context.Context, alarm <-chan struct{}) (*nats.Msg, error) {
	p.timer.Reset(patience)
	defer p.timer.Stop()
	for {
		select {
		case answer := <-p.answers:
			if answer.Subject == p.msg.Reply {
				return answer, nil
			}
		case <-ctx.Done():
			return nil, errUnanswered
		case <-alarm:
			return nil, errUnanswered
		case <-p.timer.C:
			return nil, errSilent
		}
	}
}

func (p *publisher) parse(answer *nats.Msg) (uint64, error) {
	if seq := p.acknowledged(answer.Data); seq != 0 {
		return seq, nil
	}
	if len(answer.Data) == 0 && answer.Header.Get("Status") == "503" {
		return 0, nats.ErrNoResponders
	}
	var ack struct {
		Seq   uint64    `json:"seq"`
		Error *apiError `json:"error"`
	}
	switch err := json.Unmarshal(answer.Data, &ack); {
	case err != nil:
		return 0, fmt.Errorf("%w that can be read: %w", errUnanswered, err)
	case ack.Error != nil:
		return 0, ack.Error
	case ack.Seq == 0:
		return 0, fmt.Errorf("%w that names a sequence", errUnanswered)
	}
	return ack.Seq, nil
}

// acknowledged reads {"stream":"name","seq":123}, which is all that JetStream writes if nothing is special.
func (p *publisher) acknowledged(data []byte) (seq uint64) {
	digits, ok := bytes.CutPrefix(data, p.prefix)
	if !ok {
		return 0
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			break
		}
		seq = seq*10 + uint64(c-'0')
	}
	return seq
}
