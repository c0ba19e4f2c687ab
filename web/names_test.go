package web

import (
	"net/http"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/address"
)

// TestRegisterNeeds holds what a key must allow for names, and that registering counts as a message.
func TestRegisterNeeds(t *testing.T) {
	all := func(*http.Request, string) bool { return true }
	s := serve(t, setup{web: Options{Register: all, SendRate: 0.001, SendBurst: 2}})
	o := s.open()
	body := `{"address":"` + o.Address + `"}`
	register := func(key string) answered {
		return s.do("PUT", "/_gb/names/n", body, "Authorization", "Bearer "+key)
	}
	notMint := attenuated(t, o.Key, address.Only(address.Read|address.Ack|address.Close|address.Revoke))
	expectProblem(t, "a key without the right", register(notMint), 403, "missing-right")
	expectProblem(t, "an address", register(o.Address), 403, "missing-right")
	expired := attenuated(t, o.Key, address.Expires(time.Now().Add(-time.Hour)))
	expectProblem(t, "a key that expired", register(expired), 403, "capability-expired")
	if a := register(attenuated(t, o.Key, address.Only(address.Mint))); a.status != 204 {
		t.Errorf("a key to mint: %d %s", a.status, a.body)
	}
	a := s.do("DELETE", "/_gb/names/n", "", "Authorization", "Bearer "+notMint)
	expectProblem(t, "to take it back", a, 403, "missing-right")
	if a := s.do("GET", "/_gb/whereis/n", ""); a.status != 200 {
		t.Errorf("whereis: %d %s", a.status, a.body)
	}
	if n := s.metric("genbrowser_registered_names"); n != "1" {
		t.Errorf("%s names are counted", n)
	}
	if a := register(o.Key); a.status != 204 {
		t.Errorf("the second one: %d %s", a.status, a.body)
	}
	expectProblem(t, "the third one", register(o.Key), 429, "too-many-messages")
}
