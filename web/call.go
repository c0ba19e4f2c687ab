package web

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/gorilla/mux"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/server"
	"github.com/genbrowser/genbrowser/web/problem"
)

// maxCall is how long a call may wait for its reply.
const maxCall = 60 * time.Second

// call sends a call and answers with its reply.
func (h *Handler) call(w http.ResponseWriter, r *http.Request) {
	reply, err := h.callAndWait(w, r)
	if err != nil {
		discard(r)
		if failed := new(server.Failure); errors.As(err, &failed) { // the callee's word, which says nothing of this server
			answer(w, toProblem(err))
			return
		}
		h.tally.refused.add(toProblem(err).Kind)
		h.refuse(w, err)
		return
	}
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(len(reply)))
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	h.writeBody(w, reply)
}

func (h *Handler) callAndWait(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	timeout := server.CallTimeout
	if text := r.URL.Query().Get("timeout"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil || d <= 0 || d > maxCall {
			return nil, malformed("timeout: want a time such as 10s, at most " + maxCall.String())
		}
		timeout = d
	}
	leave, err := h.held.enter(r)
	if err != nil {
		return nil, err
	}
	defer leave()
	b := bodies.Get().(*body)
	defer b.release()
	letter, err := h.letter(r, b)
	if err != nil {
		return nil, err
	}
	to := mux.Vars(r)["address"]
	if err := notKey(to); err != nil {
		return nil, err
	}
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(timeout + h.slow))
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	stop := context.AfterFunc(h.ctx, cancel) // a shutdown does not wait for callees
	defer stop()
	reply, err := h.office.PostCall(ctx, to, &letter)
	if errors.Is(err, context.Canceled) && !errors.Is(err, server.ErrCallTimeout) {
		return nil, server.ErrShuttingDown // or who asked is gone; it was not accepted
	}
	return reply, ofHeaders(err)
}

// whereis tells the address of an exported or registered name.
func (h *Handler) whereis(w http.ResponseWriter, r *http.Request) {
	name := mux.Vars(r)["name"]
	addr, ok := h.office.Whereis(name)
	if !ok || !h.exports(r, name) {
		h.refuse(w, &problem.Problem{Kind: problem.NotExported, Detail: strconv.Quote(name)})
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusOK, "application/json", struct {
		Address address.Address `json:"address"`
	}{addr})
}
