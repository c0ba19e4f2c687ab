package address

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

// What a grant gives others is what the same text gives them, narrowed.
func TestGrantAddress(t *testing.T) {
	ring := testRing(t, secretA)
	root := ring.MailboxKey(uuid.New())
	for _, tt := range []struct {
		name     string
		caveats  []Caveat
		narrowed bool
		none     bool
	}{
		{"the root", nil, false, false},
		{"narrowed", []Caveat{Expires(time.Unix(1<<40, 0)), Label("x")}, true, false},
		{"no right left", []Caveat{Only(Read | Exit)}, true, true},
		{"as many caveats as can be", repeated(Label("x"), MaxCaveats), true, true},
		{"as long as can be", append(repeated(Label(strings.Repeat("x", 64)), 5), Label(strings.Repeat("x", 13))), true, true},
	} {
		k, err := root.Attenuate(tt.caveats...)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		var g Grant
		if err := ring.Verify(&g, k.Reveal()); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		want, _ := k.Address()
		if tt.none {
			want = Address{}
		}
		if got := g.Address(); got != want || g.Narrowed() != tt.narrowed {
			t.Errorf("%s: %v, narrowed %v; want %v, %v", tt.name, got.String(), g.Narrowed(), want.String(), tt.narrowed)
		}
	}
}

func repeated(c Caveat, n int) (all []Caveat) {
	for range n {
		all = append(all, c)
	}
	return all
}
