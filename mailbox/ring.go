package mailbox

// ring is a queue of messages in one growing slice. Its zero value is empty.
type ring struct {
	slots []Message // a power of two of them
	head  uint32    // the slot of the oldest
	count uint32
}

const (
	firstSlots = 4
	idleSlots  = 16 // an empty ring keeps no more than these
)

func (r *ring) len() int { return int(r.count) }

func (r *ring) at(i int) *Message { return &r.slots[(int(r.head)+i)&(len(r.slots)-1)] }

func (r *ring) push(m Message) {
	if r.len() == len(r.slots) {
		grown := make([]Message, max(firstSlots, 2*len(r.slots)))
		for i := range r.len() {
			grown[i] = *r.at(i)
		}
		r.slots, r.head = grown, 0
	}
	r.count++
	*r.at(r.len() - 1) = m
}

// pop removes the oldest message.
func (r *ring) pop() Message {
	m := *r.at(0)
	*r.at(0) = Message{}
	r.head = (r.head + 1) & uint32(len(r.slots)-1)
	if r.count--; r.count == 0 && len(r.slots) > idleSlots {
		r.slots, r.head = nil, 0
	}
	return m
}

// keep removes the messages for which f is false.
func (r *ring) keep(f func(*Message) bool) {
	kept := 0
	for i := range r.len() {
		if m := r.at(i); f(m) {
			*r.at(kept) = *m
			kept++
		}
	}
	for i := kept; i < r.len(); i++ {
		*r.at(i) = Message{}
	}
	r.count = uint32(kept)
}

// after returns the index of the first message whose Seq is above seq.
func (r *ring) after(seq uint64) int {
	low, high := 0, r.len()
	for low < high {
		if mid := (low + high) / 2; r.at(mid).Seq > seq {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return low
}
