package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
	"unsafe"

	"github.com/genbrowser/genbrowser/internal/jsonscan"
	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/server"
	"github.com/genbrowser/genbrowser/web/problem"
)

// line is a message as it stands in a line of many.
type line struct {
	to     string // of the line's bytes, and good for no longer than these
	late   bool   // its answer may wait for others
	letter server.Letter
}

// parseLine takes a line apart in one pass. A member that is unknown or comes twice is refused: what a typing
// error meant, or which of two was meant, can't be known. The letter's name is set even if there is an error,
// when it was read before. Members are nested at most depth deep, as bodies are.
func parseLine(l *line, b []byte, depth int) error {
	*l = line{}
	at := jsonscan.Space(b, 0)
	if at >= len(b) || b[at] != '{' {
		return malformedLine("want a JSON object")
	}
	var seen []byte
	var room [9]byte
	seen = room[:0]
	at = jsonscan.Space(b, at+1)
	for more := at >= len(b) || b[at] != '}'; more; {
		name, value, err := jsonscan.Name(b, at)
		if err != nil {
			return malformedLine("not valid JSON")
		}
		end, err := jsonscan.Value(b, value, depth)
		switch {
		case err == jsonscan.ErrDepth:
			return tooDeep(name, depth)
		case err != nil:
			return malformedLine("not valid JSON")
		}
		member, known := members[string(name)]
		if !known {
			return malformedLine("unknown member " + string(name[:min(len(name), 40)]))
		}
		for _, s := range seen {
			if s == member.index {
				return malformedLine("member " + string(name) + " comes twice")
			}
		}
		seen = append(seen, member.index)
		if err := member.set(l, b[value:end]); err != nil {
			return err
		}
		if at, more, err = jsonscan.Next(b, end, '}'); err != nil {
			return malformedLine("not valid JSON")
		}
		if !more && jsonscan.Space(b, at) != len(b) {
			return malformedLine("want one JSON object a line")
		}
	}
	switch {
	case l.to == "":
		return malformedLine(`member "to" is missing`)
	case l.letter.Body == nil:
		return malformedLine(`member "body" is missing`)
	}
	return nil
}

func tooDeep(name []byte, depth int) error {
	if string(name) == `"body"` {
		return fmt.Errorf("%w: nested more than %d deep", mailbox.ErrMalformedJSON, depth)
	}
	return malformedLine("member " + string(name[:min(len(name), 40)]) + " is nested more than " + strconv.Itoa(depth) + " deep")
}

type member struct {
	index byte
	set   func(l *line, value []byte) error
}

// members are those that a line may have, by their names as they stand in JSON.
var members = map[string]member{
	`"to"`:    {0, setTo},
	`"body"`:  {1, func(l *line, value []byte) error { l.letter.Body = value; return nil }},
	`"id"`:    text(2, func(l *line) *string { return &l.letter.Name }),
	`"kind"`:  {3, setKind},
	`"ref"`:   text(4, func(l *line) *string { return &l.letter.Ref }),
	`"reply"`: text(5, func(l *line) *string { return &l.letter.Reply }),
	`"ttl"`:   {6, setTTL},
	`"trace"`: text(7, func(l *line) *string { return &l.letter.Trace }),
	`"late"`:  {8, setLate},
}

// text sets a field to a JSON string, which must not be empty.
func text(index byte, field func(*line) *string) member {
	return member{index, func(l *line, value []byte) error {
		s, err := unquote(value)
		if err == nil {
			*field(l) = s
		}
		return err
	}}
}

// setTo does without a copy, since most addresses are known already.
func setTo(l *line, value []byte) (err error) {
	if value[0] == '"' && len(value) > 2 && bytes.IndexByte(value, '\\') < 0 {
		l.to = view(value[1 : len(value)-1])
		return nil
	}
	l.to, err = unquote(value)
	return err
}

// view is a text that is good for as long as b is not changed.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func setKind(l *line, value []byte) error {
	name, err := unquote(value)
	if err != nil {
		return err
	}
	kind, ok := mailbox.ParseKind(name)
	if !ok || kind == mailbox.KindDown || kind == mailbox.KindExited || kind == mailbox.KindState {
		return malformedLine("kind: want message, call, reply, failure, monitor, demonitor, link, unlink or exit")
	}
	l.letter.Kind = kind
	return nil
}

func setTTL(l *line, value []byte) error {
	seconds, err := strconv.ParseUint(string(value), 10, 31)
	if err != nil || seconds == 0 {
		return malformedLine("ttl: want a whole number of seconds above 0")
	}
	l.letter.TTL = time.Duration(seconds) * time.Second
	return nil
}

func setLate(l *line, value []byte) error {
	if l.late = string(value) == "true"; !l.late {
		return malformedLine("late: want true, or leave it out")
	}
	return nil
}

// unquote returns the text of a valid JSON string that is not empty.
func unquote(value []byte) (string, error) {
	if value[0] != '"' || len(value) == 2 {
		return "", malformedLine("want a string instead of " + string(value[:min(len(value), 40)]))
	}
	inner := value[1 : len(value)-1]
	for _, c := range inner {
		if c == '\\' {
			var s string
			if err := json.Unmarshal(value, &s); err != nil {
				return "", malformedLine("not valid JSON")
			}
			return s, nil
		}
	}
	return string(inner), nil
}

func malformedLine(detail string) error {
	return &problem.Problem{Kind: problem.MalformedEnvelope, Detail: detail}
}
