package server

import (
	"cmp"
	"slices"
	"time"

	"github.com/genbrowser/genbrowser/internal/pack"
	"github.com/genbrowser/genbrowser/mailbox"
)

// Who watches a process is kept where that is, in memory, and a node that dies tells nobody. So the other nodes know
// these watches too. Once the node is gone, one of the others inherits them: a node that has a process of the same name
// watches that instead; if there is none, who watches is told.

// downNodeLost is the reason of an end that nobody was left to tell.
const downNodeLost = "node-lost"

// heirAfter is how much longer each next node waits for the one before it to inherit.
const heirAfter = time.Second

// lostAfter is how long after a node was given up its watches are inherited: one that was only out of reach, or started
// anew, is back by then, for its lease would be over.
func (c *cluster) lostAfter() time.Duration { return c.patience.seal }

// farWatch is a watch of another node's process.
type farWatch struct {
	name   string
	single bool // the process runs on one node at a time, so that others of that name are no substitute
	mailbox.Watch
}

// farWatches are those of each node, by the process's name. They are guarded by the mutex of watchers.
type farWatches map[string]map[string][]farWatch

// add notes a watch that a node has, be it that another one had it before.
func (f *farWatches) add(node string, w farWatch) {
	f.remove(w.name, &w.Watch)
	if *f == nil {
		*f = make(farWatches)
	}
	if (*f)[node] == nil {
		(*f)[node] = make(map[string][]farWatch)
	}
	(*f)[node][w.name] = append((*f)[node][w.name], w)
}

// remove forgets a watch, whichever node has it.
func (f farWatches) remove(name string, one *mailbox.Watch) {
	for node, byName := range f {
		all := slices.DeleteFunc(byName[name], func(w farWatch) bool { return one.Is(w.Watch) })
		if byName[name] = all; len(all) == 0 {
			delete(byName, name)
		}
		if len(byName) == 0 {
			delete(f, node)
		}
	}
}

// forgetNode forgets the watches that a node has.
func (w *watchers) forgetNode(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.far, id)
}

// forgetOwn forgets the watches of this node's processes.
func (w *watchers) forgetOwn() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.byName, w.count = nil, 0
}

// nodes returns the ids of the nodes that have watches.
func (w *watchers) nodes() (ids []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id := range w.far {
		ids = append(ids, id)
	}
	return ids
}

// of returns the watches that a node has.
func (w *watchers) of(id string) (all []farWatch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, some := range w.far[id] {
		all = append(all, some...)
	}
	return all
}

// tellWatch lets the other nodes know of a watch of a process of this node, or that there is none any more. Whoever
// calls it holds the mutex of watchers, so that what is said of one watch is said in its order.
func (c *cluster) tellWatch(w farWatch, remove bool) {
	if c == nil {
		return
	}
	for _, n := range c.others() {
		n.tellWatch(w, remove)
	}
}

// shareWatch does the same; the call, nil if there is no other node, ends when they know: who was told that a watch is
// taken must not lose it with this node.
func (c *cluster) shareWatch(w farWatch, remove bool) *call {
	if c == nil {
		return nil
	}
	var all []*call
	for _, n := range c.others() {
		all = append(all, n.shareWatch(w, remove))
	}
	if all == nil {
		return nil
	}
	return &call{all: all}
}

func (n *node) tellWatch(w farWatch, remove bool) {
	n.send(func(b []byte) []byte { return w.appendTo(append(b, isProcessWatch, noCall), remove) })
}

func (n *node) shareWatch(w farWatch, remove bool) *call {
	return n.ask(isProcessWatch, func(b []byte) []byte { return w.appendTo(b, remove) })
}

func (w *farWatch) appendTo(b []byte, remove bool) []byte {
	r := mailbox.Record{Type: mailbox.Watched, Watch: w.Watch}
	if remove {
		r.Type = mailbox.Unwatched
	}
	return r.AppendTo(pack.AppendFlag(pack.AppendString(b, w.name), w.single))
}

// told forgets watches, and has the other nodes do so, whose watchers were told.
func (s *Server) told(name string, watches []mailbox.Watch) {
	s.watchers.mu.Lock()
	defer s.watchers.mu.Unlock()
	for i := range watches {
		s.watchers.far.remove(name, &watches[i])
		s.cluster.tellWatch(farWatch{name: name, Watch: watches[i]}, true)
	}
}

// watchesAtOnce is how many watches a node is told before it is waited until it knows them: there may be more than the way
// there has room for.
const watchesAtOnce = 1000

// tellWatches lets a node know soon who watches the processes of this one.
func (n *node) tellWatches() {
	select {
	case n.retell <- struct{}{}:
	default:
	}
}

// keepTellingWatches does that, until the node is given up.
func (n *node) keepTellingWatches() {
	for {
		select {
		case <-n.retell:
			n.tellAllWatches()
		case <-n.ended:
			return
		}
	}
}

// tellAllWatches returns early where they are to be told anew.
func (n *node) tellAllWatches() {
	n.send(func(b []byte) []byte { return append(b, isWatchesAnew) })
	told := 0
	for _, name := range n.cluster.server.watchers.names() { // what is added from now on is told as that happens
		known, count := n.tellWatchesOf(name)
		if told += count; told < watchesAtOnce {
			continue
		}
		if known.wait(); len(n.retell) > 0 {
			return
		}
		told = 0
	}
}

// tellWatchesOf lets a node know who watches a process, and returns how many that are, and a call that ends when it knows.
func (n *node) tellWatchesOf(name string) (known *call, count int) {
	s := n.cluster.server
	s.watchers.mu.Lock()
	defer s.watchers.mu.Unlock()
	all, single := s.watchers.byName[name], s.processes.isOne(name)
	for i := range all {
		w := farWatch{name, single, all[i]}
		if i < len(all)-1 {
			n.tellWatch(w, false)
		} else {
			known = n.shareWatch(w, false)
		}
	}
	return known, len(all)
}

func (n *node) takeProcessWatch(r *pack.Reader) {
	call, w := r.Uint(), farWatch{name: r.String(), single: r.Flag()}
	record := readRecord(r)
	if r.Failed {
		return
	}
	if call != noCall {
		defer n.answer(call, nil, nil)
	}
	w.Watch = record.Watch
	all := &n.cluster.server.watchers
	all.mu.Lock()
	defer all.mu.Unlock()
	if record.Type == mailbox.Unwatched {
		all.far.remove(w.name, &w.Watch)
		if own, _ := all.change(w.name, &w.Watch, true); own {
			n.cluster.tellWatch(w, true) // who took it back did not know of it yet, or heard of it after that
		}
		return
	}
	all.far.add(n.id, w)
}

// inheritLost takes over the watches and names of nodes that are gone. It is govern's.
func (c *cluster) inheritLost() {
	// While this node can't reach the others it knows nothing of them, nor does a new one at first.
	place, sure := c.place()
	if !sure || c.reach() != nil {
		clear(c.lost)
		return
	}
	all := slices.Concat(c.server.watchers.nodes(), c.server.names.nodes())
	for id := range c.lost {
		if !slices.Contains(all, id) || c.knows(id) {
			delete(c.lost, id)
		}
	}
	for _, id := range all {
		if c.knows(id) {
			continue
		}
		if _, noted := c.lost[id]; !noted {
			c.lost[id] = time.Now()
		}
		if time.Since(c.lost[id]) < c.lostAfter()+time.Duration(place)*heirAfter {
			continue
		}
		c.lost[id] = time.Now() // for what another node has to take over, and does not
		for _, w := range c.server.watchers.of(id) {
			c.server.inherit(w)
		}
		c.server.inheritNames(id)
	}
}

// place returns how many of the nodes come before this one when there is something to inherit, and whether this node
// knows what the others have.
func (c *cluster) place() (place int, sure bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, n := range c.nodes {
		if !n.toldNames {
			return 0, false
		}
		if cmp.Less(id, c.self) {
			place++
		}
	}
	return place, true
}

func (c *cluster) knows(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes[id] != nil
}

// inherit finds another process of that name to watch, or tells who watches that the last one is lost.
func (s *Server) inherit(w farWatch) {
	switch {
	case w.Until != 0 && w.Until <= time.Now().Unix():
		s.told(w.name, []mailbox.Watch{w.Watch})
	case !s.watchAgain(&w, 0):
		s.tellLost(w)
	}
}

// watchAgain watches another process of that name, or asks another node to, each time the next one, which may refuse it.
// It reports false if there is none that could.
func (s *Server) watchAgain(w *farWatch, try int) bool {
	if w.single {
		return false
	}
	if s.processes.knows(w.name) {
		_, err := s.watchProcess(w.name, &w.Watch, false)
		if err == nil && s.processes.knows(w.name) {
			return true
		}
		if err == nil { // it ended meanwhile, and may not have seen this watch
			_, err = s.watchProcess(w.name, &w.Watch, true)
		}
		if err != nil {
			s.log.Warn("a watch of a lost process could not be taken over", "process", w.name, "error", err)
		}
	}
	others := s.cluster.haveProcess(w.name)
	if len(others) == 0 {
		return false
	}
	kind := mailbox.KindMonitor
	if w.Link {
		kind = mailbox.KindLink
	}
	meta := &mailbox.Meta{Kind: kind, Ref: w.Ref, Reply: w.Reply}
	others[try%len(others)].toProcess(nil, w.name, mailbox.Message{Body: []byte("null"), Meta: meta}, mailbox.NameHash{})
	return true
}

// haveProcess returns the other nodes that have a process of that name.
func (c *cluster) haveProcess(name string) []*node {
	if c == nil {
		return nil
	}
	return c.routes.Load().processes[name]
}

// tellLost tells who watches a process that it was lost. Until that is done the watch is this node's, so that others do
// it if this one dies meanwhile, and not before.
func (s *Server) tellLost(w farWatch) {
	s.watchers.mu.Lock()
	s.watchers.far.remove(w.name, &w.Watch)
	s.cluster.tellWatch(w, false)
	s.watchers.mu.Unlock()
	s.takeHalvesBack(w.name, []mailbox.Watch{w.Watch})
	one := tellingOf(&w.Watch, Down{Reason: downNodeLost})
	s.notices.add(notice{server: s, tellings: []telling{one}, done: func(bool) { s.told(w.name, []mailbox.Watch{w.Watch}) }})
}
