package web

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/server"
)

// told returns the addresses that the holder of a key is told, by POST and on a stream.
func (s *site) told(key string) (addresses []string) {
	s.t.Helper()
	a := s.do("POST", "/_gb/mailbox", "", "Authorization", "Bearer "+key)
	if a.status != 200 {
		s.t.Fatalf("POST: %d %s", a.status, a.body)
	}
	e := s.stream("/_gb/mailbox", "Authorization", "Bearer "+key)
	defer e.close()
	for _, text := range []string{a.body, e.next().data} {
		var o map[string]any
		if err := json.Unmarshal([]byte(text), &o); err != nil {
			s.t.Fatal(err)
		}
		addr, there := o["address"].(string)
		if _, member := o["address"]; member != (there && addr != "") {
			s.t.Errorf("a member that is empty: %s", text)
		}
		addresses = append(addresses, addr)
	}
	return addresses
}

// A key that was narrowed gives its holder no address that may do more, or lasts longer, than the key.
func TestAddressOfNarrowedKey(t *testing.T) {
	s := serve(t, setup{})
	o := s.open()
	expires := time.Now().Add(time.Hour)
	read := address.Read | address.Ack
	full := make([]address.Caveat, address.MaxCaveats)
	for i := range full {
		full[i] = address.Expires(expires)
	}
	for _, tt := range []struct {
		name    string
		caveats []address.Caveat
		rights  address.Rights // of the address; 0: there is none
	}{
		{"reads only", []address.Caveat{address.Only(address.Read)}, 0},
		{"all the owner's rights", []address.Caveat{address.Only(read | address.Close | address.Mint | address.Revoke)}, 0},
		{"reads, and others may send", []address.Caveat{address.Only(read | address.Send)}, address.Send},
		{"may end the mailbox", []address.Caveat{address.Only(read | address.Exit)}, 0},
		{"expires", []address.Caveat{address.Expires(expires), address.Label("auditor"), address.MaxBytes(3), address.Types("x")},
			address.Send | address.Call | address.Monitor | address.Link},
		{"no room for a caveat", full, 0},
	} {
		key := attenuated(t, o.Key, tt.caveats...)
		for _, got := range s.told(key) {
			if tt.rights == 0 {
				if got != "" {
					t.Errorf("%s: got %s, want no address", tt.name, got)
				}
				continue
			}
			d, err := address.Inspect(got)
			if err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
			of, err := address.Inspect(key)
			if err != nil {
				t.Fatal(err)
			}
			var g address.Grant
			if err := s.office.Verify(&g, got); err != nil || d.Rights != tt.rights {
				t.Errorf("%s: rights %v, want %v (%v)", tt.name, d.Rights, tt.rights, err)
			}
			if kept := d.Caveats[:len(d.Caveats)-1]; !slices.EqualFunc(kept, of.Caveats, func(a, b address.Caveat) bool { return a.String() == b.String() }) {
				t.Errorf("%s: caveats %v, want those of the key first: %v", tt.name, d.Caveats, of.Caveats)
			}
		}
	}
	labelled := s.told(attenuated(t, o.Key, address.Label("auditor")))[0]
	e := s.stream("/_gb/mailbox", "Authorization", "Bearer "+o.Key)
	e.init()
	s.mustSend(labelled, "1")
	if ev := e.next(); !strings.Contains(ev.data, `"via":["auditor"]`) {
		t.Errorf("by the address of a labelled key came %v", ev)
	}
}

// The address of a key that was not narrowed is signed anew, also after the secret changed.
func TestAddressOfRootKey(t *testing.T) {
	before, err := address.NewRing([]byte(strings.Repeat("a", 32)))
	if err != nil {
		t.Fatal(err)
	}
	both, err := address.NewRing([]byte(strings.Repeat("b", 32)), []byte(strings.Repeat("a", 32)))
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, setup{server: server.Options{Keys: both}})
	o := s.open()
	old := before.MailboxKey(s.grant(o.Key).Mailbox()).Reveal()
	for _, key := range []string{o.Key, old} {
		for _, got := range s.told(key) {
			if got != o.Address {
				t.Errorf("%.8s…: got %s, want %s", key, got, o.Address)
			}
		}
	}
}
