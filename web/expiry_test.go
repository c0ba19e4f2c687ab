package web

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/server"
)

// A reader that is behind when its key ends gets no more of what waits; that is for who comes with a key that lasts.
func TestKeyWithAnEndEndsABacklog(t *testing.T) {
	const before, after = 100, 50
	s := serve(t, setup{
		server: server.Options{Limits: mailbox.Limits{Backlog: before + after, BacklogBytes: 64 << 20}},
		web:    Options{SendBuffer: 4 << 10, Heartbeat: 400 * time.Millisecond},
	})
	o := s.open()
	expires := time.Unix(time.Now().Unix()+2, 0)
	short := attenuated(t, o.Key, address.Expires(expires))
	_, br := s.rawStream("Authorization: Bearer " + short + "\r\n")
	pad := strings.Repeat("x", 4000)
	post := func(from, to int) {
		for n := from; n < to; n++ {
			posted, err := s.office.Post(o.Address, &server.Letter{Body: fmt.Appendf(nil, `"%d %s"`, n, pad)})
			if err != nil {
				t.Fatal(err)
			}
			if reader, _ := posted.Wait(); reader != nil {
				reader.Wake()
			}
		}
	}
	post(0, before)
	until(t, "the key is over", func() bool { return isOver(expires.Unix()) })
	post(before, before+after)

	read, end := 0, ""
	for end == "" {
		ev, err := readEvent(br)
		if err != nil {
			t.Fatalf("after %d messages: %v, want a bye", read, err)
		}
		switch ev.name {
		case "":
			read++
		case "bye":
			end = ev.data
		}
	}
	if end != `{"reason":"expired"}` || read >= before {
		t.Errorf("%d of %d messages that were there before the key ended, then %s", read, before, end)
	}
	e := s.stream("/_gb/mailbox", "Authorization", "Bearer "+o.Key)
	e.init()
	for n := range before + after { // none was acknowledged
		if ev := e.next(); !strings.HasPrefix(ev.data, fmt.Sprintf(`"%d `, n)) {
			t.Fatalf("message %d: %.40s", n, ev.data)
		}
	}
}

// A long-poll whose key ended before it read has nothing to read.
func TestKeyEndsWhileAPollReads(t *testing.T) {
	s := serve(t, setup{})
	o := s.open()
	p := &poller{wake: make(chan struct{}, 1), end: make(chan error, 1), expires: time.Now().Unix()}
	sub, err := s.office.Subscribe(s.grant(o.Key), server.Subscribing{}, p)
	if err != nil {
		t.Fatal(err)
	}
	s.mustSend(o.Address, "1")
	r, _ := http.NewRequestWithContext(ctx, "GET", "/", nil)
	if body, err := p.read(r, sub, 0); string(body) != polled(o, 0, 0) || err != nil {
		t.Errorf("with a key that is over: %s %v", body, err)
	}
	sub.Close()
	expectPoll(t, s.poll(o, "wait=0s"), polled(o, 0, 0, "1"))
}
