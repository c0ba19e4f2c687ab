package web

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/server"
	"github.com/genbrowser/genbrowser/web/problem"
)

// kinds is the one table between the errors of the domain and those of the wire. The first that fits counts.
var kinds = []struct {
	err   error
	kind  *problem.Kind
	retry time.Duration
}{
	{server.ErrEnvelope, problem.MalformedEnvelope, 0},
	{server.ErrName, problem.MalformedRequest, 0},
	{server.ErrTTL, problem.MalformedRequest, 0},
	{server.ErrRefused, problem.Refused, 0},
	{server.ErrExpired, problem.Expired, 0},
	{server.ErrClosed, problem.Closed, 0},
	{server.ErrExited, problem.Closed, 0},
	{server.ErrGone, problem.Gone, 0},
	{server.ErrReplied, problem.Replied, 0},
	{server.ErrCallFailed, problem.CallFailed, 0},
	{server.ErrCallTimeout, problem.CallTimeout, 0},
	{server.ErrTakenOver, problem.TakenOver, 0},
	{server.ErrDisconnected, problem.Disconnected, 0},
	{server.ErrNotConnected, problem.NotConnected, 0},
	{server.ErrNotAMailbox, problem.MissingRight, 0},
	{server.ErrNameTaken, problem.NameTaken, 0},
	{server.ErrFull, problem.Full, time.Second},
	{server.ErrUnavailable, problem.Unavailable, 2 * time.Second},
	{server.ErrMoved, problem.Unavailable, time.Second},
	{server.ErrOverloaded, problem.Overloaded, 5 * time.Second},
	{server.ErrTooManyMailboxes, problem.TooManyMailboxes, 5 * time.Second},
	{server.ErrShuttingDown, problem.ShuttingDown, 2 * time.Second},
	{mailbox.ErrFull, problem.Full, time.Second},
	{mailbox.ErrWatched, problem.Full, 5 * time.Second},
	{mailbox.ErrTooLarge, problem.TooLarge, 0},
	{mailbox.ErrEmptyBody, problem.EmptyBody, 0},
	{mailbox.ErrUTF8, problem.InvalidUTF8, 0},
	{mailbox.ErrMalformedJSON, problem.MalformedJSON, 0},
	{mailbox.ErrMalformedCursor, problem.MalformedCursor, 0},
	{mailbox.ErrUnknownCursor, problem.UnknownCursor, 0},
	{mailbox.ErrCursorAhead, problem.CursorAhead, 0},
	{address.ErrMalformed, problem.MalformedAddress, 0},
	{address.ErrInvalid, problem.InvalidCapability, 0},
	{address.ErrUnsupported, problem.UnsupportedCaveat, 0},
	{address.ErrExpired, problem.CapabilityExpired, 0},
	{address.ErrRight, problem.MissingRight, 0},
	{address.ErrTooLarge, problem.TooLarge, 0},
	{address.ErrType, problem.TypeNotAllowed, 0},
	{address.ErrReply, problem.NotAReplyAddress, 0},
}

// toProblem finds the problem of an error. One that is not in the table is a fault of ours, and is not shown.
func toProblem(err error) *problem.Problem {
	var p *problem.Problem
	if errors.As(err, &p) {
		return p
	}
	var f *server.Failure
	if errors.As(err, &f) {
		return ofFailure(f)
	}
	var away *server.DisconnectedError
	if errors.As(err, &away) {
		return disconnected(away)
	}
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			return &problem.Problem{Kind: k.kind, Detail: err.Error(), RetryAfter: k.retry}
		}
	}
	return &problem.Problem{Kind: problem.Internal}
}

// ofFailure is the problem that a callee's failure says. Any status that is no error's is taken for a failed call.
func ofFailure(f *server.Failure) *problem.Problem {
	if f.Status < 400 || f.Status > 599 {
		return &problem.Problem{Kind: problem.CallFailed, Detail: f.Detail}
	}
	text, err := json.Marshal(f)
	if err != nil {
		panic(err) // our own type
	}
	return problem.Parse(f.Status, text)
}

// refuse answers with the problem of err.
func (h *Handler) refuse(w http.ResponseWriter, err error) {
	p := toProblem(err)
	h.tally.requests.add(p.Kind)
	if p.Kind == problem.Internal {
		h.log.Error("request failed", "error", err)
	}
	if p.Kind == problem.ShuttingDown {
		w.Header().Set("Connection", "close")
	}
	answer(w, p)
}

func answer(w http.ResponseWriter, p *problem.Problem) {
	header := w.Header()
	if s := p.RetrySeconds(); s > 0 {
		header.Set("Retry-After", strconv.Itoa(s))
	}
	header.Set("Cache-Control", "no-store")
	writeJSON(w, p.Kind.Status, problem.MediaType, p)
}

func writeJSON(w http.ResponseWriter, status int, mediaType string, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // what we answer with are our own types
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	w.Write(body)
}

func malformed(detail string) error {
	return &problem.Problem{Kind: problem.MalformedRequest, Detail: detail}
}
