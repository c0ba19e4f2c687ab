package web

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/server"
	"github.com/genbrowser/genbrowser/web/problem"
)

// monitors limits how many monitors and links each client has. What made them come to an end is the server's to know:
// it is asked when a client has as many as it may.
type monitors struct {
	office *server.Server
	most   int

	mu     sync.Mutex
	of     map[string]*watchesOf
	tidyAt int // how many clients there are when it is worth looking for those that have none any more
}

// watchesOf are those of one client.
type watchesOf struct {
	all    map[watched]struct{}
	looked time.Time // when the server was asked which of them are left
}

// watched is a monitor or link, by what it is of and by the reply address that is told.
type watched struct {
	kind       address.Kind
	target     string
	ref, reply string
}

// lookEvery keeps a client that has as many as it may from having the server look again and again.
const lookEvery = time.Second

func limitMonitors(office *server.Server, most int) *monitors {
	if most == 0 {
		return nil
	}
	return &monitors{office: office, most: most, of: make(map[string]*watchesOf), tidyAt: limited}
}

// post hands a line to the server, unless it is a monitor or link more than its client may have.
func (u *upload) post(l *line) (server.Posted, error) {
	m, kind := u.h.monitors, l.letter.Kind
	if m == nil || kind < mailbox.KindMonitor || kind == mailbox.KindExit {
		return u.h.office.Post(l.to, &l.letter)
	}
	w, err := watchedBy(l)
	if err != nil {
		return server.Posted{}, err
	}
	remove := kind == mailbox.KindDemonitor || kind == mailbox.KindUnlink
	isNew := false
	if !remove {
		if isNew, err = m.add(u.client, w, time.Now()); err != nil {
			return server.Posted{}, err
		}
	}
	posted, err := u.h.office.Post(l.to, &l.letter)
	switch {
	case (isNew && err != nil || remove && err == nil) && !m.isThere(&w):
		m.remove(u.client, w)
	case isNew:
		m.keep(u.client, w)
	}
	return posted, err
}

// watchedBy clones what it keeps of the line, whose bytes are used again.
func watchedBy(l *line) (watched, error) {
	to, err := address.Inspect(l.to)
	if err != nil {
		return watched{}, err
	}
	target := to.Name
	if to.Kind == address.Mailbox {
		target = string(to.Mailbox[:])
	}
	return watched{to.Kind, strings.Clone(target), strings.Clone(l.letter.Ref), strings.Clone(l.letter.Reply)}, nil
}

// add reports whether the watch was not there before.
func (m *monitors) add(client string, w watched, now time.Time) (isNew bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.client(client)
	if _, known := c.all[w]; known {
		return false, nil
	}
	if len(c.all) >= m.most && now.Sub(c.looked) >= lookEvery {
		c.looked = now
		m.forgetEnded(c)
	}
	if len(c.all) >= m.most {
		return false, &problem.Problem{Kind: problem.TooManyMonitors, Detail: fmt.Sprintf("at most %d", m.most), RetryAfter: lookEvery}
	}
	c.all[w] = struct{}{}
	return true, nil
}

// keep notes a watch that the server has by now. Somebody may have looked for it too early.
func (m *monitors) keep(client string, w watched) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.client(client).all[w] = struct{}{}
}

// client must be called with mu held.
func (m *monitors) client(client string) *watchesOf {
	c := m.of[client]
	if c == nil {
		if len(m.of) >= m.tidyAt {
			m.tidy()
		}
		c = &watchesOf{all: make(map[watched]struct{})}
		m.of[client] = c
	}
	return c
}

// tidy must be called with mu held.
func (m *monitors) tidy() {
	for name, c := range m.of {
		if m.forgetEnded(c); len(c.all) == 0 {
			delete(m.of, name)
		}
	}
	m.tidyAt = max(limited, 2*len(m.of))
}

// forgetEnded must be called with mu held.
func (m *monitors) forgetEnded(c *watchesOf) {
	for w := range c.all {
		if !m.isThere(&w) {
			delete(c.all, w)
		}
	}
}

func (m *monitors) isThere(w *watched) bool {
	target := address.Description{Kind: w.kind, Name: w.target}
	if w.kind == address.Mailbox {
		copy(target.Mailbox[:], w.target)
	}
	return m.office.Watching(&target, w.ref, w.reply)
}

func (m *monitors) remove(client string, w watched) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.of[client]
	if c == nil {
		return
	}
	if delete(c.all, w); len(c.all) == 0 {
		delete(m.of, client)
	}
}
