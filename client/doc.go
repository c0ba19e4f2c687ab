// Package client talks to a GenBrowser server from Go: it sends to addresses, opens a mailbox of its own, and makes the
// program a process that others call.
//
//	c, err := client.New("http://localhost:8080", client.Options{})
//	err = c.Send(ctx, address, map[string]any{"type": "ping"})
//
//	box, err := c.Open(ctx)
//	fmt.Println("write to me:", box.Address())
//	for m, err := range box.Messages(ctx) {
//		…
//	}
//
// A [Peer] is a program as a process among others: it calls and is called, casts, monitors and links.
//
//	peer, err := client.Dial(ctx, "http://localhost:8080", client.DialOptions{})
//	err = peer.Call(ctx, address, "ping", &reply)
//	err = peer.Serve(ctx, service)
//
// What the server refuses comes back as a [problem.Problem], so that errors.Is(err, problem.Expired) tells.
package client
