package server

import (
	"encoding/json"
	"errors"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/mailbox"
)

// tally adds up what it is sent, and tells a mailbox each sum.
func tally(to address.Address) Step[int] {
	return func(sum int, m Message) (int, []Outgoing, error) {
		if m.Kind == mailbox.KindCall {
			return sum, []Outgoing{ReplyTo(m, sum)}, nil
		}
		var n int
		if err := json.Unmarshal(m.Body, &n); err != nil {
			return sum + 1000, []Outgoing{{To: to, Body: "no number"}}, err
		}
		sum += n
		switch n {
		case 100:
			panic("too much")
		case 101:
			return sum, []Outgoing{{To: to, Body: "first"}, {To: to, Body: make(chan int)}}, nil
		case 102:
			return sum, []Outgoing{{To: to, Body: "first"}, {Body: "to nobody"}}, nil
		}
		return sum, []Outgoing{{To: to, Body: sum}, {To: to, Body: "that was it"}}, nil
	}
}

// A step is a function: it can be tried with no server.
func TestStepAlone(t *testing.T) {
	step := tally(address.Address{})
	sum, out, err := step(1, Message{Body: []byte("2")})
	if want := []Outgoing{{Body: 3}, {Body: "that was it"}}; sum != 3 || err != nil || !reflect.DeepEqual(out, want) {
		t.Errorf("step = %v, %v, %v", sum, out, err)
	}
	_, out, _ = step(3, Message{Kind: mailbox.KindCall, Ref: "r"})
	if want := []Outgoing{{Ref: "r", Body: 3}}; !reflect.DeepEqual(out, want) {
		t.Errorf("a call leads to %v, want %v", out, want)
	}
}

// What a step wants sent is sent after it succeeded; one that does not leaves no trace.
func TestPure(t *testing.T) {
	var log logged
	s := newServer(t, Options{Logger: log.logger()})
	m := open(t, s)
	sub, _ := subscribe(t, s, m, Subscribing{})
	a, err := Pure(s, "tally", 0, tally(m.Address))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Pure(s, "tally", 0, tally(m.Address)); !errors.Is(err, ErrNameTaken) {
		t.Errorf("second Pure = %v, want ErrNameTaken", err)
	}
	mustPost(t, s, a, "1", "100", `"text"`, "101", "102", "2")
	expectCall(t, s, a, 0, "3")
	expectRead(t, sub, `1 "that was it" 3 "that was it"`)
	if got := log.String(); !strings.Contains(got, "step panicked") || !strings.Contains(got, "message 1 has no address") {
		t.Errorf("the log does not say what failed: %s", got)
	}
}

// A step can answer an earlier message's call, and once; a call whose step fails fails.
func TestPureAnswersLater(t *testing.T) {
	var log logged
	s := newServer(t, Options{Logger: log.logger()})
	a, err := Pure(s, "p", Message{}, func(held Message, m Message) (Message, []Outgoing, error) {
		switch string(m.Body) {
		case `"hold"`:
			return m, nil, nil
		case `"fail"`:
			return Message{}, []Outgoing{ReplyTo(m, "never sent")}, errors.New("no such thing")
		case `"panic"`:
			panic("oh")
		}
		return held, []Outgoing{ReplyTo(held, "at last"), ReplyTo(m, "done")}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	held := make(chan string)
	started := s.processes.taken()
	go func() {
		got, err := s.Call(ctx, a, "hold")
		if err != nil {
			t.Errorf("Call = %v", err)
		}
		held <- string(got)
	}()
	for s.processes.taken() == started {
		runtime.Gosched() // until the call is in the queue
	}
	for _, body := range []string{"fail", "panic"} {
		if _, err := s.Call(ctx, a, body); !errors.Is(err, ErrCallFailed) {
			t.Errorf("Call(%s) = %v, want ErrCallFailed", body, err)
		}
	}
	expectCall(t, s, a, "release", `"done"`)
	if got := <-held; got != `"at last"` {
		t.Errorf("the call that was held = %s", got)
	}
	expectCall(t, s, a, "release", `"done"`)
	shutDown(t, s)
	if !strings.Contains(log.String(), "pure process could not send") {
		t.Errorf("the second answer is not logged: %s", log.String())
	}
}
