package server

// Mesh is how the nodes of a cluster talk to each other, beside the log. What is sent may get lost; what one node
// sends another arrives in order.
type Mesh interface {
	// Join begins to receive what is sent to node, and what is broadcast. receive is called by one goroutine at a
	// time; data is its to keep.
	Join(node string, receive func(from string, data []byte)) error
	// Leave ends that; receive is not called any more once it returns.
	Leave() error
	// Send sends to one node, Broadcast to all others, as the node that joined. Neither waits for an answer, or keeps data.
	Send(to string, data []byte) error
	Broadcast(data []byte) error
	// MaxSize is how long data may be, in bytes.
	MaxSize() int
}
