// Package problem is the errors of the wire: RFC 9457 problem details, one kind for each thing that can be
// wrong. The server writes them and the Go client reads them back, so that errors.Is works across the network:
//
//	if errors.Is(err, problem.Expired) { … }
package problem

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Kind is what is wrong. Kinds are compared by their address, and are errors themselves.
type Kind struct {
	Status int
	Code   string
	Title  string
}

// Error returns the title.
func (k *Kind) Error() string { return k.Title }

// Type is the URI that names the kind in an answer.
func (k *Kind) Type() string { return typePrefix + k.Code }

const typePrefix = "urn:gen-browser:"

var byCode = map[string]*Kind{}

func kind(status int, code, title string) *Kind {
	k := &Kind{status, code, title}
	byCode[code] = k
	return k
}

// Kinds returns every kind, by code.
func Kinds() []*Kind {
	all := slices.Collect(maps.Values(byCode))
	slices.SortFunc(all, func(a, b *Kind) int { return strings.Compare(a.Code, b.Code) })
	return all
}

// Every kind, as PROTOCOL.md lists them.
var (
	MalformedRequest  = kind(400, "malformed-request", "Malformed request")
	MalformedAddress  = kind(400, "malformed-address", "Malformed address or key")
	MalformedCursor   = kind(400, "malformed-cursor", "Malformed cursor")
	MalformedJSON     = kind(400, "malformed-json", "The body is not one JSON value")
	InvalidUTF8       = kind(400, "invalid-utf8", "The body is not UTF-8")
	EmptyBody         = kind(400, "empty-body", "The body is empty")
	MalformedEnvelope = kind(400, "malformed-envelope", "Malformed envelope")
	MissingKey        = kind(401, "missing-key", "A mailbox key is needed")
	InvalidCapability = kind(403, "invalid-capability", "This server did not sign the capability")
	CapabilityExpired = kind(403, "capability-expired", "The capability expired")
	MissingRight      = kind(403, "missing-right", "The capability lacks a right")
	TypeNotAllowed    = kind(403, "type-not-allowed", "The capability does not allow this type of message")
	UnsupportedCaveat = kind(403, "unsupported-caveat", "The capability has a caveat that cannot be honoured here")
	OriginNotAllowed  = kind(403, "origin-not-allowed", "This origin may not use the server")
	OpenRefused       = kind(403, "open-refused", "The server refused to open a mailbox")
	OperatorsOnly     = kind(403, "operators-only", "Only operators of the server may do this")
	Disconnected      = kind(403, "disconnected", "An operator disconnected this client")
	NameNotAllowed    = kind(403, "name-not-allowed", "This client may not register the name")
	NotAReplyAddress  = kind(403, "not-a-reply-address", "This is not the reply address of the call")
	NotFound          = kind(404, "not-found", "No such route")
	NotExported       = kind(404, "not-exported", "Nothing is exported or registered under this name")
	NotConnected      = kind(404, "not-connected", "Nobody reads this mailbox at the moment")
	MethodNotAllowed  = kind(405, "method-not-allowed", "Method not allowed")
	NotAcceptable     = kind(406, "not-acceptable", "Not acceptable")
	NameTaken         = kind(409, "name-taken", "The name is taken")
	Replied           = kind(409, "replied", "The call has its answer already")
	UnknownCursor     = kind(409, "unknown-cursor", "The cursor is of another history of this mailbox")
	Expired           = kind(410, "expired", "The mailbox expired")
	Closed            = kind(410, "closed", "The mailbox was closed")
	Gone              = kind(410, "gone", "No such mailbox or process, any more")
	TakenOver         = kind(410, "taken-over", "Another reader took over this mailbox")
	TooLarge          = kind(413, "too-large", "The body is too large")
	UnsupportedMedia  = kind(415, "unsupported-media-type", "Unsupported media type")
	CursorAhead       = kind(416, "cursor-ahead", "The cursor is ahead of the mailbox")
	Refused           = kind(422, "refused", "The process refused the message")
	Full              = kind(429, "full", "The mailbox or queue is full")
	TooManyMessages   = kind(429, "too-many-messages", "Too many messages or bytes sent from this client address")
	TooManyStreams    = kind(429, "too-many-streams", "Too many streams of this client address")
	TooManyRequests   = kind(429, "too-many-requests", "Too many requests that this client address holds open")
	TooManyOpens      = kind(429, "too-many-opens", "Too many mailboxes opened from this client address")
	TooManyMailboxes  = kind(429, "too-many-mailboxes", "Too many mailboxes of this client address")
	TooManyMonitors   = kind(429, "too-many-monitors", "Too many monitors and links of this client address")
	Internal          = kind(500, "internal", "Internal error")
	CallFailed        = kind(502, "call-failed", "The callee failed to handle the call")
	ShuttingDown      = kind(503, "shutting-down", "The server is shutting down")
	SentAway          = kind(503, "sent-away", "An operator disconnected this client for a while")
	Unavailable       = kind(503, "unavailable", "Nothing can be stored at the moment")
	Overloaded        = kind(503, "overloaded", "The server holds as much as it may")
	CallTimeout       = kind(504, "call-timeout", "No reply came in time")
)

// Problem is one error of the wire. It unwraps to its Kind.
type Problem struct {
	Kind       *Kind
	Detail     string        // what exactly is wrong, and what would be right; of a longer one, 1 KiB is told
	RetryAfter time.Duration // 0: trying again is no use, or may be tried at any time
}

func (p *Problem) Error() string {
	if p.Detail == "" {
		return p.Kind.Title
	}
	return p.Kind.Title + ": " + p.Detail
}

// Unwrap returns the kind.
func (p *Problem) Unwrap() error { return p.Kind }

// MediaType is that of a problem's JSON.
const MediaType = "application/problem+json"

// Members are a problem's members in JSON; a line of many answers has them beside its id.
type Members struct {
	ID         string `json:"id,omitempty"`
	Type       string `json:"type"`
	Title      string `json:"title"`
	Status     int    `json:"status"`
	Detail     string `json:"detail,omitempty"`
	RetryAfter int    `json:"retryAfter,omitempty"` // seconds
}

// Members returns the problem as it stands in JSON.
func (p *Problem) Members() Members {
	return Members{Type: p.Kind.Type(), Title: p.Kind.Title, Status: p.Kind.Status, Detail: short(p.Detail), RetryAfter: p.RetrySeconds()}
}

// maxDetail is how many bytes of a detail are told. What it echoes may be as long as a message.
const maxDetail = 1 << 10

// short cuts what is too long, between two characters.
func short(detail string) string {
	if len(detail) <= maxDetail {
		return detail
	}
	const more = "…"
	end := maxDetail - len(more)
	for end > 0 && !utf8.RuneStart(detail[end]) {
		end--
	}
	return detail[:end] + more
}

// RetrySeconds returns RetryAfter in whole seconds, rounded up.
func (p *Problem) RetrySeconds() int { return int((p.RetryAfter + time.Second - 1) / time.Second) }

// MarshalJSON gives the problem's members.
func (p *Problem) MarshalJSON() ([]byte, error) { return json.Marshal(p.Members()) }

// Problem returns what the members describe. One of an unknown type, from a proxy or a newer server, gets a
// kind of its own with its status.
func (m Members) Problem() *Problem {
	code, servers := strings.CutPrefix(m.Type, typePrefix)
	k := byCode[code]
	if k == nil || !servers {
		if !servers {
			code = codeOfOthers
		}
		k = &Kind{Status: m.Status, Code: code, Title: m.Title}
		if k.Title == "" {
			k.Title = fmt.Sprintf("%d %s", m.Status, http.StatusText(m.Status))
		}
	}
	return &Problem{Kind: k, Detail: m.Detail, RetryAfter: time.Duration(m.RetryAfter) * time.Second}
}

// codeOfOthers is that of an answer that is no problem of a GenBrowser server.
const codeOfOthers = "http"

// IsServers reports whether a GenBrowser server said it. Otherwise something answered in its place, such as a proxy.
func (k *Kind) IsServers() bool { return k.Code != codeOfOthers }

// Parse reads an answer that is no success. Its body may be anything.
func Parse(status int, body []byte) *Problem {
	var m Members
	if json.Unmarshal(body, &m) != nil {
		m = Members{}
	}
	m.Status = status
	return m.Problem()
}
