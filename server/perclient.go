package server

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/google/uuid"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
)

// PerClient gives each client a process of its own, and has a process of that name hand out the addresses: who calls
// it, with whatever body, is answered the address of the process of the mailbox that the answer goes to. That process
// begins with its first message, linked with the mailbox, and ends with it: when it is closed or expires. If the
// process ends before, by Stop or in a crash, the client's mailbox is told exited, and its next message begins another.
//
// new is given the client's address. Unless Idle is set, a process does not end for want of messages; Max is how many
// clients may have one at a time. In a cluster, whose nodes must all have it, each client's process runs on one node.
func (s *Server) PerClient(name string, new func(client address.Address) Service, o KeyedOptions) (address.Address, error) {
	if o.Idle == 0 {
		o.Idle = math.MaxInt64
	}
	k, err := s.newKeyed(name, func(id string) Service { return new(s.clientOf(id)) }, o)
	if err != nil {
		return address.Address{}, err
	}
	k.linked = s.clientOf
	if err := s.processes.addKeyed(k); err != nil {
		return address.Address{}, err
	}
	front, err := s.Handle(name, HandlerFunc(func(ctx context.Context, m Message) error {
		return s.introduce(ctx, name, m)
	}))
	if err != nil {
		s.processes.removeKeyed(k)
	}
	return front, err
}

// introduce answers who calls with the address of its process.
func (s *Server) introduce(ctx context.Context, name string, m Message) error {
	var g address.Grant
	if err := s.keys.Verify(&g, m.Reply.String()); err != nil || g.Kind() != address.Mailbox {
		return fmt.Errorf("%w: want a call whose answer goes to a mailbox of this server", ErrRefused)
	}
	own, err := s.KeyedAddress(name, g.Mailbox().String())
	if err != nil {
		return err
	}
	return m.Answer(ctx, own)
}

// clientOf returns the address of a mailbox by its id, which is the key of its process.
func (s *Server) clientOf(id string) address.Address {
	of, err := uuid.Parse(id)
	if err != nil {
		return address.Address{} // nobody is given such a process's address
	}
	return s.Address(of)
}

// beginsWith reports whether a process begins with a message. A keyed one does not with what an earlier incarnation was
// yet to be told, such as that somebody it was linked with is gone: one that links with them again would begin and end
// for ever.
func (p *process) beginsWith(m *Message) bool {
	return p.keyed == nil || m.Kind == mailbox.KindCall || m.Kind == mailbox.KindMessage && m.timer == nil
}

// companion links a process that is a client's with its mailbox. While nothing can be stored it waits: the message that it
// began with was accepted.
func (c *Context) companion() (err error) {
	k := c.process.keyed
	if k == nil || k.linked == nil {
		return nil
	}
	for {
		c.client, err = c.Link(k.linked(c.process.name[len(k.prefix)+1:]))
		if !errors.Is(err, ErrUnavailable) {
			return err
		}
		select {
		case <-time.After(retryTell):
		case <-c.Done():
			return err
		}
	}
}
