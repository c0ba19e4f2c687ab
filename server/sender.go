package server

import (
	"context"
	"encoding/binary"

	"github.com/genbrowser/genbrowser/internal/pack"
)

// Sender says who sent a message, as far as the way by which it came to this server, or to another node of its cluster,
// proved that. Nothing that a message says about itself gets in here. The zero value is Go code of a server's own.
type Sender struct {
	// Remote is set if the message came over the wire.
	Remote bool
	// Names are the DNS names and URIs of the sender's certificate, which was verified, over mutual TLS; else none.
	Names []string
	// Credentials are those of the program at the other end of a unix socket, where the system tells; else nil.
	Credentials *Credentials
}

// Credentials are those of a program when it connected to a unix socket.
type Credentials struct {
	UID, GID int // its effective user and group
	PID      int // 0 if it is of another container
}

// senderKey marks, in a context, who sent what is on its way to a process.
type senderKey struct{}

func withSender(ctx context.Context, s *Sender) context.Context {
	if s == nil {
		return ctx
	}
	return context.WithValue(ctx, senderKey{}, s)
}

// senderIn returns nil for Go code.
func senderIn(ctx context.Context) *Sender {
	s, _ := ctx.Value(senderKey{}).(*Sender)
	return s
}

// appendSender is how a sender stands in a frame.
func appendSender(b []byte, s *Sender) []byte {
	if b = pack.AppendFlag(b, s != nil); s == nil {
		return b
	}
	b = binary.AppendUvarint(pack.AppendFlag(b, s.Remote), uint64(len(s.Names)))
	for _, name := range s.Names {
		b = pack.AppendString(b, name)
	}
	c := s.Credentials
	if b = pack.AppendFlag(b, c != nil); c == nil {
		return b
	}
	for _, id := range []int{c.UID, c.GID, c.PID} {
		b = binary.AppendUvarint(b, uint64(id))
	}
	return b
}

func readSender(r *pack.Reader) *Sender {
	if !r.Flag() {
		return nil
	}
	s := &Sender{Remote: r.Flag()}
	for n := r.Uint(); n > 0 && !r.Failed; n-- {
		s.Names = append(s.Names, r.String())
	}
	if r.Flag() {
		s.Credentials = &Credentials{UID: int(r.Uint()), GID: int(r.Uint()), PID: int(r.Uint())}
	}
	return s
}
