package server

import (
	"container/list"
	"context"
	"errors"
	"fmt"

	"github.com/genbrowser/genbrowser/address"
)

// registryNames is how many names a registry keeps; the one that was registered longest ago makes room.
const registryNames = 10_000

// Registry returns a handler that clients find each other with, by names that they choose:
//
//	{"type":"register","name":NAME,"address":ADDRESS}    a later one of the same name replaces it
//	{"type":"lookup","name":NAME,"from":ADDRESS}         sends {"type":"found","name":NAME,"address":ADDRESS}
//	                                                     or {"type":"notFound","name":NAME} to that address
//
// It keeps the 10,000 names that were registered last. Anybody who has its address may register any name, so
// a name is a convenience and no proof, other than those of [Server.Register].
func (s *Server) Registry() Handler {
	names := make(map[string]*list.Element)
	var order list.List // of registered, the one registered longest ago first
	return Typed(func(ctx context.Context, m registryMessage, _ Message) error {
		if m.Type == "register" {
			if before := names[m.Name]; before != nil {
				order.Remove(before)
			}
			names[m.Name] = order.PushBack(registered{m.Name, m.Address})
			if order.Len() > registryNames {
				delete(names, order.Remove(order.Front()).(registered).name)
			}
			return nil
		}
		answer := registryAnswer{Type: "notFound", Name: m.Name}
		if found := names[m.Name]; found != nil {
			answer = registryAnswer{"found", m.Name, found.Value.(registered).address}
		}
		return s.Send(ctx, m.From, answer)
	})
}

type registered struct {
	name    string
	address address.Address
}

type registryMessage struct {
	Type    string          `json:"type"`
	Name    string          `json:"name"`
	Address address.Address `json:"address"`
	From    address.Address `json:"from"`
}

type registryAnswer struct {
	Type    string          `json:"type"`
	Name    string          `json:"name"`
	Address address.Address `json:"address,omitzero"`
}

func (m *registryMessage) Validate() error {
	switch {
	case m.Type != "register" && m.Type != "lookup":
		return fmt.Errorf(`type %q: want "register" or "lookup"`, m.Type)
	case m.Name == "" || len(m.Name) > 256:
		return errors.New(`"name": want 1 to 256 bytes`)
	case m.Type == "register" && m.Address.IsZero():
		return errors.New(`a register needs "address"`)
	case m.Type == "lookup" && m.From.IsZero():
		return errors.New(`a lookup needs "from", the address that the answer goes to`)
	}
	return nil
}
