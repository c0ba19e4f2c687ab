package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/server"
	"github.com/genbrowser/genbrowser/web/problem"
)

// opened is what a client is told about its mailbox.
type opened struct {
	Address   string          `json:"address,omitempty"` // absent if the key's holder may give none
	Key       string          `json:"key,omitempty"`
	Cursor    string          `json:"cursor"`
	Config    json.RawMessage `json:"config"`
	Heartbeat int64           `json:"heartbeat"` // milliseconds
	Limits    limits          `json:"limits"`
}

type limits struct {
	Body         int   `json:"body"`
	Backlog      int   `json:"backlog"`
	BacklogBytes int   `json:"backlogBytes"`
	Asleep       int64 `json:"asleep"` // milliseconds
}

func limitsOf(l mailbox.Limits) limits {
	return limits{l.Body, l.Backlog, l.BacklogBytes, l.Asleep.Milliseconds()}
}

// forHolder is what the holder of the mailbox's key g may know of it: a key that was narrowed comes with an address that is as
// narrow, or with none.
func forHolder(g *address.Grant, m server.Mailbox) server.Mailbox {
	if g.Narrowed() {
		m.Address = g.Address()
	}
	return m
}

func (h *Handler) describe(m server.Mailbox, withKey bool) opened {
	o := opened{
		Address:   m.Address.String(),
		Cursor:    m.Cursor.String(),
		Config:    m.Config,
		Heartbeat: h.heartbeat.Milliseconds(),
		Limits:    limitsOf(h.office.Limits()),
	}
	if withKey {
		o.Key = m.Key.Reveal()
	}
	return o
}

// admit opens a mailbox for whoever asks, if it may have one.
func (h *Handler) admit(r *http.Request) (server.Mailbox, error) {
	m, err := h.tryAdmit(r)
	if err != nil {
		h.tally.unopened.add(toProblem(err).Kind)
	}
	return m, err
}

func (h *Handler) tryAdmit(r *http.Request) (server.Mailbox, error) {
	if wait := h.opens.wait(h.address(r), 1, time.Now()); wait > 0 {
		return server.Mailbox{}, &problem.Problem{
			Kind:       problem.TooManyOpens,
			Detail:     fmt.Sprintf("at most %d at once and %v a second", h.opens.burst, float64(h.opens.rate)),
			RetryAfter: wholeSeconds(wait),
		}
	}
	config, err := h.configFor(r)
	if err != nil {
		return server.Mailbox{}, err
	}
	if h.mailboxes > 0 {
		return h.office.OpenFor(h.address(r), h.mailboxes, config)
	}
	return h.office.Open(config)
}

// configFor asks the Open hook, if there is one; nil stands for the server's config.
func (h *Handler) configFor(r *http.Request) (json.RawMessage, error) {
	if h.opener == nil {
		return nil, nil
	}
	config, err := h.opener(r)
	if err != nil {
		if p := (*problem.Problem)(nil); errors.As(err, &p) {
			return nil, p
		}
		return nil, &problem.Problem{Kind: problem.OpenRefused, Detail: err.Error()}
	}
	if config == nil {
		return nil, nil
	}
	b, err := json.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("web: config of the Open hook: %w", err)
	}
	return b, nil
}

// openMailbox opens a mailbox; who comes with a key is told about its own.
func (h *Handler) openMailbox(w http.ResponseWriter, r *http.Request) {
	if _, has := bearer(r); has {
		h.describeMailbox(w, r)
		return
	}
	m, err := h.admit(r)
	if err != nil {
		h.refuse(w, err)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusCreated, "application/json", h.describe(m, true))
}

func (h *Handler) describeMailbox(w http.ResponseWriter, r *http.Request) {
	var g address.Grant
	err := h.owner(r, &g)
	if err != nil {
		h.refuse(w, err)
		return
	}
	m, err := h.office.Describe(&g)
	if err != nil {
		h.refuse(w, err)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusOK, "application/json", h.describe(forHolder(&g, m), false))
}
