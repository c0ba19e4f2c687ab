//go:build !linux

package main

import "net"

// listenPrivately listens on a socket with the permissions that the umask leaves, until they are set.
func listenPrivately(path string) (net.Listener, error) { return net.Listen("unix", path) }
