package client

import (
	"context"
	"errors"
	"fmt"

	"github.com/genbrowser/genbrowser/address"
)

// link is one that this peer asked for.
type link struct {
	ref     string
	reply   address.Address
	leaving bool // an Unlink began, or a Link had no answer: nobody knows whether the link is there
}

// Link ties this peer to a mailbox or process: when one ends, the other gets a message of kind exited. Here it comes
// out of Receive, with a [Down] that [Message.End] reads, or ends Serve. If there is none any more, that is told at
// once. It needs the link right; linking again changes nothing. Of one that failed with [ErrUnanswered] nobody knows
// whether it is there; Unlink takes it back.
func (p *Peer) Link(ctx context.Context, to address.Address) error {
	ref := random(16)
	reply, err := p.replyAddress(ref, address.Send|address.Link)
	if err != nil {
		return err
	}
	p.mu.Lock()
	if p.err != nil {
		p.mu.Unlock()
		return p.ended("link")
	}
	l, linked := p.links[to]
	if linked && !l.leaving {
		p.mu.Unlock()
		return nil
	}
	if !linked {
		l = link{ref: ref, reply: reply}
	}
	l.leaving = false // the same one again: there is one, whatever arrived before
	p.links[to] = l
	p.mu.Unlock()
	err = p.up.send(ctx, l.ask("link", to))
	switch {
	case err == nil:
	case linked || errors.Is(err, ErrUnanswered):
		p.doubt(to, l.ref)
	default:
		p.unlinked(l.ref)
	}
	return err
}

// doubt notes that nobody knows whether a link is there, so that Unlink takes it back all the same.
func (p *Peer) doubt(to address.Address, ref string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l, linked := p.links[to]; linked && l.ref == ref {
		l.leaving = true
		p.links[to] = l
	}
}

func (l *link) ask(kind string, to address.Address) Outgoing {
	return Outgoing{To: to, Kind: kind, Ref: l.ref, Reply: l.reply}
}

// Unlink takes a link back, in both directions. If there is none, it does nothing. One that failed can be repeated.
func (p *Peer) Unlink(ctx context.Context, to address.Address) error {
	p.mu.Lock()
	l, linked := p.links[to]
	p.mu.Unlock()
	if !linked {
		return nil
	}
	p.doubt(to, l.ref)
	err := notGone(p.up.send(ctx, l.ask("unlink", to)))
	if err == nil {
		p.unlinkedTo(to)
	}
	return err
}

// unlinkedTo forgets a link that was taken back, unless it was made again meanwhile.
func (p *Peer) unlinkedTo(to address.Address) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.links[to].leaving {
		delete(p.links, to)
	}
}

// unlinked forgets the link with a ref.
func (p *Peer) unlinked(ref string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for to, l := range p.links {
		if l.ref == ref {
			delete(p.links, to)
		}
	}
}

// Exit ends a mailbox or process, as if its owner had, with reason "exit" and why as the detail. It needs the exit
// right, which only its owner can give: with [Peer.Key] and [address.Key.AddressFor].
func (p *Peer) Exit(ctx context.Context, to address.Address, why string) error {
	l, err := p.up.post(Outgoing{To: to, Kind: "exit", Body: why})
	if err != nil {
		return err
	}
	if err = p.up.answered(ctx, l); notGone(err) == nil && l.again {
		return nil // most likely it was this one, whose answer was lost
	}
	return err
}

// ExitError is what Serve returns when something that this peer was linked with ended.
type ExitError struct{ Down }

// Error implements error.
func (e *ExitError) Error() string {
	return fmt.Sprintf("client: linked with what ended: %s %s", e.Reason, e.Detail)
}
