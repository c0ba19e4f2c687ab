// Package jetstream keeps a [mailbox.Log] in NATS JetStream: in a server that runs inside this process on a data
// directory, alone or as one of a cluster, or in a NATS that runs elsewhere.
//
// The whole log is one stream, so that its order is the stream's. Each writer has a lane, which is a subject of
// its own, and every publish names the sequence that the lane's newest message must have:
//
//	genbrowser.log.6f1c…   1     3  4     7  8   (8 is a seal)
//	genbrowser.log.b20e…      2        5  6
//
// That one condition does three things. A publish that is tried again after a lost answer is stored once. Two
// writers can't mix in one lane. And a seal is a message on the lane that it ends: whatever its writer sends
// afterwards names an older sequence, and is refused.
package jetstream
