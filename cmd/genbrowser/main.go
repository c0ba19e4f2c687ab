// Command genbrowser runs a GenBrowser server, and talks to one.
//
//	genbrowser playground        a server with pages to try it out
//	genbrowser serve             a server
//	genbrowser open URL          opens a mailbox, prints its address, then what arrives
//	genbrowser send URL TO BODY  sends a message
//	genbrowser key new           makes a secret
//	genbrowser address …         shows or narrows an address
//	genbrowser cluster status    shows who keeps which mailboxes
//	genbrowser data …            checks or compacts a data directory
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"
)

const description = `Browsers, backends and servers send each other messages as processes of one system do.

Start with "genbrowser playground" and open the address that it prints. Every flag of serve and playground
can be set in the environment as well: --shutdown-grace is GENBROWSER_SHUTDOWN_GRACE.

The secret that signs addresses comes from the environment only: GENBROWSER_SECRET, or SECRET. To rotate it,
put a new one in front, separated by a comma: the first signs, all verify. "genbrowser key new" makes one.`

type cli struct {
	Serve       serve       `cmd:"" help:"Run a server."`
	Playground  playground  `cmd:"" help:"Run a server with the pinger and ponger pages, a logger and a name registry."`
	Open        open        `cmd:"" help:"Open a mailbox, print its address, then every message that arrives, one a line."`
	Send        send        `cmd:"" help:"Send a message, or many from standard input."`
	Key         key         `cmd:"" help:"Make secrets."`
	Address     addressCmd  `cmd:"" help:"Show or narrow an address; needs no server."`
	Cluster     cluster     `cmd:"" help:"Ask a server how it and its cluster are."`
	Data        data        `cmd:"" help:"Check or compact the data directory of a server that is stopped."`
	Healthcheck healthcheck `cmd:"" help:"Ask a server whether it is ready; exits with 0 if so. For containers."`

	Version versionFlag `help:"Print the version." env:"-"`
}

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(75) // an eighth less memory for idle streams, and no more time that could be measured
	}
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "genbrowser:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	var c cli
	parser, err := kong.New(&c,
		kong.Name("genbrowser"),
		kong.Description(description),
		kong.DefaultEnvars("GENBROWSER"),
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 110}),
		kong.Vars{
			"listeners": "tcp4://127.0.0.1:8080, tcp6://[::1]:8080, tcp://:8080, tls://:8443, mtls://:8444 or unix:///run/gb.sock?mode=0660",
		},
	)
	if err != nil {
		return err
	}
	command, err := parser.Parse(args)
	if err == nil {
		err = check(command)
	}
	if err != nil {
		return fmt.Errorf("%w (see genbrowser --help)", err)
	}
	// The second signal ends the program at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	defer stop()
	command.BindTo(ctx, (*context.Context)(nil))
	if err := command.Run(); err != nil {
		return err
	}
	return stdout.err
}
