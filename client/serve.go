package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/genbrowser/genbrowser/web/problem"
)

// Service is what makes a program a process; see [Peer.Serve].
type Service interface {
	// Call returns what the caller gets, or an error, which it gets as [Peer.Fail] says. It runs beside other calls,
	// so that one that takes long holds up none.
	Call(ctx context.Context, m Message) (any, error)
	// Cast handles a message that wants no answer. Its error is logged.
	Cast(ctx context.Context, m Message) error
}

// CallFunc is a function as a [Service]. What it returns for a cast is dropped, its error apart.
type CallFunc func(ctx context.Context, m Message) (reply any, err error)

// Call calls f.
func (f CallFunc) Call(ctx context.Context, m Message) (any, error) { return f(ctx, m) }

// Cast calls f.
func (f CallFunc) Cast(ctx context.Context, m Message) error {
	_, err := f(ctx, m)
	return err
}

// Exiter is a [Service] that lives on when something it is linked with ended.
type Exiter interface {
	Service
	Exited(ctx context.Context, d Down)
}

// Serve makes this program a process at [Peer.Address]: others call it, and cast to it. It returns when ctx or the peer
// ended, and no handler runs any more: with nil if the peer was closed by its own program; or with an [*ExitError]
// if something that it is linked with ended, and s is no [Exiter].
//
// Messages are handled in the order in which they came, each after the casts before it; but calls run side by side, up
// to DialOptions.Calls at a time. A handler that panics fails its own message. The context of handlers ends with ctx
// and with the peer; what they return once ctx ended is still sent, and what waits stays for who serves next.
func (p *Peer) Serve(ctx context.Context, s Service) error {
	ctx, cancel := context.WithCancel(ctx)
	v := &serving{peer: p, service: s, room: make(chan struct{}, p.calls)}
	defer v.running.Wait()
	defer cancel()
	defer context.AfterFunc(p.life, cancel)()
	var exit *ExitError
	err := p.Handle(ctx, func(ctx context.Context, m Message) {
		if err := v.message(ctx, m); err != nil {
			exit = err
			cancel()
		}
	})
	switch {
	case exit != nil:
		return exit
	case p.done():
		return nil
	case p.Err() != nil:
		return p.ended("serve")
	}
	return err
}

// serving is one Serve.
type serving struct {
	peer    *Peer
	service Service
	room    chan struct{} // holds a token for each call that runs
	running sync.WaitGroup
}

// message handles one message; the error is that it ends the serving.
func (v *serving) message(ctx context.Context, m Message) *ExitError {
	switch m.Kind {
	case "call":
		v.begin(ctx, m)
	case "exited":
		d, _ := m.End()
		e, lives := v.service.(Exiter)
		if !lives {
			return &ExitError{d}
		}
		v.guard(func() error { e.Exited(ctx, d); return nil })
	default:
		if err := v.guard(func() error { return v.service.Cast(ctx, m) }); err != nil {
			v.peer.log.Error("cast failed", "error", err)
		}
	}
	return nil
}

// errEnding is what the caller gets whose call was taken when Serve ended, and not begun.
var errEnding = &problem.Problem{Kind: problem.Unavailable, Detail: "the callee ended before it began with the call"}

// begin waits for room and has the call handled.
func (v *serving) begin(ctx context.Context, m Message) {
	select {
	case v.room <- struct{}{}:
	case <-ctx.Done(): // it was taken: nobody else gets it
		v.respond(ctx, m, "failure", v.failure(errEnding))
		return
	}
	v.running.Go(func() {
		defer func() { <-v.room }()
		v.call(ctx, m)
	})
}

func (v *serving) call(ctx context.Context, m Message) {
	var body json.RawMessage
	err := v.guard(func() error {
		result, err := v.service.Call(ctx, m)
		if err != nil {
			return err
		}
		if body, err = json.Marshal(result); err != nil {
			return fmt.Errorf("the reply can't be marshalled: %w", err)
		}
		return nil
	})
	if err != nil {
		v.respond(ctx, m, "failure", v.failure(err))
	} else {
		v.respond(ctx, m, "reply", body)
	}
}

// failure is the body that tells of err, whose methods are the service's and may panic as well.
func (v *serving) failure(err error) (body json.RawMessage) {
	failed := v.guard(func() (bad error) {
		body, bad = json.Marshal(toProblem(err))
		return bad
	})
	if failed != nil {
		return v.failure(failed) // our own, which marshals
	}
	return body
}

// respond answers a call, and logs it if that can't be done.
func (v *serving) respond(ctx context.Context, m Message, kind string, body json.RawMessage) {
	err := v.answer(ctx, m, kind, body)
	if errors.Is(err, problem.TooLarge) && kind == "reply" {
		err = v.answer(ctx, m, "failure", v.failure(fmt.Errorf("the reply is too large: %v", err)))
	}
	if err != nil && v.peer.Err() == nil && !nobodyWaits(err) {
		v.peer.log.Warn("a call could not be answered", "error", err)
	}
}

const (
	// answerFor is how long it is tried to answer a call whose caller's mailbox is full.
	answerFor = 30 * time.Second
	// answerEnding is how long it is tried from when Serve is to end.
	answerEnding = 5 * time.Second
)

// answer answers a call. A caller whose mailbox is full at the moment gets the answer later. The end of ctx is that of
// handlers, and takes no answer back.
func (v *serving) answer(ctx context.Context, m Message, kind string, body json.RawMessage) error {
	trying, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerFor)
	defer cancel()
	defer context.AfterFunc(v.peer.life, cancel)()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(answerEnding, cancel) })()
	for failures := 1; ; failures++ {
		err := v.peer.answer(trying, m, kind, body)
		if !errors.Is(err, problem.Full) && !errors.Is(err, problem.Overloaded) {
			return err
		}
		if pause(trying, least(err)+v.peer.client.jitter(failures)) != nil {
			return err
		}
	}
}

// nobodyWaits reports whether an answer was refused because its caller gave up or is gone.
func nobodyWaits(err error) bool {
	return errors.Is(err, problem.CapabilityExpired) || notGone(err) == nil
}

// guard makes a panic an error.
func (v *serving) guard(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			v.peer.log.Error("handler panicked", "panic", r, "stack", string(debug.Stack()))
			err = errors.New("the handler panicked")
		}
	}()
	return f()
}
