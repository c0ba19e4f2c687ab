package web

import (
	"net/http"

	"github.com/genbrowser/genbrowser/server"
)

// somebody is a sender who proved nothing.
var somebody = &server.Sender{Remote: true}

// senderOf is who processes are told that a request's messages are from. Neither a proxy nor a page that another site
// made speaks for who is at the other end of the connection.
func senderOf(r *http.Request) *server.Sender {
	c, known := r.Context().Value(peerKey{}).(*connection)
	if !known {
		return somebody
	}
	s := c.provedBy()
	if s != somebody && (throughProxy(r) || len(r.Header.Values("X-Forwarded-For")) > 0 || ofOtherPage(r)) {
		return somebody
	}
	return s
}

// provedBy returns what the connection proves, which it does once its handshake is over.
func (c *connection) provedBy() *server.Sender {
	c.proved.Do(func() {
		p := c.now()
		c.sender = somebody
		if len(p.Names) > 0 || p.Process != nil {
			c.sender = &server.Sender{Remote: true, Names: p.Names, Credentials: (*server.Credentials)(p.Process)}
		}
	})
	return c.sender
}
