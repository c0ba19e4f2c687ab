package server

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
)

// Monitor lets the service know when a mailbox or process ends, wherever it is: a message of kind down with the ref
// comes to its Info, once. That comes soon if there is none any more.
func (c *Context) Monitor(to address.Address) (ref string, err error) {
	ref = newRef()
	return ref, c.watch(to, mailbox.KindMonitor, ref)
}

// Demonitor takes a monitor back.
func (c *Context) Demonitor(to address.Address, ref string) error {
	return c.watch(to, mailbox.KindDemonitor, ref)
}

// Link is Monitor in both directions, with a message of kind exited: who ends first takes the other one along, unless
// that handles exited in its Info.
func (c *Context) Link(to address.Address) (ref string, err error) {
	ref = newRef()
	return ref, c.watch(to, mailbox.KindLink, ref)
}

// Unlink takes a link back.
func (c *Context) Unlink(to address.Address, ref string) error {
	return c.watch(to, mailbox.KindUnlink, ref)
}

func (c *Context) watch(to address.Address, kind mailbox.Kind, ref string) error {
	reply, err := c.Self().Attenuate(address.Only(address.Send), address.Reply(ref))
	if err != nil {
		return fmt.Errorf("server: %v: %w", kind, err)
	}
	l := &Letter{Body: []byte("null"), Meta: mailbox.Meta{Kind: kind, Ref: ref, Reply: reply.String()}}
	return c.process.server.ask(c, to, l)
}

// Exit ends a mailbox or process, with an address that has the right to. Its monitors and links are told the reason
// exit, and why as its detail, which is marshalled to JSON.
func (s *Server) Exit(ctx context.Context, to address.Address, why any) error {
	body, err := json.Marshal(why)
	if err != nil {
		return fmt.Errorf("server: exit: %w", err)
	}
	return s.ask(ctx, to, &Letter{Body: body, Meta: mailbox.Meta{Kind: mailbox.KindExit}})
}

// ask delivers what is asked of the server by its own Go code.
func (s *Server) ask(ctx context.Context, to address.Address, l *Letter) error {
	var g address.Grant
	if err := s.keys.Verify(&g, to.String()); err != nil {
		return err
	}
	posted, err := s.deliver(context.WithValue(ctx, impatient{}, inHandler), &g, l)
	if err == nil {
		_, err = posted.Wait()
	}
	return err
}
