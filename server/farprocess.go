package server

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"

	"github.com/genbrowser/genbrowser/internal/pack"
	"github.com/genbrowser/genbrowser/mailbox"
)

// toProcess queues a message for the process of a name. The one on this node comes first; if there is none, or its
// queue is full, those on other nodes share the work.
func (s *Server) toProcess(ctx context.Context, name string, msg mailbox.Message) (Posted, error) {
	err := s.queueFor(ctx, name, msg)
	if err == nil || s.cluster == nil || !errors.Is(err, ErrGone) && !errors.Is(err, ErrFull) {
		return Posted{}, err
	}
	others := s.cluster.routes.Load().processes[name]
	if len(others) == 0 {
		return Posted{}, err
	}
	n := others[rand.IntN(len(others))]
	r := mailbox.Record{Type: mailbox.Kept, Message: msg}
	return Posted{call: n.ask(isProcess, func(b []byte) []byte { return r.AppendTo(pack.AppendString(b, name)) })}, nil
}

// takeForProcess queues a message that came to another node.
func (n *node) takeForProcess(r *pack.Reader) {
	call, name := r.Uint(), r.String()
	msg := readRecord(r).Message
	if r.Failed {
		return
	}
	msg.Body = slices.Clone(msg.Body)
	n.answer(call, nil, n.cluster.server.queueFor(fromOutside, name, msg))
}
