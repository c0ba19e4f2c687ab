package client

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/web/problem"
)

// Mailbox is this program's own. Make one with [Client.Open] or [Client.Resume]. One loop at a time reads it;
// everything else may be used by any number of goroutines.
type Mailbox struct {
	// fixed after construction
	client  *Client
	key     address.Key
	clock   serverClock                // when it was opened
	changed func(open bool, err error) // told when a connection of its stream opened or broke; may be nil

	reading atomic.Bool // a loop over Messages runs
	closing atomic.Bool // Close was called

	mu      sync.Mutex
	address address.Address
	config  json.RawMessage
	limits  limits // zero until the server told
	beat    time.Duration
	cursor  string // after the last message that was handled
	unacked unacked
	ledger  *ledger // nil: what was handed on counts as handled
}

type limits struct {
	Body         int `json:"body"`
	Backlog      int `json:"backlog"`
	BacklogBytes int `json:"backlogBytes"`
}

// bound returns the server's limits; zero until it told.
func (m *Mailbox) bound() limits {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.limits
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

// Open opens a mailbox. It tries again, with pauses, when the server can't be reached or is not ready, for at
// most Options.OpenWithin; any other refusal, such as [problem.OpenRefused], it returns at once.
func (c *Client) Open(ctx context.Context) (*Mailbox, error) { return c.openUntil(ctx, State{}) }

// openUntil is Open; with a state that has a key, it asks for that mailbox instead.
func (c *Client) openUntil(ctx context.Context, resume State) (*Mailbox, error) {
	var m *Mailbox
	err := persist(ctx, c.openWithin, c.maxPause, func(ctx context.Context) (err error) {
		m, err = c.open(ctx, resume)
		return err
	})
	return m, err
}

// open tries once.
func (c *Client) open(ctx context.Context, resume State) (*Mailbox, error) {
	resp, err := c.do(ctx, http.MethodPost, "/mailbox", resume.Key, nil)
	if err != nil {
		if !resume.Key.IsZero() {
			err = fmt.Errorf("client: resume: %w", err)
		}
		return nil, err
	}
	defer resp.Body.Close()
	var o opened
	if err := json.NewDecoder(resp.Body).Decode(&o); err != nil {
		return nil, fmt.Errorf("client: open: %w", err)
	}
	key := resume.Key
	if key.IsZero() {
		if key, err = address.ParseKey(o.Key); err != nil {
			return nil, fmt.Errorf("client: open: %w", err)
		}
	}
	m := c.Resume(key, resume.Cursor)
	m.cursor, m.clock = cmp.Or(m.cursor, o.Cursor), readClock(resp.Header)
	m.learn(&o)
	return m, nil
}

// Resume returns the mailbox of a key, to be read after a cursor that [Mailbox.Cursor] returned, or from the
// first message that was not acknowledged if that is empty. It does not connect: whether the mailbox still
// lives, reading it tells.
func (c *Client) Resume(key address.Key, cursor string) *Mailbox {
	m := &Mailbox{client: c, key: key, cursor: cursor, unacked: unacked{resumed: cursor != ""}}
	m.address, _ = key.Address() // of a key that can't be narrowed any more there is none
	return m
}

func (m *Mailbox) learn(o *opened) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.address, m.config, m.limits = o.Address, o.Config, o.Limits
	m.beat = time.Duration(o.Heartbeat) * time.Millisecond
}

// isKnown reports whether the server told of the mailbox, when it was opened or a stream began.
func (m *Mailbox) isKnown() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.limits != (limits{})
}

// Address is what others send to. It may do no more than the mailbox's key, and ends with it; it is zero if the key was
// narrowed to none of an address's rights.
func (m *Mailbox) Address() address.Address {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.address
}

// Config is the JSON that the server gives its clients; nil after Resume, until reading began.
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

// Close ends the mailbox at the server: its address is dead from now on, and a loop over Messages ends without
// an error. Closing it again changes nothing.
func (m *Mailbox) Close(ctx context.Context) error {
	m.closing.Store(true)
	err := m.client.done(ctx, http.MethodDelete, "/mailbox", m.key, nil, http.StatusNoContent)
	if errors.Is(err, problem.Closed) {
		return nil
	}
	return err
}
