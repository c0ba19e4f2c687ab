package server

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/genbrowser/genbrowser/internal/pack"
	"github.com/genbrowser/genbrowser/mailbox"
)

// toProcess queues a message for the process of a name.
func (s *Server) toProcess(ctx context.Context, name string, msg mailbox.Message, once mailbox.NameHash) (Posted, error) {
	if s.cluster != nil && s.processes.isOne(name) {
		return s.toSingle(ctx, name, msg, once)
	}
	posted, err := s.forProcess(ctx, name, msg, once)
	if err == nil || s.cluster == nil || !errors.Is(err, ErrGone) && !errors.Is(err, ErrFull) {
		return posted, err
	}
	if err := s.cluster.reach(); err != nil {
		return Posted{}, err
	}
	others := s.cluster.haveProcess(name)
	switch {
	case len(others) == 0 && errors.Is(err, ErrGone) && s.cluster.mayHave(name):
		return Posted{}, fmt.Errorf("%w: the node of process %q is silent", ErrUnavailable, name)
	case len(others) == 0:
		return Posted{}, err
	}
	return Posted{call: toOne(others, rand.IntN(len(others)), len(others), senderIn(ctx), name, msg, once)}, nil
}

// toOne queues a message for the process on one of the nodes, from the one at on, that has room for it.
func toOne(nodes []*node, at, tries int, from *Sender, name string, msg mailbox.Message, once mailbox.NameHash) *call {
	c := nodes[at%len(nodes)].toProcess(from, name, msg, once)
	if tries > 1 {
		c.onward = func() *call { return toOne(nodes, at+1, tries-1, from, name, msg, once) }
	}
	return c
}

func (n *node) toProcess(from *Sender, name string, msg mailbox.Message, once mailbox.NameHash) *call {
	r := mailbox.Record{Type: mailbox.Kept, Message: msg, Name: once}
	return n.ask(isProcess, func(b []byte) []byte { return r.AppendTo(appendSender(pack.AppendString(b, name), from)) })
}

// toSingle queues a message for a process that only one node runs: the owner of the shard that its name falls into.
func (s *Server) toSingle(ctx context.Context, name string, msg mailbox.Message, once mailbox.NameHash) (Posted, error) {
	for deadline := time.Now().Add(routePatience); ; {
		n, err := s.cluster.route(shardOfName(name), deadline)
		if err != nil {
			return Posted{}, err
		}
		if err := s.cluster.reach(); err != nil { // another node may run it by now
			return Posted{}, err
		}
		if n != nil && s.cluster.routes.Load().going[shardOfName(name)] {
			if !s.cluster.awaitChange(deadline) {
				return Posted{}, ErrUnavailable
			}
			continue
		}
		if n != nil {
			return Posted{call: n.toProcess(senderIn(ctx), name, msg, once)}, nil
		}
		began := time.Now()
		posted, err := s.forProcess(ctx, name, msg, once)
		if !errors.Is(err, errElsewhere) {
			return posted, err
		}
		deadline = deadline.Add(time.Since(began)) // the sender's patience for a queue that is full is its own
		if !s.cluster.awaitChange(deadline) {
			return Posted{}, ErrUnavailable
		}
	}
}

// shardOfName returns the shard whose owner runs the process of a name that only one node runs.
func shardOfName(name string) uint8 {
	h := fnv.New32a()
	h.Write([]byte(name))
	return uint8(h.Sum32() % shardCount)
}

// maxForProcesses is how many messages of one node may wait to be validated and queued here; the next ones are refused
// as if the process's queue were full.
const maxForProcesses = 1000

// takeForProcess lets a message that came to another node be queued. A process's validator is not ours, and may take
// its time: it must not hold up what else nodes say to each other.
func (n *node) takeForProcess(r *pack.Reader) {
	call, name, from := r.Uint(), r.String(), readSender(r)
	record := readRecord(r)
	if r.Failed {
		return
	}
	msg := record.Message
	msg.Body = slices.Clone(msg.Body)
	select {
	case n.work <- func() {
		posted, err := n.cluster.server.forProcessHere(withSender(fromOutside, from), name, msg, record.Name)
		if posted.call == nil {
			n.answer(call, nil, err)
			return
		}
		n.sharing <- struct{}{}
		n.cluster.background.Go(func() {
			_, err := posted.Wait()
			n.answer(call, nil, err)
			<-n.sharing
		})
	}:
	default:
		n.answer(call, nil, ErrFull)
	}
}

// forProcessHere queues what another node sent for a process.
func (s *Server) forProcessHere(ctx context.Context, name string, msg mailbox.Message, once mailbox.NameHash) (Posted, error) {
	if s.processes.isOne(name) {
		if err := s.cluster.reach(); err != nil {
			return Posted{}, err
		}
	}
	return s.forProcess(ctx, name, msg, once)
}

// workOff does, in their order, what came for processes, until the node is given up.
func (n *node) workOff() {
	for {
		select {
		case work := <-n.work:
			work()
		case <-n.ended:
			return
		}
	}
}
