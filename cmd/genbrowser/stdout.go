package main

import "os"

// stdout is what commands print their results to. They need not look whether it took one: run does, at the end.
var stdout = new(checked)

// checked is standard output. After an error it takes nothing more.
type checked struct{ err error }

func (c *checked) Write(p []byte) (n int, err error) {
	if c.err == nil {
		n, c.err = os.Stdout.Write(p)
	}
	return n, c.err
}
