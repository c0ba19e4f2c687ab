//go:build !linux

package web

// hangups is for systems that can tell of many connections at once; on others each stream waits for its own.
type hangups struct{}

func (*hangups) watch(*stream, *socket) bool { return false }

func (*hangups) forget(*stream, *socket) {}

func (*hangups) close() {}
