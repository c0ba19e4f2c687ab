package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func message(body string) item { return item{message: Message{Body: json.RawMessage(body)}} }

// holds takes all that is in an inbox: bodies, and gaps as how many are missing.
func (i *inbox) holds() string {
	var all []string
	for it, ok := i.take(); ok; it, ok = i.take() {
		var gap *GapError
		if errors.As(it.err, &gap) {
			all = append(all, fmt.Sprintf("gap(%d)", gap.Missing))
			continue
		}
		all = append(all, string(it.message.Body))
	}
	return strings.Join(all, " ")
}

func TestInboxIsBounded(t *testing.T) {
	gap := func(n uint64) item { return item{err: &GapError{n}} }
	for _, test := range []struct {
		bound limits
		put   []item
		want  string
	}{
		{limits{Backlog: 3}, []item{message("1"), message("2"), message("3")}, "1 2 3"},
		{limits{Backlog: 3}, []item{message("1"), message("2"), message("3"), message("4")}, "gap(1) 2 3 4"},
		{limits{Backlog: 1}, []item{message("1"), message("2"), message("3"), message("4")}, "gap(3) 4"},
		{limits{Backlog: 2}, []item{gap(5), message("1"), message("2"), gap(3), message("3"), message("4")}, "gap(7) gap(3) 3 4"},
		{limits{Backlog: 2}, []item{message("1"), gap(0), message("2"), message("3"), message("4")}, "gap(0) 3 4"},
		{limits{Backlog: 2}, []item{gap(0), message("1"), message("2"), gap(7)}, "gap(0) 1 2 gap(7)"},
		{limits{BacklogBytes: 4}, []item{message("11"), message("22"), message("3")}, "gap(1) 22 3"},
		{limits{BacklogBytes: 4}, []item{message("1"), message("222222")}, "gap(1) 222222"},
		{limits{}, []item{message("1"), message("2")}, "1 2"},
	} {
		i := newInbox()
		for _, it := range test.put {
			i.put(it, test.bound)
		}
		if got := i.holds(); got != test.want || i.count != 0 || i.bytes != 0 {
			t.Errorf("%+v: %q, want %q; %d messages of %d bytes are left", test.bound, got, test.want, i.count, i.bytes)
		}
	}
}
