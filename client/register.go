package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"time"

	"github.com/genbrowser/genbrowser/address"
)

// registered are the names that a peer gave itself.
type registered struct {
	turn     chan struct{} // has room for one: whoever asks the server about names
	names    map[string]address.Address
	renewing bool
	again    bool // the connection healed while they were being renewed
}

// renewPatience is how long one try to register a name anew may take.
const renewPatience = 10 * time.Second

// Register gives a name to this peer, of [address.NameForm] and with no ~ first: others find [Peer.Address] by it, with
// [Peer.Whereis], for as long as its mailbox lives or until [Peer.Unregister]. One other address at most, which must lead
// to this peer, is what they find instead, such as one that allows less. The server's operator says who may have which
// name. The error is a [*problem.Problem] of kind NameNotAllowed, or NameTaken if somebody else has it; registering again
// replaces the address.
//
// Whenever the peer's stream has healed, its names are registered again, for a server that started anew has forgotten
// them. One that the server refuses then, as when somebody else took it, is logged and given up.
func (p *Peer) Register(ctx context.Context, name string, to ...address.Address) error {
	a := p.Address()
	if len(to) > 0 {
		a = to[0]
	}
	if err := p.beginNaming(ctx, "register", name); err != nil {
		return err
	}
	defer p.endNaming()
	if err := p.putName(ctx, name, a); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.named.names[name] = a
	return nil
}

// Unregister takes a name of this peer's back. That it has no such name is no error.
func (p *Peer) Unregister(ctx context.Context, name string) error {
	if err := p.beginNaming(ctx, "unregister", name); err != nil {
		return err
	}
	defer p.endNaming()
	p.forgetName(name)
	return p.client.done(ctx, http.MethodDelete, "/names/"+name, p.Key(), nil, http.StatusNoContent)
}

// beginNaming waits until nobody else asks the server about this peer's names.
func (p *Peer) beginNaming(ctx context.Context, doing, name string) error {
	if err := checkName(doing, name); err != nil {
		return err
	}
	select {
	case p.named.turn <- struct{}{}:
		if p.Err() == nil {
			return nil
		}
		p.endNaming()
		return p.ended(doing)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *Peer) endNaming() { <-p.named.turn }

func (p *Peer) putName(ctx context.Context, name string, to address.Address) error {
	body, err := json.Marshal(struct {
		Address address.Address `json:"address"`
	}{to})
	if err != nil {
		return fmt.Errorf("client: register: %w", err)
	}
	return p.client.done(ctx, http.MethodPut, "/names/"+name, p.Key(), body, http.StatusNoContent)
}

func (p *Peer) forgetName(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.named.names, name)
}

// healed registers the names anew; mu is held.
func (p *Peer) healed() {
	r := &p.named
	switch {
	case len(r.names) == 0:
	case r.renewing:
		r.again = true
	default:
		r.renewing = true
		p.running.Go(p.renewNames)
	}
}

// renewNames registers them until that was done since the stream healed last, or the peer ends.
func (p *Peer) renewNames() {
	for failures := 1; p.life.Err() == nil; {
		err := p.renewOnce()
		if err != nil {
			pause(p.life, least(err)+p.client.jitter(failures))
			failures++
			continue
		}
		p.mu.Lock()
		over := !p.named.again
		p.named.again, p.named.renewing = false, !over
		p.mu.Unlock()
		if over {
			return
		}
	}
}

// renewOnce registers all names, or returns why it makes sense to try again.
func (p *Peer) renewOnce() (failed error) {
	select {
	case p.named.turn <- struct{}{}:
	case <-p.life.Done():
		return p.life.Err()
	}
	defer p.endNaming()
	p.mu.Lock()
	names := maps.Clone(p.named.names)
	p.mu.Unlock()
	for name, to := range names {
		ctx, cancel := context.WithTimeout(p.life, renewPatience)
		err := passing(p.putName(ctx, name, to))
		cancel()
		switch {
		case err == nil:
		case final(err):
			p.forgetName(name)
			p.log.Warn("a name was lost", "name", name, "error", err)
		default:
			failed = errors.Join(failed, err)
		}
	}
	return failed
}
