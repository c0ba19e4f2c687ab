// Package mailbox is the mailbox as a state machine: an ordered, bounded queue of messages for one reader.
//
// A [Mailbox] holds memory and rules, nothing else: no goroutine, no timer, no lock, no clock. Its caller
// brings the time and sees to it that one goroutine at a time uses it. Adding a message costs the same
// whatever is waiting.
//
//	first                      last
//	  │                          │
//	  4   5   6   7   8   9  10  11        a message each, numbered without holes
//	      │           │
//	   acked      delivered
//
// Messages up to acked are forgotten. Those up to delivered were written to a reader, and are kept so that it
// can resume; unless the reader holds them, they make room for new ones when the mailbox is full.
package mailbox
