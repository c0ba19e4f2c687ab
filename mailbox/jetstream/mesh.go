package jetstream

import (
	"fmt"

	"github.com/nats-io/nats.go"
)

// Mesh carries what the nodes that share a log say to each other, over the NATS that keeps it: plain messages on
// a subject for each node and one for all, so that there are as many subscriptions as nodes.
type Mesh struct {
	conn     *nats.Conn
	prefix   string
	self     string
	messages chan *nats.Msg
	subs     []*nats.Subscription
	received chan struct{} // closed when nothing is received any more
}

// maxQueued is how many messages may wait to be received. What is more gets lost, which nodes notice.
const maxQueued = 16 << 10

// Mesh returns the mesh of those who share the log. The log's Close ends it.
func (l *Log) Mesh() *Mesh { return &Mesh{conn: l.conn, prefix: l.name + ".nodes"} }

// Join begins to receive what is sent to node, and what is broadcast, in the order in which each node sent it.
func (m *Mesh) Join(node string, receive func(from string, data []byte)) error {
	m.self = node
	m.messages, m.received = make(chan *nats.Msg, maxQueued), make(chan struct{})
	for _, subject := range []string{m.subject(node), m.prefix} {
		sub, err := m.conn.ChanSubscribe(subject, m.messages)
		if err != nil {
			return fmt.Errorf("join the mesh: %w", err)
		}
		m.subs = append(m.subs, sub)
	}
	go func() {
		defer close(m.received)
		for msg := range m.messages {
			if msg.Reply != node {
				receive(msg.Reply, msg.Data)
			}
		}
	}()
	return nil
}

// Leave ends that; receive is not called any more once it returns.
func (m *Mesh) Leave() error {
	var err error
	for _, sub := range m.subs {
		if e := sub.Unsubscribe(); e != nil && !m.conn.IsClosed() {
			err = fmt.Errorf("leave the mesh: %w", e)
		}
	}
	m.subs = nil
	if m.messages != nil {
		close(m.messages)
		<-m.received
		m.messages = nil
	}
	return err
}

// Send sends to one node. Who sent it stands where NATS has the subject of an answer: there is none.
func (m *Mesh) Send(to string, data []byte) error {
	return m.conn.PublishRequest(m.subject(to), m.self, data)
}

// Broadcast sends to all nodes.
func (m *Mesh) Broadcast(data []byte) error { return m.conn.PublishRequest(m.prefix, m.self, data) }

// MaxSize is how long data may be, in bytes.
func (m *Mesh) MaxSize() int { return min(int(m.conn.MaxPayload()), 1<<20) }

func (m *Mesh) subject(node string) string { return m.prefix + "." + node }
