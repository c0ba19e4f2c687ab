package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/genbrowser/genbrowser/address"
)

type addressCmd struct {
	Inspect   inspect   `cmd:"" help:"Show what an address or key is for and what it allows. It is not verified: only its server can."`
	Attenuate attenuate `cmd:"" help:"Narrow an address, and print the new one."`
}

type inspect struct {
	Text string `arg:"" name:"address" help:"An address; - reads it from standard input, which keeps a key out of the shell's history."`
}

func (c *inspect) Run() error {
	text, err := argument(c.Text)
	if err != nil {
		return err
	}
	d, err := address.Inspect(text)
	if err != nil {
		return err
	}
	if d.Kind == address.Mailbox {
		fmt.Fprintln(stdout, "mailbox ", d.Mailbox)
	} else {
		fmt.Fprintln(stdout, "process ", d.Name)
	}
	fmt.Fprintln(stdout, "rights  ", d.Rights)
	fmt.Fprintln(stdout, "signed by key", d.KeyID)
	for _, c := range d.Caveats {
		fmt.Fprintln(stdout, "caveat  ", c)
	}
	return nil
}

// attenuate takes nothing from the environment, where serve has settings of the same names.
type attenuate struct {
	Text     string         `arg:"" name:"address" help:"An address; - reads it from standard input."`
	Rights   []string       `help:"Leave only these: send, call, monitor, link, exit." placeholder:"RIGHT,…" env:"-"`
	Expires  *time.Duration `help:"End it after this time, such as 24h; default: never." placeholder:"DURATION" env:"-"`
	MaxBytes *int           `help:"Allow bodies of at most so many bytes." placeholder:"N" env:"-"`
	Types    []string       `help:"Allow only messages whose \"type\" is one of these." placeholder:"TYPE,…" env:"-"`
	Label    string         `help:"Mark it: the mailbox's owner sees the label with each message." env:"-"`
}

func (c *attenuate) Run() error {
	text, err := argument(c.Text)
	if err != nil {
		return err
	}
	a, err := address.Parse(text)
	if err != nil {
		return err
	}
	caveats, err := c.caveats()
	if err != nil {
		return err
	}
	if a, err = a.Attenuate(caveats...); err != nil {
		return err
	}
	fmt.Fprintln(stdout, a)
	return nil
}

func (c *attenuate) caveats() (caveats []address.Caveat, err error) {
	if c.Rights != nil {
		var rights address.Rights
		for _, name := range c.Rights {
			r, ok := address.ParseRight(name)
			if !ok {
				return nil, fmt.Errorf("--rights: %q is no right; want send, call, monitor, link or exit", name)
			}
			rights |= r
		}
		caveats = append(caveats, address.Only(rights))
	}
	if c.Expires != nil {
		if *c.Expires < time.Second {
			return nil, fmt.Errorf("--expires: %v is too little; want 1s or more", *c.Expires)
		}
		caveats = append(caveats, address.Expires(time.Now().Add(*c.Expires)))
	}
	if c.MaxBytes != nil {
		if *c.MaxBytes < 0 {
			return nil, fmt.Errorf("--max-bytes: %d is too little; want 0, with which no body may pass, or more", *c.MaxBytes)
		}
		caveats = append(caveats, address.MaxBytes(*c.MaxBytes))
	}
	if c.Types != nil {
		caveats = append(caveats, address.Types(c.Types...))
	}
	if c.Label != "" {
		caveats = append(caveats, address.Label(c.Label))
	}
	if caveats == nil {
		return nil, errors.New("nothing to narrow: want one of --rights, --expires, --max-bytes, --types, --label")
	}
	return caveats, nil
}

// argument returns the argument, or the first line of standard input if it is "-".
func argument(text string) (string, error) {
	if text != "-" {
		return text, nil
	}
	var line string
	_, err := fmt.Fscanln(os.Stdin, &line)
	return strings.TrimSpace(line), err
}
