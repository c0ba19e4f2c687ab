package server

import "time"

// clock tells a time that only moves forward, a second in a second, whatever happens to the system's clock: a
// clock that is set an hour ahead must not expire every mailbox that sleeps.
type clock struct{ start time.Time }

func (c clock) now() time.Time { return c.start.Add(time.Since(c.start)) }
