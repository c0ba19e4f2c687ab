package web

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/gorilla/mux"

	"github.com/genbrowser/genbrowser/server"
	"github.com/genbrowser/genbrowser/web/problem"
)

// disconnectClient lets operators end the stream or the waiting long-poll of a mailbox, at whichever node it is.
func (h *Handler) disconnectClient(w http.ResponseWriter, r *http.Request) {
	text := mux.Vars(r)["mailbox"]
	mailbox, err := uuid.Parse(text)
	if err != nil {
		h.refuse(w, malformed("mailbox: want the id of one, as GET "+h.prefix+"/clients tells"))
		return
	}
	var retry time.Duration
	if text := r.URL.Query().Get("retry"); text != "" {
		if retry, err = time.ParseDuration(text); err != nil || retry < time.Millisecond || retry > server.MaxDisconnect {
			h.refuse(w, malformed("retry: want a time such as 30s, at most "+server.MaxDisconnect.String()))
			return
		}
	}
	err = h.office.Disconnect(mailbox, retry)
	if errors.Is(err, server.ErrNotConnected) {
		err = &problem.Problem{Kind: problem.NotConnected, Detail: strconv.Quote(text)}
	}
	if err != nil {
		h.refuse(w, err)
		return
	}
	h.done(w, nil)
}

// comeBack returns when a client that was sent away comes back: up to a quarter later than it was told, so that many
// do not come back together. 0: not by itself.
func comeBack(d *server.DisconnectedError) time.Duration {
	if d.Retry == 0 {
		return 0
	}
	return spread(d.Retry, d.Retry+max(d.Retry/4, time.Millisecond))
}

// disconnected is what a long-poll is told that an operator ended.
func disconnected(d *server.DisconnectedError) *problem.Problem {
	if d.Retry == 0 {
		return &problem.Problem{Kind: problem.Disconnected, Detail: d.Error()}
	}
	return &problem.Problem{Kind: problem.SentAway, Detail: d.Error(), RetryAfter: comeBack(d)}
}
