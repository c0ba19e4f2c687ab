package web

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// connected is one stream, as operators see it. What it names gives nobody a right.
type connected struct {
	Mailbox uuid.UUID `json:"mailbox"`
	Client  string    `json:"client"` // its address
	Since   time.Time `json:"since"`
}

const (
	defaultClients = 1_000
	maxClients     = 10_000
)

// listing is who is connected to one node.
type listing struct {
	Node    *nodeName   `json:"node,omitempty"` // nil: the server is alone
	Streams int         `json:"streams"`
	Clients []connected `json:"clients"`
}

// nodeName is a node as GET {prefix}/cluster has it.
type nodeName struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// clients tells operators who is connected to this node: how many streams there are, and those that began first, as
// many as ?limit.
func (h *Handler) clients(w http.ResponseWriter, r *http.Request) {
	limit := defaultClients
	if text := r.URL.Query().Get("limit"); text != "" {
		n, err := strconv.ParseUint(text, 10, 31)
		if err != nil || n > maxClients {
			h.refuse(w, malformed("limit: want a number up to "+strconv.Itoa(maxClients)))
			return
		}
		limit = int(n)
	}
	all := h.streams.list()
	count := len(all)
	slices.SortFunc(all, func(a, b connected) int {
		return cmp.Or(a.Since.Compare(b.Since), slices.Compare(a.Mailbox[:], b.Mailbox[:]))
	})
	w.Header().Set("Cache-Control", "no-store")
	answer := listing{Streams: count, Clients: all[:min(limit, count)]}
	if nodes := h.office.Nodes(); nodes != nil {
		answer.Node = &nodeName{nodes[0].ID, nodes[0].Name}
	}
	writeJSON(w, http.StatusOK, "application/json", answer)
}

func (s *streams) list() []connected {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]connected, 0, len(s.all))
	for st := range s.all {
		all = append(all, connected{st.mailbox, st.client, time.Unix(0, st.since).UTC()})
	}
	return all
}
