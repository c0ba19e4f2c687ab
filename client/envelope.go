package client

import (
	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/internal/jsonscan"
)

// envelope reads the data of an envelope event.
func (e *event) envelope() (Message, error) {
	if m, ok := plainEnvelope(e.data); ok {
		return m, nil
	}
	m := Message{Kind: "message"}
	err := e.decode(&m)
	return m, err
}

// maxDepth is more than any server's limit of nesting.
const maxDepth = 10_001

// plainEnvelope reads an envelope in one pass, if it has no labels and no escapes, as those of replies; ok is false
// for any other, and for what is none.
func plainEnvelope(b []byte) (m Message, ok bool) {
	m.Kind = "message"
	if len(b) == 0 || b[0] != '{' {
		return m, false
	}
	for at, more := 1, true; more; {
		name, value, err := jsonscan.Name(b, at)
		if err != nil {
			return m, false
		}
		end, err := jsonscan.Value(b, value, maxDepth)
		if err != nil || !m.set(string(name), b[value:end]) {
			return m, false
		}
		if at, more, err = jsonscan.Next(b, end, '}'); err != nil || !more && at != len(b) {
			return m, false
		}
	}
	return m, m.Body != nil
}

func (m *Message) set(name string, value []byte) (ok bool) {
	if name == `"body"` {
		m.Body = value
		return true
	}
	text, ok := plainText(value)
	switch name {
	case `"kind"`:
		m.Kind = text
	case `"ref"`:
		m.Ref = text
	case `"trace"`:
		m.Trace = text
	case `"reply"`:
		reply, err := address.Parse(text)
		m.Reply = reply
		return ok && err == nil
	default:
		return false
	}
	return ok
}

// plainText returns the text of a JSON string without escapes.
func plainText(value []byte) (string, bool) {
	if len(value) < 2 || value[0] != '"' {
		return "", false
	}
	inner := value[1 : len(value)-1]
	for _, c := range inner {
		if c == '\\' {
			return "", false
		}
	}
	return string(inner), true
}
