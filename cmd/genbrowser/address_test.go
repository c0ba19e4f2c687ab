package main_test

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/client"
	"github.com/genbrowser/genbrowser/web/problem"
)

func ring(t testing.TB, secret string) *address.Ring {
	t.Helper()
	r, err := address.NewRing([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestInspect(t *testing.T) {
	r := ring(t, secret)
	process, err := r.Process("logger")
	if err != nil {
		t.Fatal(err)
	}
	key := r.MailboxKey(uuid.MustParse("11111111-2222-4333-8444-555555555555"))
	box, err := key.Address(address.Label("from a friend"), address.Types("ping", "pong"))
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		process.String(): `process  logger
rights   send,call,monitor,link
signed by key \d+
caveat   only send,call,monitor,link`,
		box.String(): `mailbox  11111111-2222-4333-8444-555555555555
rights   send,call,monitor,link
signed by key \d+
caveat   only send,call,monitor,link
caveat   label "from a friend"
caveat   types ping,pong`,
		key.Reveal(): `mailbox  11111111-2222-4333-8444-555555555555
rights   send,call,monitor,link,exit,read,ack,close,mint,revoke
signed by key \d+`,
	} {
		for _, got := range []string{ok(t, "", "address", "inspect", text), ok(t, text+"\n", "address", "inspect", "-"), ok(t, text, "address", "inspect", "-")} {
			if !regexp.MustCompile("^" + want + "$").MatchString(got) {
				t.Errorf("inspect prints\n%s\nwant\n%s", got, want)
			}
		}
	}
	for _, malformed := range []string{"gba_", "hello", "gbk_" + process.String()[4:], process.String()[:30]} {
		r := run(t, "", "address", "inspect", malformed)
		fails(t, r, "malformed")
		if len(malformed) > 10 && strings.Contains(r.err, malformed) {
			t.Errorf("the complaint repeats what may be a key: %s", r.err)
		}
		fails(t, run(t, malformed+"\n", "address", "inspect", "-"), "malformed")
	}
	fails(t, run(t, "", "address", "inspect", "-"))
	fails(t, run(t, "", "address", "inspect"), "address")
}

func TestAttenuate(t *testing.T) {
	s := simple(t)
	c := s.client(t)
	box := openBox(t, c)
	whole := box.Address()
	expired, err := whole.Attenuate(address.Expires(time.Now().Add(-time.Hour)))
	if err != nil {
		t.Fatal(err)
	}
	body := map[string]string{"type": "ping"}
	for _, test := range []struct {
		of   address.Address
		args []string
		want *problem.Kind // of sending body
	}{
		{whole, []string{"--rights", "send"}, nil},
		{whole, []string{"--rights", "call,link"}, problem.MissingRight},
		{whole, []string{"--expires", "1h"}, nil},
		{expired, []string{"--expires", "1h"}, problem.CapabilityExpired},
		{whole, []string{"--max-bytes", "15"}, nil},
		{whole, []string{"--max-bytes", "14"}, problem.TooLarge},
		{whole, []string{"--max-bytes", "0"}, problem.TooLarge},
		{whole, []string{"--types", "ping,pong"}, nil},
		{whole, []string{"--types", "pong"}, problem.TypeNotAllowed},
		{whole, []string{"--label", "x", "--max-bytes", "15", "--types", "pong"}, problem.TypeNotAllowed},
	} {
		narrowed, err := address.Parse(ok(t, "", append([]string{"address", "attenuate", test.of.String()}, test.args...)...))
		if err != nil {
			t.Fatal(err)
		}
		err = c.Send(t.Context(), narrowed, body)
		if test.want == nil && err != nil || test.want != nil && !errors.Is(err, test.want) {
			t.Errorf("%v: Send = %v, want %v", test.args, err, test.want)
		}
	}

	labelled, err := address.Parse(ok(t, box.Address().String()+"\n", "address", "attenuate", "-", "--label", "a friend"))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Send(t.Context(), labelled, 1); err != nil {
		t.Fatal(err)
	}
	var last client.Message
	for last.Via == nil {
		for m, err := range box.Messages(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			last = m
			break
		}
	}
	if strings.Join(last.Via, "|") != "a friend" {
		t.Errorf("via = %q", last.Via)
	}

	text := box.Address().String()
	fails(t, run(t, "", "address", "attenuate", text), "nothing to narrow", "--max-bytes")
	ofServe := command(t, []string{"GENBROWSER_MAX_BYTES=1000", "GENBROWSER_LABEL=x"}, "address", "attenuate", text)
	fails(t, finish(t, ofServe, ""), "nothing to narrow")
	fails(t, run(t, "", "address", "attenuate", text, "--rights", "sned"), `"sned"`, "send")
	fails(t, run(t, "", "address", "attenuate", text, "--label", "a\nb"), "label")
	for _, short := range []string{"0s", "-1h", "999ms"} {
		fails(t, run(t, "", "address", "attenuate", text, "--label", "x", "--expires="+short), "--expires: ", "want 1s or more")
	}
	for _, few := range []string{"-1", "-5"} {
		fails(t, run(t, "", "address", "attenuate", text, "--label", "x", "--max-bytes="+few), "--max-bytes: "+few, "want 0")
	}
	fails(t, run(t, "", "address", "attenuate", text[:20], "--label", "x"), "malformed")
	r := run(t, box.Key().Reveal(), "address", "attenuate", "-", "--label", "x")
	fails(t, r, "gba_")
	if strings.Contains(r.err, box.Key().Reveal()) {
		t.Error("the complaint repeats the key")
	}
}
