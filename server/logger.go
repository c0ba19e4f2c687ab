package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/genbrowser/genbrowser/address"
)

// Logger returns a handler that is a first partner to talk to:
//
//	{"type":"ping","from":ADDRESS}    sends {"type":"pong"} to that address
//	{"type":"log","message":ANY}      writes the message to the server's log
//
// An "id" in a ping comes back in its pong.
func (s *Server) Logger() Handler {
	return Typed(func(ctx context.Context, m loggerMessage, _ Message) error {
		if m.Type == "log" {
			s.log.Info("log", "message", string(m.Message))
			return nil
		}
		pong := struct {
			Type string          `json:"type"`
			ID   json.RawMessage `json:"id,omitempty"`
		}{"pong", m.ID}
		return s.Send(ctx, m.From, pong)
	})
}

type loggerMessage struct {
	Type    string          `json:"type"`
	From    address.Address `json:"from"`
	ID      json.RawMessage `json:"id"`
	Message json.RawMessage `json:"message"`
}

func (m *loggerMessage) Validate() error {
	switch {
	case m.Type != "ping" && m.Type != "log":
		return fmt.Errorf(`type %q: want "ping" or "log"`, m.Type)
	case m.Type == "ping" && m.From.IsZero():
		return errors.New(`a ping needs "from", the address that the pong goes to`)
	case m.Type == "log" && m.Message == nil:
		return errors.New(`a log needs "message"`)
	}
	return nil
}
