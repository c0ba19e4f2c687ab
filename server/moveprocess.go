package server

import (
	"slices"
	"time"
)

// vacatePatience is how long the processes of a shard that is to go may take for what waits for them. What comes for them
// meanwhile waits for no longer.
const vacatePatience = routePatience

// isElsewhere reports whether a process that one node runs at a time is another's, or is about to be.
func (s *Server) isElsewhere(name string) bool {
	shard := shardOfName(name)
	return s.cluster != nil && (s.processes.vacating[shard].Load() != 0 || !s.shards[shard].isOwned())
}

// vacate has no keyed process begin in shards that are to go to another node, and those that are awake end, so that
// Terminate is over before the other node begins them anew. It returns the shards in which nothing runs any more, or that had
// their time; mailboxes are served until these go.
func (s *Server) vacate(shards []uint8) (vacant []uint8) {
	all := &s.processes
	if len(shards) == 0 && !all.isVacating() {
		return nil
	}
	now := time.Now()
	all.mu.Lock()
	defer all.mu.Unlock()
	var begin []uint8
	for _, i := range shards {
		if all.vacating[i].CompareAndSwap(0, now.UnixNano()) {
			begin = append(begin, i)
		}
	}
	all.endKeyed(begin)
	busy := all.busy()
	for i := range all.vacating {
		since := all.vacating[i].Load()
		over := !busy[i] || now.Sub(time.Unix(0, since)) > vacatePatience
		switch going := slices.Contains(shards, uint8(i)); {
		case going && over:
			vacant = append(vacant, uint8(i))
		case !going && over: // it stays, or it has gone
			all.vacating[i].Store(0)
		}
	}
	return vacant
}

func (p *processes) isVacating() bool {
	for i := range p.vacating {
		if p.vacating[i].Load() != 0 {
			return true
		}
	}
	return false
}

// endKeyed ends the keyed processes of shards, which are others from now on: what waits is still handled. It must be called
// with mu held.
func (p *processes) endKeyed(shards []uint8) {
	if len(shards) == 0 {
		return
	}
	for _, k := range p.keyed {
		for key, proc := range k.awake {
			if slices.Contains(shards, shardOfName(proc.name)) {
				delete(k.awake, key)
				p.leaving[proc] = true
				proc.release()
			}
		}
	}
}

// busy returns in which shards a process runs that is not to run on two nodes. It must be called with mu held.
func (p *processes) busy() (shards [shardCount]bool) {
	for proc := range p.leaving {
		shards[shardOfName(proc.name)] = true
	}
	for _, proc := range p.byName {
		if proc.single && proc.isRunning() {
			shards[shardOfName(proc.name)] = true
		}
	}
	return shards
}

func (p *process) isRunning() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.running
}

// leaveProcesses ends the keyed processes of shards that another node has from now on, which begins them anew. Who watches
// one is told, whether it was awake or not; and who watches a single one, that it is lost, as the other node has not its
// state.
func (s *Server) leaveProcesses(shards []uint8) {
	all := &s.processes
	ends := make(map[string]Down)
	watched := s.watchers.names() // with no lock: who holds that of watchers takes that of processes
	all.mu.Lock()
	all.endKeyed(shards)
	for _, name := range watched {
		k, _ := all.keyedOf(name)
		p := all.byName[name]
		switch {
		case !slices.Contains(shards, shardOfName(name)):
		case k != nil:
			ends[name] = Down{Reason: downNormal}
		case p != nil && p.single:
			ends[name] = Down{Reason: downNodeLost}
		}
	}
	for p := range all.leaving {
		delete(ends, p.name) // it tells, when it ends
	}
	all.mu.Unlock()
	for name, why := range ends {
		s.ended(name, why)
	}
}
