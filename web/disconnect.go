package web

import (
	"net/http"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/gorilla/mux"

	"github.com/genbrowser/genbrowser/web/problem"
)

// maxRetry is how long an operator may keep a client away.
const maxRetry = 24 * time.Hour

// Disconnect ends the stream of a mailbox with a bye, whose reason is "disconnected", and reports whether there was one
// at this handler. The mailbox lives on, and keeps what is sent to it. Clients come back once retry is over, or up to a
// quarter later, so that many do not come back together; if it is 0 they do not by themselves. Nobody is kept from it:
// who has the key may read.
func (h *Handler) Disconnect(mailbox uuid.UUID, retry time.Duration) bool {
	var bye []byte
	if retry > 0 {
		bye = byeEvent("disconnected", spread(retry, retry+max(retry/4, time.Millisecond)))
	} else {
		bye = byeEvent("disconnected", 0)
	}
	found := h.streams.reading(mailbox)
	for _, s := range found {
		s.disconnect(bye)
	}
	return len(found) > 0
}

// reading returns the streams of a mailbox: one, or two while a reader takes over.
func (s *streams) reading(mailbox uuid.UUID) (found []*stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for st := range s.all {
		if st.mailbox == mailbox {
			found = append(found, st)
		}
	}
	return found
}

// disconnect ends the stream with that bye, behind what is on its way. What waits in the mailbox stays there.
func (s *stream) disconnect(bye []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.wire == nil:
		s.stillborn = true
	case !s.bye:
		s.rest, s.bye = append(s.rest, bye...), true
		s.pump()
	}
}

// disconnectClient does so for operators.
func (h *Handler) disconnectClient(w http.ResponseWriter, r *http.Request) {
	text := mux.Vars(r)["mailbox"]
	mailbox, err := uuid.Parse(text)
	if err != nil {
		h.refuse(w, malformed("mailbox: want the id of one, as GET "+h.prefix+"/clients tells"))
		return
	}
	var retry time.Duration
	if text := r.URL.Query().Get("retry"); text != "" {
		if retry, err = time.ParseDuration(text); err != nil || retry < time.Millisecond || retry > maxRetry {
			h.refuse(w, malformed("retry: want a time such as 30s, at most "+maxRetry.String()))
			return
		}
	}
	if !h.Disconnect(mailbox, retry) {
		h.refuse(w, &problem.Problem{Kind: problem.NotConnected, Detail: strconv.Quote(text)})
		return
	}
	h.done(w, nil)
}
