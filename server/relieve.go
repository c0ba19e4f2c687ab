package server

import "time"

// reliefTakes is how long those who are ready to run may take, as long as there is somebody to wait for.
const reliefTakes = 4 * time.Millisecond

// relieve has the reader take what there is, if there is no room without that: it may not have been woken for all of it yet,
// or, if the caller may yield, who writes to it may only be ready to run. mu is held, but not meanwhile.
func (b *box) relieve(size int, mayYield bool) {
	if !b.pressed(size) {
		return
	}
	r := b.sub.reader
	b.mu.Unlock()
	r.Wake()
	b.mu.Lock()
	if !mayYield || !b.pressed(size) {
		return
	}
	b.mu.Unlock()
	b.server.relief.Yield(time.Now(), func() time.Duration { return reliefTakes })
	b.mu.Lock()
}

// pressed reports whether a message of that size has no room but for what its reader was not given yet; mu is held.
func (b *box) pressed(size int) bool {
	return b.sub != nil && b.sub.reader != nil && b.mail.Pressed(size)
}
