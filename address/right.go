package address

import "strings"

// Rights is a set of things that a capability allows.
type Rights uint16

// The low byte holds what others may do with an address, the high byte what only a mailbox's owner may.
const (
	Send Rights = 1 << iota
	Call
	Monitor
	Link
	Exit
)

const (
	Read Rights = 1 << (iota + 8)
	Ack
	Close
	Mint
	Revoke
)

const (
	publicRights = Send | Call | Monitor | Link | Exit
	ownerRights  = Read | Ack | Close | Mint | Revoke
	allRights    = publicRights | ownerRights

	// addressRights is what the address of a mailbox or process carries when it is first handed out.
	addressRights = Send | Call | Monitor | Link
)

var rightNames = []struct {
	right Rights
	name  string
}{
	{Send, "send"}, {Call, "call"}, {Monitor, "monitor"}, {Link, "link"}, {Exit, "exit"},
	{Read, "read"}, {Ack, "ack"}, {Close, "close"}, {Mint, "mint"}, {Revoke, "revoke"},
}

// String lists the rights, such as "send,call"; "none" for the empty set.
func (r Rights) String() string {
	var names []string
	for _, n := range rightNames {
		if r&n.right != 0 {
			names = append(names, n.name)
		}
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ",")
}

// ParseRight returns the right of that name, such as "send", and whether there is one.
func ParseRight(name string) (Rights, bool) {
	for _, n := range rightNames {
		if n.name == name {
			return n.right, true
		}
	}
	return 0, false
}
