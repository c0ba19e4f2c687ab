package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/genbrowser/genbrowser/client"
	"github.com/genbrowser/genbrowser/server"
	"github.com/genbrowser/genbrowser/web/problem"
)

// echoing refuses each message with what it says.
type echoing struct{}

func (echoing) Handle(context.Context, server.Message) error { return nil }

func (echoing) Validate(m *server.Message) error { return errors.New(string(m.Body)) }

// A process that echoes a long message refuses that one, and nothing waits behind it.
func TestLongRefusal(t *testing.T) {
	s := start(t, siteOptions{})
	to, err := s.office.Handle("echoing", echoing{})
	if err != nil {
		t.Fatal(err)
	}
	c, p := connect(t, s.URL, client.Options{}), dial(t, s.URL, client.DialOptions{})
	body := strings.Repeat("<", 10_000) // each is six bytes of JSON
	ways := map[string]func() error{
		"Send":      func() error { return c.Send(limit(t), to, body) },
		"Peer.Send": func() error { return p.Send(limit(t), to, body) },
		"SendMany": func() (err error) {
			for _, err = range c.SendMany(limit(t), slices.Values([]client.Outgoing{{To: to, Body: body}})) {
			}
			return err
		},
	}
	for name, send := range ways {
		err := send()
		var said *problem.Problem
		if !errors.As(err, &said) || !errors.Is(said, problem.Refused) || len(said.Detail) > 1024 || !strings.HasSuffix(said.Detail, "…") {
			t.Errorf("%s: %.200v, want a refusal that is cut", name, err)
		}
	}
	wantError(t, p.Send(limit(t), p.Address(), 1), nil)
}

// What is in the server's place may say more, and is understood as well.
func TestRefusalThatIsNotCut(t *testing.T) {
	long := fmt.Sprintf(`"type":"urn:gen-browser:refused","status":422,"detail":%q`, strings.Repeat("x", 500_000))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Content-Type") != "application/x-ndjson" {
			w.WriteHeader(http.StatusUnprocessableEntity)
		}
		fmt.Fprintf(w, "{%s}\n", long)
	}))
	defer s.Close()
	c := connect(t, s.URL, client.Options{})
	to, err := ring(t).Process("x")
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, c.Send(limit(t), to, 1), problem.Refused)
	for _, err := range c.SendMany(limit(t), slices.Values([]client.Outgoing{{To: to, Body: 1}})) {
		wantError(t, err, problem.Refused)
	}
	serve := func(_ *uplinkScript, _ int, u *upload) {
		for l, ok := u.next(); ok; l, ok = u.next() {
			u.answer(l.ID, long)
		}
	}
	playUplink(t, client.DialOptions{}, serve, func(s *uplinkScript) {
		wantError(t, s.Send(s.ctx, s.to, 1), problem.Refused)
	})
}
