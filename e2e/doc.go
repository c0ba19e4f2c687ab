// Package e2e tests the real program, as a process: under load, told to stop, with readers that stall, spoken
// to by curl, and alone in the root directory that the image gives it.
package e2e
