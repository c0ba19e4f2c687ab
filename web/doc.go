// Package web puts a [server.Server] on HTTP: addresses to POST to, mailboxes as streams of server-sent events
// or as long-polls, and the browser client. PROTOCOL.md describes every route.
//
//	gb, err := web.New(web.Options{Server: office})
//	mux.Handle("/_gb/", gb)
//	mux.Handle("/.well-known/gen-browser", gb) // for clients that discover how to connect
//
// /healthz, /readyz and /metrics are the handler's as well, where they are wanted.
//
// A stream over HTTP/1.1 is taken off net/http: the goroutine that sends a message writes it to the reader's
// socket, without blocking, and an idle stream has no goroutine, on Linux. What a socket does not
// take stays in the mailbox until it does.
package web
