package server

import (
	"maps"
	"time"
)

// silentNode is what is kept of a node that was given up for its silence: it may be back soon, with its processes.
type silentNode struct {
	names nodeNames
	since time.Time
}

// dropSilent gives up the nodes that were not heard for a while, and what they were asked too long ago.
func (c *cluster) dropSilent() {
	c.forgetSilent()
	for _, n := range c.others() {
		n.endUnanswered()
		c.mu.Lock()
		silent, name := time.Since(n.heard), n.beat.Name
		lost := silent > c.patience.silence
		if lost {
			c.silent[n.id] = silentNode{n.names, time.Now()}
		}
		c.mu.Unlock()
		if lost {
			c.log.Warn("a node is silent", "node", n.id, "name", name, "for", silent)
			c.drop(n)
		}
	}
}

// forgetSilent forgets the nodes that were given up so long ago that what they had is lost.
func (c *cluster) forgetSilent() {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := len(c.silent)
	maps.DeleteFunc(c.silent, func(_ string, s silentNode) bool { return time.Since(s.since) > c.lostAfter() })
	if len(c.silent) != before {
		c.reroute()
	}
}

// mayHave reports whether another node has a process of that name, be it one that is silent, and may be back.
func (c *cluster) mayHave(process string) bool {
	return len(c.haveProcess(process)) > 0 || c != nil && c.routes.Load().silent[process]
}
