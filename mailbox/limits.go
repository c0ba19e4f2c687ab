package mailbox

import (
	"fmt"
	"time"
)

// Overflow says what a full mailbox does with another message.
type Overflow uint8

const (
	// Refuse keeps what is there and refuses the new message with [ErrFull].
	Refuse Overflow = iota
	// DropOldest makes room; the reader is told of the gap.
	DropOldest
)

// Limits bound one mailbox. A zero field means its default.
type Limits struct {
	Body         int           // bytes of a body; 64 KiB
	Depth        int           // how deep a body's arrays and objects may be nested; 512
	Backlog      int           // messages kept; 1,000
	BacklogBytes int           // bytes of bodies kept; 1 MiB
	Asleep       time.Duration // without a reader, until the mailbox expires; 10 minutes
	TTL          time.Duration // longest that a message's own time to live may be; 7 days
	Names        int           // idempotency keys remembered; 1,000
	NameWindow   time.Duration // how long they are; 10 minutes
	Overflow     Overflow      // Refuse
}

// AsTheyAre returns limits that take nothing from mailboxes that are read from a log, whatever those of their server are.
func AsTheyAre() Limits {
	const ever = 100 * 365 * 24 * time.Hour
	return Limits{Asleep: ever, NameWindow: ever, Names: 1 << 20}.WithDefaults()
}

// maxDepth leaves room for an envelope around a body: encoding/json reads no more than 10,000 levels.
const maxDepth = 9_999

// WithDefaults returns l with its zero fields filled in.
func (l Limits) WithDefaults() Limits {
	set := func(p *int, n int) {
		if *p == 0 {
			*p = n
		}
	}
	last := func(p *time.Duration, d time.Duration) {
		if *p == 0 {
			*p = d
		}
	}
	set(&l.Body, 64<<10)
	set(&l.Depth, 512)
	set(&l.Backlog, 1000)
	set(&l.BacklogBytes, 1<<20)
	last(&l.Asleep, 10*time.Minute)
	last(&l.TTL, 7*24*time.Hour)
	set(&l.Names, 1000)
	last(&l.NameWindow, 10*time.Minute)
	return l
}

// Check reports the first limit that makes no sense, by name.
func (l Limits) Check() error {
	l = l.WithDefaults()
	for _, f := range []struct {
		name string
		ok   bool
		want string
	}{
		{"body", l.Body > 0, "more than 0 bytes"},
		{"depth", l.Depth > 0 && l.Depth <= maxDepth, "1 to 9,999"},
		{"backlog", l.Backlog > 0, "more than 0 messages"},
		{"backlog bytes", l.BacklogBytes >= l.Body, "at least the limit of a body"},
		{"asleep", l.Asleep > 0, "more than 0"},
		{"TTL", l.TTL >= time.Second, "at least 1s"},
		{"names", l.Names > 0, "more than 0"},
		{"name window", l.NameWindow > 0, "more than 0"},
		{"overflow", l.Overflow <= DropOldest, "Refuse or DropOldest"},
	} {
		if !f.ok {
			return fmt.Errorf("mailbox: limit of %s: want %s", f.name, f.want)
		}
	}
	return nil
}
