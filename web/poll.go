package web

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/server"
	"github.com/genbrowser/genbrowser/web/problem"
)

const (
	defaultWait = 25 * time.Second
	maxWait     = 60 * time.Second

	// pollBytes is about how many bytes of bodies one answer carries; one message may be more. Clients take an answer that is not
	// whole after half a minute for lost, and some links carry no more than a few KiB a second.
	pollBytes = 64 << 10
)

// poller is the reader of a long-poll.
type poller struct {
	wake chan struct{}
	end  chan error

	expires  int64 // when the key ends, as of a stream
	messages int64 // in the answer
}

// Wake implements [server.Reader].
func (p *poller) Wake() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// End implements [server.Reader].
func (p *poller) End(why error) {
	select {
	case p.end <- why:
	default:
	}
}

// poll answers a GET with the messages after a cursor, as soon as there are any.
func (h *Handler) poll(w http.ResponseWriter, r *http.Request) {
	rd, err := parseReading(r)
	if err == nil && rd.key == "" {
		err = &problem.Problem{Kind: problem.MissingKey, Detail: "a long-poll needs Authorization: Bearer gbk_…; open a mailbox with POST first"}
	}
	if err != nil {
		h.refuse(w, err)
		return
	}
	wait, err := parseWait(r.URL.Query().Get("wait"))
	if err != nil {
		h.refuse(w, err)
		return
	}
	leave, err := h.held.enter(r)
	if err != nil {
		h.refuse(w, err)
		return
	}
	defer leave()
	p := &poller{wake: make(chan struct{}, 1), end: make(chan error, 1)}
	var g address.Grant
	sub, _, err := h.join(r, &rd, &g, p)
	if err != nil {
		h.refuse(w, err)
		return
	}
	defer sub.Close()
	if p.expires = endOf(&g); p.expires != 0 {
		wait = min(wait, max(time.Until(time.Unix(p.expires, 0)), 0))
	}
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(wait + h.slow))
	body, err := p.read(r, sub, wait)
	if r.Context().Err() != nil {
		return // nobody waits for the answer
	}
	if err != nil {
		h.refuse(w, err)
		return
	}
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	h.writeBody(w, body)
	h.tally.delivered.Add(p.messages)
}

// read waits for messages and returns the answer.
func (p *poller) read(r *http.Request, sub *server.Subscription, wait time.Duration) ([]byte, error) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	read := sub.ReadInitial
	for {
		if body, any, _ := p.answer(sub, read); any {
			return body, nil
		}
		read = sub.Read
		select {
		case <-p.wake:
		case why := <-p.end:
			if body, any, _ := p.answer(sub, read); any { // before a shutdown, what came is still to be had
				return body, nil
			}
			return nil, why
		case <-r.Context().Done():
			return nil, r.Context().Err()
		case <-timer.C:
			body, any, ended := p.answer(sub, read)
			if ended && !any { // nothing to read is not the same as nothing to be read here any more
				return nil, <-p.end
			}
			return body, nil
		}
	}
}

func readNothing(func(*mailbox.Message, error) bool) (ended bool) { return false }

// answer encodes what waits, and reports whether that is anything, and whether the subscription has ended.
func (p *poller) answer(sub *server.Subscription, read func(func(*mailbox.Message, error) bool) bool) (body []byte, any, ended bool) {
	if isOver(p.expires) {
		read = readNothing // what waits when the key ends is not for its holder
	}
	last, missing := sub.Cursor(), uint64(0)
	var messages []byte
	p.messages = 0
	ended = read(func(m *mailbox.Message, err error) bool {
		var gap *mailbox.GapError
		if errors.As(err, &gap) {
			missing += gap.Missing
			last.Seq += gap.Missing
			return true
		}
		if len(messages) > 0 {
			if len(messages)+len(m.Body) > pollBytes {
				return false
			}
			messages = append(messages, ',')
		}
		last.Seq = m.Seq
		p.messages++
		messages = append(messages, `{"cursor":"`...)
		messages = append(last.Append(messages), `",`...)
		messages = appendEnvelope(messages, m)
		return true
	})
	body = append(body, `{"cursor":"`...)
	body = last.Append(body)
	body = append(body, `","gap":`...)
	body = strconv.AppendUint(body, missing, 10)
	body = append(body, `,"messages":[`...)
	body = append(body, messages...)
	body = append(body, "]}"...)
	sub.Delivered(last.Seq)
	return body, len(messages) > 0 || missing > 0, ended
}
