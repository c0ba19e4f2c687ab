package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/google/uuid"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
)

// Letter is a message on its way in.
type Letter struct {
	Body []byte        // one JSON value; it is checked and copied
	Name string        // idempotency key; empty for none
	TTL  time.Duration // 0: the message waits as long as its mailbox lives
	mailbox.Meta
	Sender *Sender // what is known of who sent it, for processes; nil: Go code
}

// check reports what is wrong with the letter, its body apart.
func (l *Letter) check(limits *mailbox.Limits) error {
	if l.Name != "" && !ValidName(l.Name) {
		return ErrName
	}
	if l.Ref != "" && !ValidName(l.Ref) {
		return fmt.Errorf("%w: ref: want 1 to 128 printable ASCII characters", ErrEnvelope)
	}
	if l.TTL != 0 && (l.TTL < time.Second || l.TTL > limits.TTL) {
		return fmt.Errorf("%w: want 1s to %v", ErrTTL, limits.TTL)
	}
	if l.Trace != "" && !traceparent.MatchString(l.Trace) {
		return fmt.Errorf("%w: trace: want a W3C traceparent", ErrEnvelope)
	}
	if l.Kind != mailbox.KindMessage && l.Kind != mailbox.KindExit && l.Ref == "" {
		return fmt.Errorf("%w: kind %v needs a ref", ErrEnvelope, l.Kind)
	}
	if l.Kind.WantsReply() && l.Reply == "" {
		return fmt.Errorf("%w: kind %v needs a reply address", ErrEnvelope, l.Kind)
	}
	if l.Reply != "" {
		if _, err := address.Parse(l.Reply); err != nil {
			return fmt.Errorf("%w: reply: %w", ErrEnvelope, err)
		}
	}
	return nil
}

// traceparent is the form of https://www.w3.org/TR/trace-context/#traceparent-header
var traceparent = regexp.MustCompile(`^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$`)

// Send sends body, which is marshalled to JSON, to a mailbox or process. It returns once the message waits
// there, which for a process whose queue is full may take until ctx ends. Within a handler it does not wait
// for a full queue: two processes that fill each other's would wait for ever.
func (s *Server) Send(ctx context.Context, to address.Address, body any) error {
	if s.stopping.Load() && ctx.Value(impatient{}) != inHandler {
		return ErrShuttingDown
	}
	b, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("server: send: %w", err)
	}
	var g address.Grant
	if err := s.keys.Verify(&g, to.String()); err != nil {
		return err
	}
	posted, err := s.deliver(ctx, &g, &Letter{Body: b})
	if err != nil {
		return err
	}
	wake, err := posted.Wait()
	if wake != nil {
		wake.Wake()
	}
	return err
}

// Post takes a letter that came from outside to the address with that text. It does not wait for room: a full
// queue is [ErrFull]. The caller must call Wait on what is returned.
func (s *Server) Post(to string, l *Letter) (Posted, error) {
	if s.stopping.Load() {
		return Posted{}, ErrShuttingDown
	}
	var g address.Grant
	if err := s.keys.Verify(&g, to); err != nil {
		return Posted{}, err
	}
	return s.deliver(fromOutside, &g, l)
}

// Posted is a letter that has its place, and may still have to be stored.
type Posted struct {
	reader Reader // to be woken at once
	added  added  // its box is nil for an answer that was given before
	commit *commit
	call   *call // to a node that has the process

	// at the node that has the mailbox
	posts *posts
	index int
}

// Wait returns when the letter is stored as safely as the server stores. The caller must wake the reader that is
// returned, if any, soon; one wake will do for many letters. The error is [ErrUnavailable]: the letter is not
// stored, or not yet.
func (p *Posted) Wait() (Reader, error) {
	if p.call != nil || p.posts != nil {
		err := p.elsewhere()
		if errors.Is(err, errElsewhere) || errors.Is(err, ErrShuttingDown) {
			// the shard left that node meanwhile, or is about to. Sending it after the shard here could put it behind a
			// later letter of the same sender, which must decide itself.
			err = ErrUnavailable
		}
		return nil, err
	}
	if p.commit == nil {
		return p.reader, nil
	}
	if err := p.commit.wait(); err != nil {
		return nil, err
	}
	if p.added.box == nil {
		return nil, ErrReplied
	}
	return p.added.box.stored(p.added.seq), nil
}

// elsewhere waits for the node that the letter went to.
func (p *Posted) elsewhere() error {
	if p.posts != nil {
		return p.posts.wait(p.index)
	}
	_, err := p.call.wait()
	return err
}

// deliver checks the letter and puts it where it belongs.
func (s *Server) deliver(ctx context.Context, g *address.Grant, l *Letter) (Posted, error) {
	var none Posted
	now := s.clock.now()
	if err := g.Permit(rightFor(l.Kind), time.Now()); err != nil {
		return none, err
	}
	if l.Kind == mailbox.KindCall { // its caller's patience, who need not know the limit
		l.TTL = min(l.TTL, s.limits.TTL)
	}
	if err := l.check(&s.limits); err != nil {
		return none, err
	}
	if err := permitKind(g, l); err != nil {
		return none, err
	}
	if err := s.limits.CheckBody(l.Body); err != nil {
		return none, err
	}
	if err := g.PermitBody(l.Body); err != nil {
		return none, err
	}
	if s.bytes.Load()+int64(len(l.Body)) > s.maxBytes {
		return none, ErrOverloaded
	}
	if l.Kind >= mailbox.KindMonitor {
		return s.request(ctx, g, l)
	}
	msg := mailbox.Message{Body: l.Body}
	if l.TTL != 0 {
		msg.Expires = now.Add(l.TTL).Unix()
	}
	l.Via = g.Labels()
	if !l.Meta.IsZero() {
		meta := l.Meta
		msg.Meta = &meta
	}
	name := mailbox.HashName(l.Name)
	if g.IsReply() {
		name = mailbox.HashAnswer(l.Ref)
	}
	if g.Kind() == address.Process {
		ctx = withSender(ctx, l.Sender)
	}
	return s.place(ctx, g, msg, name)
}

// place puts a message where it belongs, on whatever node.
func (s *Server) place(ctx context.Context, g *address.Grant, msg mailbox.Message, name mailbox.NameHash) (Posted, error) {
	if g.Kind() == address.Process {
		msg.Body = bytes.Clone(msg.Body)
		mailbox.OneLine(msg.Body)
		return s.toProcess(ctx, string(g.Name()), msg, name)
	}
	posted, err := s.append(g.Mailbox(), msg, name, s.clock.now(), true)
	if errors.Is(err, errElsewhere) {
		return s.forward(g.Mailbox(), msg, name)
	}
	return posted, err
}

// append appends to a mailbox of this node. mayYield says that whoever calls sends for nobody else, as who takes packets of
// other nodes does.
func (s *Server) append(id uuid.UUID, msg mailbox.Message, name mailbox.NameHash, now time.Time, mayYield bool) (Posted, error) {
	b, err := s.find(id)
	if err != nil {
		return Posted{}, err
	}
	return b.append(msg, name, now, mayYield)
}

func (b *box) append(msg mailbox.Message, name mailbox.NameHash, now time.Time, mayYield bool) (Posted, error) {
	if err := b.log.ready(); err != nil {
		return Posted{}, err
	}
	b.mu.Lock()
	b.relieve(len(msg.Body), mayYield)
	defer b.mu.Unlock()
	if err := b.over(); err != nil {
		return Posted{}, err
	}
	if b.server.closed.Load() {
		return Posted{}, ErrShuttingDown
	}
	_, before := b.mail.Len()
	at, stored, err := b.mail.Append(msg, name, now)
	_, after := b.mail.Len()
	b.server.account(after - before) // a message that was refused may have made others go
	if err != nil {
		return Posted{}, err
	}
	if !stored && msg.Meta != nil && msg.Meta.Kind.Answers() {
		return b.replied()
	}
	if b.log != nil {
		return b.post(name, at.Seq, stored), nil
	}
	if stored {
		b.server.counters.accepted[shardOf(b.id)].Add(1)
	}
	if !stored || b.sub == nil {
		return Posted{}, nil
	}
	return Posted{reader: b.sub.reader}, nil
}

// replied says that there is an answer, once that is stored: who is told so gives no other.
func (b *box) replied() (Posted, error) {
	if b.log != nil {
		if c := b.log.newest(); c != nil {
			return Posted{commit: c}, nil
		}
	}
	return Posted{}, ErrReplied
}

// post has a message stored that was appended just now. One that is a repetition waits for all that came before,
// for what it repeats may still be under way.
func (b *box) post(name mailbox.NameHash, seq uint64, isNew bool) Posted {
	if !isNew {
		return Posted{added: added{b, seq}, commit: b.log.newest()}
	}
	r := mailbox.Record{Type: mailbox.Appended, Mailbox: b.id, Message: *b.mail.Newest(), Name: name, Floor: b.mail.Floor()}
	return Posted{added: added{b, seq}, commit: b.log.addFor(b, &r)}
}

// ValidName reports whether name can be an idempotency key or a ref: 1 to 128 printable ASCII characters.
func ValidName(name string) bool {
	for i := range len(name) {
		if name[i] < 0x21 || name[i] > 0x7e {
			return false
		}
	}
	return len(name) >= 1 && len(name) <= 128
}

// Verify checks an address's or key's text, as [address.Ring.Verify] does with the server's secrets.
func (s *Server) Verify(g *address.Grant, text string) error { return s.keys.Verify(g, text) }
