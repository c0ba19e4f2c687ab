package server

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/genbrowser/genbrowser/internal/pack"
	"github.com/genbrowser/genbrowser/mailbox"
)

// posts are messages for mailboxes of another node that leave together, and are answered together: one question
// instead of many.
type posts struct {
	number uint64
	asked  time.Time
	count  int // guarded by the node's mu until they leave
	done   chan struct{}

	left   int           // not answered; guarded by the node's mu
	err    error         // of all, if they are not answered
	errors map[int]error // of those that were refused
}

// wait returns what became of one of them.
func (p *posts) wait(index int) error {
	<-p.done
	if p.err != nil {
		return p.err
	}
	return p.errors[index]
}

func (p *posts) end(err error) {
	p.err = err
	close(p.done)
}

// post sends a message for a mailbox of the node's, with others that go there now.
func (n *node) post(id uuid.UUID, msg mailbox.Message, name mailbox.NameHash, now time.Time) Posted {
	var ttl uint64
	if msg.Expires != 0 {
		ttl = uint64(max(msg.Expires-now.Unix(), 1))
	}
	msg.Expires = 0
	r := mailbox.Record{Type: mailbox.Appended, Mailbox: id, Message: msg, Name: name}
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.leaving
	if p == nil {
		number := n.cluster.numbers.Add(1)
		p = &posts{number: number, asked: time.Now(), done: make(chan struct{})}
		if n.gone {
			p.end(ErrUnavailable)
			return Posted{posts: p}
		}
		n.leaving, n.posts[p.number] = p, p
	}
	index := p.count
	p.count++
	p.left++
	n.sendLocked(func(b []byte) []byte {
		b = binary.AppendUvarint(append(b, isPost), p.number)
		b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(index)), ttl)
		return r.AppendTo(b)
	})
	return Posted{posts: p, index: index}
}

// posted takes the answer to some of the posts that left together.
func (n *node) posted(r *pack.Reader) {
	number, first, count := r.Uint(), r.UpTo(maxWaiting), r.UpTo(maxWaiting)
	refused := make(map[int]error)
	for range r.UpTo(count) {
		index := r.UpTo(maxWaiting)
		refused[int(index)] = readError(r)
	}
	if r.Failed {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.posts[number]
	if p == nil || first+count > uint64(p.count) || count > uint64(p.left) {
		return // given up
	}
	for index, err := range refused {
		if p.errors == nil {
			p.errors = make(map[int]error)
		}
		p.errors[index] = err
	}
	if p.left -= int(count); p.left == 0 {
		delete(n.posts, number)
		p.end(nil)
	}
}

// endUnansweredPosts does so for messages.
func (n *node) endUnansweredPosts() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for number, p := range n.posts {
		if time.Since(p.asked) > callPatience {
			delete(n.posts, number)
			if n.leaving == p {
				n.leaving = nil
			}
			p.end(ErrUnavailable)
		}
	}
}

// taken are posts of another node that follow each other.
type taken struct {
	number uint64
	first  uint64
	all    []takenPost
}

type takenPost struct {
	posted Posted
	err    error
}

// takePost appends a post to those that came before it in the same packet.
func (n *node) takePost(all []taken, r *pack.Reader) []taken {
	number, index, ttl := r.Uint(), r.Uint(), r.UpTo(1<<31)
	record := readRecord(r)
	if r.Failed {
		return all
	}
	last := len(all) - 1
	if last < 0 || all[last].number != number || all[last].first+uint64(len(all[last].all)) != index {
		all, last = append(all, taken{number: number, first: index}), last+1
	}
	posted, err := n.cluster.server.postHere(&record, ttl)
	all[last].all = append(all[last].all, takenPost{posted, err})
	return all
}

// postHere puts a message of another node into a mailbox of this one.
func (s *Server) postHere(r *mailbox.Record, ttl uint64) (Posted, error) {
	now := s.clock.now()
	if ttl > 0 {
		r.Message.Expires = now.Unix() + int64(ttl)
	}
	if most := mostBody(s.member.log); len(r.Message.Body) > most { // of this node's NATS, if that takes less than the other's
		return Posted{}, fmt.Errorf("%w: %d bytes, this node's log takes at most %d", mailbox.ErrTooLarge, len(r.Message.Body), most)
	}
	if s.bytes.Load()+int64(len(r.Message.Body)) > s.maxBytes {
		return Posted{}, ErrOverloaded
	}
	return s.append(r.Mailbox, r.Message, r.Name, now, false)
}

// maxAwake is how many readers are woken together at most; more would keep the first ones waiting.
const maxAwake = 64

// settle answers posts once they are stored, and has their readers read.
func (n *node) settle(all []taken) {
	var awake []Reader
	wake := func() {
		for _, r := range awake {
			r.Wake()
		}
		awake = awake[:0]
	}
	for i := range all {
		t := &all[i]
		refused, refusals := []byte(nil), uint64(0)
		for i := range t.all {
			p := &t.all[i]
			var reader Reader
			if p.err == nil {
				reader, p.err = p.posted.Wait()
			}
			if p.err != nil {
				refusals++
				refused = appendError(binary.AppendUvarint(refused, t.first+uint64(i)), p.err)
			} else if reader != nil && !slices.Contains(awake, reader) {
				if awake = append(awake, reader); len(awake) == maxAwake {
					wake()
				}
			}
		}
		n.send(func(b []byte) []byte {
			b = binary.AppendUvarint(append(b, isPosted), t.number)
			b = binary.AppendUvarint(binary.AppendUvarint(b, t.first), uint64(len(t.all)))
			return append(binary.AppendUvarint(b, refusals), refused...)
		})
	}
	wake()
}
