package client_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/genbrowser/genbrowser/client"
	"github.com/genbrowser/genbrowser/web/problem"
)

// TestSendBatch holds that a batch arrives in order, and tells which of its messages were not accepted.
func TestSendBatch(t *testing.T) {
	s := start(t, siteOptions{})
	a, b := dial(t, s.URL, client.DialOptions{}), dial(t, s.URL, client.DialOptions{})
	closed := dial(t, s.URL, client.DialOptions{})
	gone := closed.Address()
	if err := closed.Close(limit(t)); err != nil {
		t.Fatal(err)
	}
	var batch []client.Outgoing
	for n := range 600 { // more than may be unanswered
		batch = append(batch, client.Outgoing{To: b.Address(), Body: n})
	}
	wantError(t, a.SendBatch(limit(t), batch), nil)
	wantError(t, a.SendBatch(limit(t), nil), nil)
	mixed := []client.Outgoing{{To: b.Address(), Body: 600}, {To: gone, Body: 1}, {To: b.Address(), Body: make(chan int)}, {To: b.Address(), Body: 601}}
	err := a.SendBatch(limit(t), mixed)
	var failed *client.BatchError
	if !errors.As(err, &failed) || len(failed.Errors) != 4 || failed.Errors[0] != nil || failed.Errors[3] != nil || failed.Errors[2] == nil {
		t.Fatalf("SendBatch = %v", err)
	}
	wantProblem(t, failed.Errors[1], problem.Closed, "")
	if !errors.Is(err, problem.Closed) || !strings.Contains(err.Error(), "2 of 4") || !strings.Contains(err.Error(), "message 1:") {
		t.Errorf("the error is %v", err)
	}
	for n := range 602 {
		m, err := b.Receive(limit(t))
		if err != nil || string(m.Body) != fmt.Sprint(n) {
			t.Fatalf("message %d is %s, %v", n, m.Body, err)
		}
	}
}
