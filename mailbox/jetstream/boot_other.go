//go:build !linux

package jetstream

// bootID is empty: the system does not tell whether it was started anew.
func bootID() string { return "" }
