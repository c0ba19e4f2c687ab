package web

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/server"
	"github.com/genbrowser/genbrowser/web/problem"
)

// registerName gives a name to an address of the mailbox whose key the request shows.
func (h *Handler) registerName(w http.ResponseWriter, r *http.Request) {
	h.done(w, h.register(r))
}

func (h *Handler) register(r *http.Request) error {
	name, owner, err := h.nameOf(r)
	if err != nil {
		return err
	}
	if !h.mayName(r, name) {
		return &problem.Problem{Kind: problem.NameNotAllowed, Detail: name}
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 4096))
	if err != nil {
		return malformed("the body did not arrive")
	}
	if err := h.maySend(h.address(r), len(body)); err != nil {
		return err
	}
	var m struct {
		Address string `json:"address"`
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return &problem.Problem{Kind: problem.MalformedJSON, Detail: `want {"address":"gba_…"}`}
	}
	to, err := address.Parse(m.Address)
	if err != nil {
		return err
	}
	var g address.Grant
	if err := h.office.Verify(&g, m.Address); err != nil {
		return err
	}
	if g.Kind() != address.Mailbox || g.Mailbox() != owner.Mailbox() {
		return &problem.Problem{Kind: problem.MissingRight, Detail: "the key is not that of the address's mailbox"}
	}
	return h.office.Register(name, to)
}

// unregisterName takes a name back, if it is one of the mailbox whose key the request shows.
func (h *Handler) unregisterName(w http.ResponseWriter, r *http.Request) {
	name, owner, err := h.nameOf(r)
	if err == nil {
		err = h.office.Unregister(name, h.office.Address(owner.Mailbox()))
	}
	h.done(w, err)
}

// nameOf returns the name that a request is about, and the mailbox whose key it shows. To register hands out an address,
// and so needs the right to mint.
func (h *Handler) nameOf(r *http.Request) (name string, owner *address.Grant, err error) {
	owner = new(address.Grant)
	if err := h.owner(r, owner); err != nil {
		return "", nil, err
	}
	if owner.Kind() != address.Mailbox {
		return "", nil, server.ErrNotAMailbox
	}
	if err := owner.Permit(address.Mint, time.Now()); err != nil {
		return "", nil, err
	}
	name = mux.Vars(r)["name"]
	if !address.ValidName(name) || strings.HasPrefix(name, "~") {
		return "", nil, malformed("name: want " + address.NameForm + ", and no ~ first")
	}
	return name, owner, nil
}
