package mailbox

import "time"

// Kind says what a message is to its receiver.
type Kind uint8

const (
	KindMessage Kind = iota // the default
	KindCall                // wants a reply, sent to Reply with the same Ref
	KindReply               // answers a call
	KindFailure             // answers it as well: the call came to nothing
	KindDown                // what was monitored ended
	KindExited              // what was linked ended
	KindState               // what is monitored has a reader now, or has none

	// what is asked of the server, and gets into no mailbox
	KindMonitor
	KindDemonitor
	KindLink
	KindUnlink
	KindExit

	lastKind = KindExit
)

var kindNames = [...]string{"message", "call", "reply", "failure", "down", "exited", "state", "monitor", "demonitor", "link", "unlink", "exit"}

// String returns the kind's name on the wire.
func (k Kind) String() string { return kindNames[k] }

// WantsReply reports whether a message of the kind needs a Reply.
func (k Kind) WantsReply() bool {
	return k == KindCall || k >= KindMonitor && k <= KindUnlink
}

// Answers reports whether a message of the kind answers another one, once.
func (k Kind) Answers() bool { return k >= KindReply && k <= KindExited }

// ParseKind returns the kind of that name, and whether there is one.
func ParseKind(name string) (Kind, bool) {
	for k := KindMessage; k <= lastKind; k++ {
		if k.String() == name {
			return k, true
		}
	}
	return 0, false
}

// Message is one message of a mailbox. It must not be changed once it was appended.
type Message struct {
	Seq     uint64 // its place in the mailbox, set by Append
	Body    []byte // one JSON value on one line
	Meta    *Meta  // nil for a plain message
	Expires int64  // seconds since 1970 from which on it is not read any more; 0 for never
}

// Meta is what an envelope says about its message, beside the body. Empty fields are not set.
type Meta struct {
	Kind  Kind
	Ref   string   // ties a reply to its call
	Reply string   // the address that a reply goes to
	Via   []string // labels of the address that was used, outermost last
	Trace string   // W3C traceparent
}

// IsZero reports whether there is nothing to say.
func (m *Meta) IsZero() bool {
	return m.Kind == KindMessage && m.Ref == "" && m.Reply == "" && m.Via == nil && m.Trace == ""
}

func (m *Message) expired(now time.Time) bool { return m.Expires != 0 && m.Expires <= now.Unix() }
