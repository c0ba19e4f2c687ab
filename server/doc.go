// Package server is the post office: it opens mailboxes, knows which process owns which name, and takes
// messages to either. It has no network of its own; package web puts it on HTTP.
//
//	office, err := server.New(server.Options{Keys: ring})
//	greeter, err := office.Handle("greeter", server.Typed(func(ctx context.Context, hello Hello, m server.Message) error {
//		return office.Send(ctx, hello.From, "hello "+hello.Name)
//	}))
//
// A message to a mailbox waits there until its reader acknowledges it. A message to a process waits in the
// process's queue; a process handles one at a time.
package server
