package server

import "slices"

// leaveProcesses ends the keyed processes of shards that another node has from now on, which begins them anew: what waits
// is still handled. Who watches one is told, whether it was awake or not; and who watches a single one, that it is lost,
// as the other node has not its state.
func (s *Server) leaveProcesses(shards []uint8) {
	all := &s.processes
	ends := make(map[string]Down)
	watched := s.watchers.names() // with no lock: who holds that of watchers takes that of processes
	all.mu.Lock()
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
	for _, k := range all.keyed {
		for key, p := range k.awake {
			if slices.Contains(shards, shardOfName(p.name)) {
				delete(k.awake, key) // should the shard come back, it is another's name
				delete(ends, p.name)
				p.release()
			}
		}
	}
	all.mu.Unlock()
	for name, why := range ends {
		s.ended(name, why)
	}
}
