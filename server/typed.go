package server

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
)

// Typed returns a handler whose messages are decoded into T. One that is no T is refused to its sender with
// [ErrRefused]; so is one whose Validate method, if *T has one, returns an error.
func Typed[T any](f func(ctx context.Context, value T, m Message) error) Handler { return typed[T](f) }

type typed[T any] func(ctx context.Context, value T, m Message) error

func (f typed[T]) Validate(m *Message) error { return validateAs[T](m) }

func (f typed[T]) Handle(ctx context.Context, m Message) error { return f(ctx, valueOf[T](&m), m) }

// validateAs decodes the message for valueOf.
func validateAs[T any](m *Message) error {
	value, err := decode[T](m.Body)
	if err != nil {
		return err
	}
	m.value = value
	return nil
}

// valueOf returns what validateAs decoded.
func valueOf[T any](m *Message) T {
	value, _ := m.value.(T) // the zero value if T is an interface, and the message null
	return value
}

func decode[T any](text []byte) (value T, err error) {
	if err := json.Unmarshal(text, &value); err != nil {
		return value, err
	}
	return value, validateValue(&value)
}

func validateValue(pointer any) error {
	if v, ok := pointer.(interface{ Validate() error }); ok {
		return v.Validate()
	}
	return nil
}

// CallOf returns a handler whose messages are decoded into Req as those of [Typed] are, and which answers calls with
// what f returns; a reply whose Validate method, if *Resp has one, returns an error is not sent, and the call fails.
// What f returns for a message that is no call is dropped.
func CallOf[Req, Resp any](f func(ctx context.Context, req Req, m Message) (Resp, error)) Handler {
	return callOf[Req, Resp](f)
}

type callOf[Req, Resp any] func(ctx context.Context, req Req, m Message) (Resp, error)

func (f callOf[Req, Resp]) Validate(m *Message) error {
	if m.Kind != mailbox.KindCall && m.Kind != mailbox.KindMessage {
		return fmt.Errorf("kind %v: want a call", m.Kind)
	}
	return validateAs[Req](m)
}

func (f callOf[Req, Resp]) Handle(ctx context.Context, m Message) error {
	resp, err := f(ctx, valueOf[Req](&m), m)
	if err != nil || m.later == nil {
		return err
	}
	if err := validateValue(&resp); err != nil {
		return fmt.Errorf("the reply is not valid: %w", err)
	}
	return m.Answer(ctx, resp)
}

// CallAs is [Server.Call] with a reply that is decoded into Resp, and validated if *Resp has a Validate method.
func CallAs[Resp any](ctx context.Context, s *Server, to address.Address, body any) (Resp, error) {
	text, err := s.Call(ctx, to, body)
	if err != nil {
		var none Resp
		return none, err
	}
	resp, err := decode[Resp](text)
	if err != nil {
		return resp, fmt.Errorf("server: the reply to a call: %w", err)
	}
	return resp, nil
}

// TypedService is a [Service] whose calls, replies and casts have types. It may have the same further methods.
type TypedService[Req, Resp, Cast any] interface {
	// Call is that of Service. If it called Context.Later, what it returns is dropped, unless it is an error.
	Call(ctx *Context, req Req, m Message) (Resp, error)
	Cast(ctx *Context, cast Cast, m Message) error
}

// ServeOf is [Server.Serve] for a service with types. What is no Req or Cast is refused to its sender with
// [ErrRefused], as by [Typed], after options.Validate; replies are validated as by [CallOf].
func ServeOf[Req, Resp, Cast any](s *Server, name string, new func() TypedService[Req, Resp, Cast], o ProcessOptions) (address.Address, error) {
	before := o.Validate
	o.Validate = func(m *Message) error {
		if before != nil {
			if err := before(m); err != nil {
				return err
			}
		}
		switch m.Kind {
		case mailbox.KindCall:
			return validateAs[Req](m)
		case mailbox.KindMessage:
			return validateAs[Cast](m)
		}
		return nil
	}
	return s.Serve(name, func() Service { return untyped(new()) }, o)
}

// untyped returns s as a service that takes what s takes.
func untyped[Req, Resp, Cast any](s TypedService[Req, Resp, Cast]) Service {
	t := &typedService[Req, Resp, Cast]{s}
	if i, ok := s.(Informer); ok {
		return struct {
			*typedService[Req, Resp, Cast]
			Informer
		}{t, i}
	}
	return t
}

type typedService[Req, Resp, Cast any] struct {
	of TypedService[Req, Resp, Cast]
}

func (t *typedService[Req, Resp, Cast]) Call(ctx *Context, m Message) (any, error) {
	resp, err := t.of.Call(ctx, valueOf[Req](&m), m)
	switch {
	case err != nil:
		return nil, err
	case ctx.put:
		return NoReply, nil
	}
	if err := validateValue(&resp); err != nil {
		return nil, fmt.Errorf("the reply is not valid: %w", err)
	}
	return resp, nil
}

func (t *typedService[Req, Resp, Cast]) Cast(ctx *Context, m Message) error {
	return t.of.Cast(ctx, valueOf[Cast](&m), m)
}

func (t *typedService[Req, Resp, Cast]) Init(ctx *Context) error {
	if i, ok := t.of.(Initializer); ok {
		return i.Init(ctx)
	}
	return nil
}

func (t *typedService[Req, Resp, Cast]) Terminate(reason Down) {
	if e, ok := t.of.(Terminator); ok {
		e.Terminate(reason)
	}
}
