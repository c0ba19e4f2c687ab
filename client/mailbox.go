package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/genbrowser/genbrowser/address"
)

// Mailbox is this program's own. One goroutine at a time reads it.
type Mailbox struct {
	client *Client
	key    address.Key

	mu      sync.Mutex
	address address.Address
	config  json.RawMessage
	cursor  string // after the last message that was handled
	limits  limits
	beat    time.Duration
}

type limits struct {
	Backlog      int `json:"backlog"`
	BacklogBytes int `json:"backlogBytes"`
}

// opened is what the server says of a mailbox.
type opened struct {
	Address   address.Address `json:"address"`
	Key       string          `json:"key"`
	Cursor    string          `json:"cursor"`
	Config    json.RawMessage `json:"config"`
	Heartbeat int64           `json:"heartbeat"` // milliseconds
	Limits    limits          `json:"limits"`
	Gap       uint64          `json:"gap"`
}

// Open opens a mailbox.
func (c *Client) Open(ctx context.Context) (*Mailbox, error) {
	resp, err := c.do(ctx, http.MethodPost, "/mailbox", address.Key{}, "", nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var o opened
	if err := json.NewDecoder(resp.Body).Decode(&o); err != nil {
		return nil, fmt.Errorf("client: open: %w", err)
	}
	key, err := address.ParseKey(o.Key)
	if err != nil {
		return nil, fmt.Errorf("client: open: %w", err)
	}
	m := &Mailbox{client: c, key: key}
	m.learn(&o)
	m.cursor = o.Cursor
	return m, nil
}

// Resume returns the mailbox of a key, to be read after a cursor that [Mailbox.Cursor] returned, or from the
// first message that was not acknowledged if that is empty. Whether it still lives, reading it tells.
func (c *Client) Resume(key address.Key, cursor string) *Mailbox {
	return &Mailbox{client: c, key: key, cursor: cursor}
}

func (m *Mailbox) learn(o *opened) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.address, m.config, m.limits = o.Address, o.Config, o.Limits
	m.beat = time.Duration(o.Heartbeat) * time.Millisecond
}

// Address is what others send to. After Resume it is the zero value until reading began.
func (m *Mailbox) Address() address.Address {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.address
}

// Config is what the server gives its clients.
func (m *Mailbox) Config() json.RawMessage {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.config
}

// Key reads and closes the mailbox; keep it, with the cursor, to resume.
func (m *Mailbox) Key() address.Key { return m.key }

// Cursor is the position after the last message that was handled.
func (m *Mailbox) Cursor() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.cursor
}

func (m *Mailbox) moveTo(cursor string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cursor = cursor
}

// Ack forgets the messages up to the cursor at the server. Messages does so by itself, now and then.
func (m *Mailbox) Ack(ctx context.Context) error {
	body, err := json.Marshal(map[string]string{"cursor": m.Cursor()})
	if err != nil {
		return err
	}
	resp, err := m.client.do(ctx, http.MethodPost, "/ack", m.key, "application/json", body)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// Close ends the mailbox at the server: its address is dead from now on, and Messages ends.
func (m *Mailbox) Close(ctx context.Context) error {
	resp, err := m.client.do(ctx, http.MethodDelete, "/mailbox", m.key, "", nil)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}
