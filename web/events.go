package web

import (
	"encoding/json"
	"strconv"
	"sync"
	"time"

	"github.com/genbrowser/genbrowser/mailbox"
)

// chunkSize is about how much is encoded for one write; one event may be larger.
const chunkSize = 16 << 10

// chunk is events encoded for one write, and where each of them ends.
type chunk struct {
	b    []byte
	ends []eventEnd

	messages int
}

// eventEnd is where an event ends in its chunk, and the message that it brings the reader to.
type eventEnd struct {
	at       int
	seq      uint64
	messages int // up to here
}

var chunks = sync.Pool{New: func() any { return &chunk{b: make([]byte, 0, chunkSize)} }}

func (c *chunk) release() {
	if cap(c.b) <= 4*chunkSize {
		c.b, c.ends, c.messages = c.b[:0], c.ends[:0], 0
		chunks.Put(c)
	}
}

func (c *chunk) close(seq uint64) { c.ends = append(c.ends, eventEnd{len(c.b), seq, c.messages}) }

// message adds a message's event. The id is idPrefix and the cursor.
func (c *chunk) message(idPrefix string, epoch uint32, m *mailbox.Message) {
	if m.Meta != nil {
		c.b = append(c.b, "event: envelope\n"...)
	}
	c.id(idPrefix, mailbox.Cursor{Epoch: epoch, Seq: m.Seq})
	c.b = append(c.b, "data: "...)
	if m.Meta != nil {
		c.b = appendEnvelope(append(c.b, '{'), m)
	} else {
		c.b = append(c.b, m.Body...)
	}
	c.b = append(c.b, "\n\n"...)
	c.messages++
	c.close(m.Seq)
}

// gap adds the event that says that messages before the cursor are missing.
func (c *chunk) gap(idPrefix string, missing uint64, next mailbox.Cursor) {
	c.b = append(c.b, "event: gap\n"...)
	c.id(idPrefix, next)
	c.b = append(c.b, `data: {"missing":`...)
	c.b = strconv.AppendUint(c.b, missing, 10)
	c.b = append(c.b, "}\n\n"...)
	c.close(next.Seq)
}

func (c *chunk) id(prefix string, cursor mailbox.Cursor) {
	c.b = append(c.b, "id: "...)
	c.b = append(c.b, prefix...)
	c.b = cursor.Append(c.b)
	c.b = append(c.b, '\n')
}

// initEvent is the first event of a stream.
func initEvent(idPrefix string, retry time.Duration, o opened, resumed bool, gap uint64) []byte {
	data, err := json.Marshal(struct {
		opened
		Resumed bool   `json:"resumed"`
		Gap     uint64 `json:"gap"`
	}{o, resumed, gap})
	if err != nil {
		panic(err) // our own types, and a config that was marshalled before
	}
	b := appendRetry(nil, retry)
	b = append(b, "event: init\nid: "+idPrefix+o.Cursor+"\ndata: "...)
	b = append(b, data...)
	return append(b, "\n\n"...)
}

// byeEvent is the last. A retry of 0 means that coming back makes no sense.
func byeEvent(reason string, retry time.Duration) []byte {
	if retry == 0 {
		return []byte(`event: bye` + "\n" + `data: {"reason":"` + reason + `"}` + "\n\n")
	}
	b := appendRetry(nil, retry)
	b = append(b, `event: bye`+"\n"+`data: {"reason":"`+reason+`","retry":`...)
	b = strconv.AppendInt(b, retry.Milliseconds(), 10)
	return append(b, "}\n\n"...)
}

func appendRetry(b []byte, retry time.Duration) []byte {
	b = append(b, "retry: "...)
	b = strconv.AppendInt(b, retry.Milliseconds(), 10)
	return append(b, '\n')
}

// appendEnvelope writes a message with what is said about it: the rest of a JSON object that was begun, on one
// line.
func appendEnvelope(b []byte, m *mailbox.Message) []byte {
	if meta := m.Meta; meta != nil {
		if meta.Kind != mailbox.KindMessage {
			b = appendMember(b, "kind", meta.Kind.String())
		}
		if meta.Ref != "" {
			b = appendMember(b, "ref", meta.Ref)
		}
		if meta.Reply != "" {
			b = appendMember(b, "reply", meta.Reply)
		}
		if meta.Via != nil {
			b = appendMember(b, "via", meta.Via)
		}
		if meta.Trace != "" {
			b = appendMember(b, "trace", meta.Trace)
		}
	}
	b = append(b, `"body":`...)
	b = append(b, m.Body...)
	return append(b, '}')
}

func appendMember(b []byte, name string, value any) []byte {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err) // texts and lists of them marshal
	}
	b = append(b, '"')
	b = append(b, name...)
	b = append(b, `":`...)
	b = append(b, text...)
	return append(b, ',')
}
