package server

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/genbrowser/genbrowser/address"
)

// KeyedOptions say how the processes of a prefix run. The zero value is a good one.
type KeyedOptions struct {
	// Idle is how long a process stays awake that has no message, no timer and owes no answer. 1 minute.
	Idle time.Duration
	// Max is how many of them may be awake; a message to one more gets ErrOverloaded. 100,000.
	Max int
	// ProcessOptions apply to each. Restart and Single have no meaning: each is restarted by its next message, and is
	// awake on one node of a cluster. One that was restarted too often loses what waits for it.
	ProcessOptions
}

// keyed are the processes that begin by themselves with their first message, by key.
type keyed struct {
	// fixed after construction
	prefix  string
	server  *Server
	new     func(key string) Service
	linked  func(key string) address.Address // what each is linked with from its beginning; nil: nothing
	options KeyedOptions

	awake map[string]*process // guarded by processes.mu
}

// Keyed has each message to prefix/KEY handled by a process of its own, which new makes for the first one and which
// ends, with reason normal, when it was idle for a while. One that sleeps costs nothing. A prefix has no slash; a key
// may. In a cluster, whose nodes must all have it, each key's process is awake on one node.
func (s *Server) Keyed(prefix string, new func(key string) Service, o KeyedOptions) error {
	k, err := s.newKeyed(prefix, new, o)
	if err != nil {
		return err
	}
	return s.processes.addKeyed(k)
}

func (s *Server) newKeyed(prefix string, new func(key string) Service, o KeyedOptions) (*keyed, error) {
	var err error
	if o.ProcessOptions, err = o.ProcessOptions.withDefaults(s); err != nil {
		return nil, err
	}
	if o.Idle < 0 || o.Max < 0 {
		return nil, fmt.Errorf("server: Idle %v, Max %d: want none below 0", o.Idle, o.Max)
	}
	if o.Idle == 0 {
		o.Idle = time.Minute
	}
	if o.Max == 0 {
		o.Max = 100_000
	}
	if _, err := s.KeyedAddress(prefix, "k"); err != nil {
		return nil, err
	}
	return &keyed{prefix: prefix, server: s, new: new, options: o, awake: make(map[string]*process)}, nil
}

// KeyedAddress returns the address of the process of that key. It need not be awake.
func (s *Server) KeyedAddress(prefix, key string) (address.Address, error) {
	if prefix == "" || strings.Contains(prefix, "/") || key == "" {
		return address.Address{}, fmt.Errorf("server: keyed process %q/%q: want a prefix without a slash, and a key", prefix, key)
	}
	return s.keys.Process(prefix + "/" + key)
}

func (p *processes) addKeyed(k *keyed) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return ErrShuttingDown
	}
	if p.keyed[k.prefix] != nil {
		return fmt.Errorf("%w: keyed processes %q", ErrNameTaken, k.prefix)
	}
	for name := range p.byName {
		if prefix, _, ok := strings.Cut(name, "/"); ok && prefix == k.prefix {
			return fmt.Errorf("%w: %q is a process", ErrNameTaken, name)
		}
	}
	p.keyed[k.prefix] = k
	return nil
}

func (p *processes) removeKeyed(k *keyed) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.keyed, k.prefix)
}

// keyedOf returns the keyed processes that a name falls under, and the key; nil if there are none. It must be called
// with mu held.
func (p *processes) keyedOf(name string) (k *keyed, key string) {
	prefix, key, ok := strings.Cut(name, "/")
	if !ok || key == "" {
		return nil, ""
	}
	return p.keyed[prefix], key
}

// isOne reports whether only one node of the cluster runs the process of that name.
func (p *processes) isOne(name string) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	k, _ := p.keyedOf(name)
	proc := p.byName[name]
	return k != nil || proc != nil && proc.single
}

// awaken returns the process of a key, a new one unless it is awake. Its service is made once there is a message.
func (k *keyed) awaken(key string) (*process, error) {
	all := &k.server.processes
	all.mu.Lock()
	defer all.mu.Unlock()
	if p := k.awake[key]; p != nil {
		return p, nil
	}
	name := k.prefix + "/" + key
	switch {
	case all.ended:
		return nil, ErrShuttingDown
	case k.server.isElsewhere(name):
		return nil, errElsewhere
	case all.keyed[k.prefix] != k:
		return nil, fmt.Errorf("%w: keyed processes %q", ErrGone, k.prefix)
	case len(k.awake) >= k.options.Max:
		return nil, fmt.Errorf("%w: %d processes of %q are awake", ErrOverloaded, len(k.awake), k.prefix)
	}
	p := &process{name: name, single: true, server: k.server, keyed: k, room: make(chan struct{}, k.options.Queue)}
	p.service = &service{new: func() Service { return k.new(key) }, options: k.options.ProcessOptions}
	var err error
	if p.address, err = k.server.keys.Process(p.name); err != nil {
		return nil, err
	}
	k.awake[key] = p
	return p, nil
}

// forget must be called with processes.mu held.
func (k *keyed) forget(p *process) {
	if key := p.name[len(k.prefix)+1:]; k.awake[key] == p {
		delete(k.awake, key)
	}
}

// prefixes returns what is registered for keys.
func (p *processes) prefixes() []*keyed {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return slices.Collect(maps.Values(p.keyed))
}

// endSleepers tells who watches a process that sleeps, and will never wake. Those that are awake do it themselves.
func (s *Server) endSleepers(k *keyed) {
	for _, name := range s.watchers.ofPrefix(k.prefix) {
		if !k.isAwake(name[len(k.prefix)+1:]) {
			s.ended(name, Down{Reason: downNormal})
		}
	}
}

// isReleased reports whether a keyed process is of a prefix that is no more, or leaves: who watches it is told even if it
// has not begun.
func (p *process) isReleased() bool {
	if p.keyed == nil {
		return false
	}
	all := &p.server.processes
	all.mu.RLock()
	defer all.mu.RUnlock()
	return all.keyed[p.keyed.prefix] != p.keyed || all.leaving[p]
}

func (k *keyed) isAwake(key string) bool {
	k.server.processes.mu.RLock()
	defer k.server.processes.mu.RUnlock()
	return k.awake[key] != nil
}

// sleepOrIdle lets a process that has nothing to do go, or waits until it was so for a while. It must be called with
// processes.mu and mu held.
func (p *process) sleepOrIdle() {
	if p.service.now == nil {
		p.ended, p.dead = true, true
		p.keyed.forget(p)
		return
	}
	p.idleFor(p.keyed.options.Idle)
}

func (p *process) idleFor(d time.Duration) {
	if p.idle == nil {
		p.idle = time.AfterFunc(d, p.sleep)
		return
	}
	p.idle.Reset(d)
}

// sleep ends the process until there is a message, if it has nothing to do.
func (p *process) sleep() {
	all := &p.server.processes
	all.mu.Lock()
	defer all.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running || p.ended || all.ended {
		return
	}
	if p.service.now.busy() {
		p.idleFor(p.keyed.options.Idle)
		return
	}
	p.signal.Store(&signal{reason: Down{Reason: downNormal}, sleep: true})
	p.wake()
}
