package web

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/web/problem"
)

// owner verifies the mailbox key of a request.
func (h *Handler) owner(r *http.Request, g *address.Grant) error {
	key, ok := bearer(r)
	if !ok {
		return &problem.Problem{Kind: problem.MissingKey, Detail: "want Authorization: Bearer gbk_…"}
	}
	return h.office.Verify(g, key)
}

// bearer returns the credentials of RFC 6750 §2.1.
func bearer(r *http.Request) (string, bool) {
	scheme, credentials, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	credentials = strings.TrimSpace(credentials)
	return credentials, ok && strings.EqualFold(scheme, "Bearer") && credentials != ""
}

func (h *Handler) closeMailbox(w http.ResponseWriter, r *http.Request) {
	var g address.Grant
	err := h.owner(r, &g)
	if err == nil {
		err = h.office.Close(&g)
	}
	h.done(w, err)
}

func (h *Handler) ack(w http.ResponseWriter, r *http.Request) {
	h.done(w, h.acknowledge(r))
}

func (h *Handler) acknowledge(r *http.Request) error {
	var g address.Grant
	if err := h.owner(r, &g); err != nil {
		return err
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 4096))
	if err != nil {
		return malformed("the body did not arrive")
	}
	var m struct {
		Cursor *string `json:"cursor"`
	}
	if err := json.Unmarshal(body, &m); err != nil || m.Cursor == nil {
		return &problem.Problem{Kind: problem.MalformedJSON, Detail: `want {"cursor":"…"}`}
	}
	c, err := mailbox.ParseCursor(*m.Cursor)
	if err != nil {
		return err
	}
	return h.office.Ack(&g, c)
}

// done answers an action that has nothing to tell but whether it was done.
func (h *Handler) done(w http.ResponseWriter, err error) {
	if err != nil {
		h.refuse(w, err)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
}
