//go:build linux

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// letter is a message of a sender's; its number counts the sender's messages to that mailbox.
type letter struct {
	Sender, Box, Number int
	Padding             string
}

func (m letter) name() string { return fmt.Sprintf("%d-%d-%d", m.Sender, m.Box, m.Number) }

func (m letter) body() string {
	m.Padding = strings.Repeat("x", 50*(m.Number%5))
	text, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// loadSender sends to all mailboxes in turn, one message at a time or many. One that names its messages repeats them
// until they are accepted; another goes on with the next one.
type loadSender struct {
	*load
	number      int
	named, bulk bool
	sent        [loadBoxes][]fate // by number
}

type fate uint8

const (
	unknown  fate = iota // it may arrive
	accepted             // it must
	late                 // it must, and may be overtaken: it was refused with 503 while others were not
)

func (s *loadSender) run() {
	p := s.now()
	for !s.stopping.Load() && p != nil {
		var letters []letter
		for range 1 + rand.IntN(40) {
			box := rand.IntN(loadBoxes)
			letters = append(letters, letter{Sender: s.number, Box: box, Number: len(s.sent[box])})
			s.sent[box] = append(s.sent[box], unknown)
			if !s.bulk {
				break
			}
		}
		p = s.send(p, letters)
	}
}

// send returns the program to go on with; nil for the end.
func (s *loadSender) send(p *program, letters []letter) *program {
	overtaken := make(map[letter]bool)
	for {
		answers, err := s.post(p, letters)
		var again []letter
		problem := ""
		for i, a := range answers {
			m := letters[i]
			switch a.Status {
			case 202:
				s.sent[m.Box][m.Number] = accepted
				if overtaken[m] {
					s.sent[m.Box][m.Number] = late
				}
				s.accepted.Add(1)
			case 503:
				again, overtaken[m] = append(again, m), true
				problem = strings.TrimPrefix(a.Type, "urn:gen-browser:")
			default:
				s.t.Errorf("sender %d: %+v", s.number, a)
			}
		}
		again = append(again, letters[len(answers):]...)
		if len(again) == 0 {
			return p
		}
		if problem != "" && err == nil {
			p, err = s.afterRefusal(p, problem)
		} else {
			p, err = s.next(p)
		}
		if err != nil {
			return nil
		}
		if !s.named {
			return p
		}
		letters = again
	}
}

func (s *loadSender) post(p *program, letters []letter) ([]lineAnswer, error) {
	if !s.bulk {
		m := letters[0]
		var header []string
		if s.named {
			header = []string{"Idempotency-Key", m.name()}
		}
		a, err := ask(s.client, "POST", p.url+"/_gb/send/"+s.boxes[m.Box].Address, "", m.body(), header...)
		if err != nil {
			return nil, err
		}
		return []lineAnswer{{a.status, a.problem}}, nil
	}
	var lines bytes.Buffer
	for _, m := range letters {
		fmt.Fprintf(&lines, `{"to":%q,"body":%s`, s.boxes[m.Box].Address, m.body())
		if s.named {
			fmt.Fprintf(&lines, `,"id":%q`, m.name())
		}
		lines.WriteString("}\n")
	}
	answers, err := upload(s.client, p.url, lines.Bytes(), rand.IntN(2) == 0)
	var no *refused
	if errors.As(err, &no) && no.status == 503 {
		return slices.Repeat([]lineAnswer{{503, "shutting-down"}}, len(letters)), nil
	}
	return answers, err
}

// loadReader reads a mailbox, acknowledges now and then, and resumes by cursor, or after what it acknowledged.
type loadReader struct {
	*load
	account
	seen             map[uint64]string // by sequence
	last             uint64            // sequence that came last
	cursor           string            // of it
	tried, confirmed uint64            // acknowledged; the latter with 204
}

// lastWords is the message that ends a reader.
const lastWords = `"that is all"`

func (r *loadReader) run() {
	p := r.now()
	for {
		problem, done := r.read(p)
		if done {
			return
		}
		var err error
		if problem != "" {
			p, err = r.afterRefusal(p, problem)
		} else {
			p, err = r.next(p)
		}
		if err != nil {
			return
		}
	}
}

// read reads until the program is gone, or the last message came.
func (r *loadReader) read(p *program) (problem string, done bool) {
	from, least, most := r.cursor, r.last+1, r.last+1
	if rand.IntN(2) == 0 {
		from, least, most = "", r.confirmed+1, r.tried+1
	}
	s, gap, body, err := p.subscribe(r.client, r.account, from)
	var no *refused
	if errors.As(err, &no) {
		switch {
		case strings.Contains(no.text, "shutting-down"):
			return "shutting-down", false
		case no.status == 503:
			return "unavailable", false
		}
		r.t.Errorf("reader: %v", err)
		return "", true
	}
	if err != nil {
		return "", false
	}
	defer body.Close()
	if gap != 0 {
		r.t.Errorf("reader: %d messages are missing after %q", gap, from)
	}
	for {
		e, err := s.event()
		if err != nil || e.name == "bye" {
			return "", false
		}
		_, number, _ := strings.Cut(e.id, ".")
		seq, err := strconv.ParseUint(number, 10, 64)
		if e.name != "" || err != nil {
			r.t.Errorf("reader: %+v, want a message", e)
			return "", true
		}
		if seq < least || seq > most {
			r.t.Errorf("reader: message %d after %q, want one of %d to %d", seq, from, least, most)
		}
		least, most = seq+1, seq+1
		if before, ok := r.seen[seq]; ok && before != e.data {
			r.t.Errorf("reader: message %d is %s, and was %s", seq, e.data, before)
		} else if ok {
			r.again.Add(1)
		}
		r.seen[seq], r.last, r.cursor = e.data, seq, e.id
		if e.data == lastWords {
			return "", true
		}
		if rand.IntN(8) == 0 && !r.ack(p, e.id, seq) {
			return "", false
		}
	}
}

func (r *loadReader) ack(p *program, cursor string, seq uint64) bool {
	r.tried = max(r.tried, seq)
	a, err := ask(r.client, "POST", p.url+"/_gb/ack", r.Key, fmt.Sprintf(`{"cursor":%q}`, cursor))
	switch {
	case err != nil:
		return false
	case a.status == 204:
		r.confirmed = max(r.confirmed, seq)
	case a.status != 503:
		r.t.Errorf("ack of %s: %v", cursor, a)
	}
	return true
}

// churner opens mailboxes, sends each a message, and closes most of them.
type churner struct {
	*load
	open, closed []account // for sure
	full         []account // those of open whose message was accepted
}

func (c *churner) run() {
	for p := c.now(); !c.stopping.Load(); {
		if c.turn(p) {
			continue
		}
		var err error
		if p, err = c.next(p); err != nil {
			return
		}
	}
}

// turn reports whether the program answers.
func (c *churner) turn(p *program) bool {
	var a account
	opened, err := ask(c.client, "POST", p.url+"/_gb/mailbox", "", "")
	if err != nil || opened.problem == "shutting-down" {
		return false
	}
	if opened.status != 201 || json.Unmarshal(opened.body, &a) != nil {
		if opened.status != 503 {
			c.t.Errorf("open: %v", opened)
		}
		return true
	}
	sent, sendErr := ask(c.client, "POST", p.url+"/_gb/send/"+a.Address, "", fmt.Sprintf("%q", a.Address))
	if rand.IntN(10) == 0 {
		c.open = append(c.open, a)
		if sendErr == nil && sent.status == 202 {
			c.full = append(c.full, a)
		}
		return sendErr == nil
	}
	gone, err := ask(c.client, "DELETE", p.url+"/_gb/mailbox", a.Key, "")
	switch {
	case err == nil && gone.status == 204:
		c.closed = append(c.closed, a)
	case err == nil && gone.status != 503:
		c.t.Errorf("close: %v", gone)
	}
	return err == nil
}
