package client

import (
	"net/http"
	"time"
)

// serverClock is what the server's clock said once. Reply addresses expire by it, and a machine whose own clock is late
// would make none that lasts.
type serverClock struct {
	said time.Time // by the server; the zero value if it did not
	at   time.Time // here, with a monotonic reading
}

func readClock(answer http.Header) serverClock {
	said, err := http.ParseTime(answer.Get("Date"))
	if err != nil {
		return serverClock{}
	}
	return serverClock{said, time.Now()}
}

// latest returns a time as a clock shows it then: this machine's or the server's, whichever is further on. So a clock that
// is set right meanwhile, or a machine that slept, does no harm.
func (c serverClock) latest(t time.Time) time.Time {
	if c.said.IsZero() {
		return t
	}
	if there := c.said.Add(t.Sub(c.at)); there.After(t) {
		return there
	}
	return t
}
