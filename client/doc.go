// Package client talks to a GenBrowser server from Go: it sends to addresses, and opens a mailbox of its own.
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
// What the server refuses comes back as a [problem.Problem], so that errors.Is(err, problem.Expired) tells.
package client
