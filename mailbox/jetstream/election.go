package jetstream

import (
	"time"
	_ "unsafe" // for linkname

	_ "github.com/nats-io/nats-server/v2/server"
)

// How soon the nodes of an embedded cluster notice that their leader is gone, and elect another. NATS has no option
// for it, and takes 4 to 9 s, which suits clusters that span continents; ours is to go on within 5 s in all. Should
// a later NATS call these otherwise, the program does not link.
//
//go:linkname minElectionTimeout github.com/nats-io/nats-server/v2/server.minElectionTimeout
var minElectionTimeout time.Duration

//go:linkname maxElectionTimeout github.com/nats-io/nats-server/v2/server.maxElectionTimeout
var maxElectionTimeout time.Duration

//go:linkname hbInterval github.com/nats-io/nats-server/v2/server.hbInterval
var hbInterval time.Duration

func init() {
	minElectionTimeout, maxElectionTimeout = time.Second, 2*time.Second
	hbInterval = 200 * time.Millisecond
}
