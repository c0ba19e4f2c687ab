package web

import (
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/server"
	"github.com/genbrowser/genbrowser/web/problem"
)

// reading is what a GET of a mailbox asks for.
type reading struct {
	key     string // empty: open a mailbox
	selfIDs bool   // event ids carry the key
	how     server.Subscribing
}

// readMailbox streams a mailbox or answers a long-poll, as the Accept header wants.
func (h *Handler) readMailbox(w http.ResponseWriter, r *http.Request) {
	if len(h.origins) > 0 && embedded(r) {
		h.refuse(w, &problem.Problem{Kind: problem.OriginNotAllowed, Detail: "Sec-Fetch-Site: " + r.Header.Get("Sec-Fetch-Site") + ", and no Origin"})
		return
	}
	switch wanted(r.Header.Values("Accept")) {
	case "text/event-stream":
		h.stream(w, r)
	case "application/json":
		h.poll(w, r)
	default:
		h.refuse(w, &problem.Problem{Kind: problem.NotAcceptable, Detail: "Accept: want text/event-stream, or application/json for a long-poll"})
	}
}

// wanted returns the first media type of an Accept header that can be had, the stream for any of them.
func wanted(accept []string) string {
	if len(accept) == 0 {
		return "text/event-stream"
	}
	for _, one := range strings.Split(strings.Join(accept, ","), ",") {
		typ, params, err := mime.ParseMediaType(one)
		if err != nil || params["q"] == "0" {
			continue
		}
		switch typ {
		case "text/event-stream", "text/*", "*/*":
			return "text/event-stream"
		case "application/json", "application/*":
			return "application/json"
		}
	}
	return ""
}

// parseReading takes the request apart. Its key is not verified yet.
func parseReading(r *http.Request) (reading, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return reading{}, malformed("the query does not parse")
	}
	var rd reading
	switch query.Get("ack") {
	case "manual":
		rd.how.Hold = true
	case "", "auto":
	default:
		return rd, malformed(`ack: want "manual" or "auto"`)
	}
	key, hasKey := bearer(r)
	if hasKey { // credentials of another scheme are for somebody else, such as a proxy
		rd.key = key
	}
	cursor := query.Get("cursor")
	if strings.HasPrefix(cursor, "gbk_") {
		return rd, &problem.Problem{Kind: problem.MalformedCursor, Detail: "a key must not stand in a URL; send it as Last-Event-ID, or as Authorization: Bearer"}
	}
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		inID, rest, self := strings.Cut(last, ".")
		switch {
		case !self || !strings.HasPrefix(inID, "gbk_"):
			cursor = last
		case hasKey && inID != key:
			return rd, &problem.Problem{Kind: problem.MalformedCursor, Detail: "Last-Event-ID carries another key than Authorization"}
		default:
			rd.key, rd.selfIDs, cursor = inID, !hasKey, rest
		}
	}
	if query.Has("new") && rd.key != "" {
		return rd, malformed("new: a mailbox is opened without a key")
	}
	if rd.key == "" {
		if cursor != "" {
			return rd, &problem.Problem{Kind: problem.MissingKey, Detail: "a cursor needs the key of its mailbox"}
		}
		rd.selfIDs = !query.Has("new")
		return rd, nil
	}
	if cursor != "" {
		c, err := mailbox.ParseCursor(cursor)
		if err != nil {
			return rd, err
		}
		rd.how.After = &c
	}
	return rd, nil
}

// parseWait reads how long a long-poll may take.
func parseWait(text string) (time.Duration, error) {
	if text == "" {
		return defaultWait, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > maxWait {
		return 0, malformed("wait: want a time such as 25s, at most " + maxWait.String())
	}
	return d, nil
}

// join opens or finds the mailbox that a request is about and makes reader its reader.
func (h *Handler) join(r *http.Request, rd *reading, g *address.Grant, reader server.Reader) (*server.Subscription, opened, error) {
	isNew := rd.key == ""
	if isNew {
		m, err := h.admit(r)
		if err != nil {
			return nil, opened{}, err
		}
		rd.key = m.Key.Reveal()
	}
	if err := h.office.Verify(g, rd.key); err != nil {
		return nil, opened{}, err
	}
	rd.how.Context = r.Context()
	sub, err := h.office.Subscribe(g, rd.how, reader)
	if err != nil {
		return nil, opened{}, err
	}
	return sub, h.describe(forHolder(g, sub.Mailbox()), isNew), nil
}
