package main_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/genbrowser/genbrowser/address"
	"github.com/genbrowser/genbrowser/web/problem"
)

func TestOpenAndSend(t *testing.T) {
	s := simple(t, "--body", "100")
	reader := launch(t, command(t, nil, "open", s.urls[0]))
	to := reader.next(reader.stdout)
	if !strings.HasPrefix(to, "gba_") {
		t.Fatalf("the first line is %s", to)
	}
	want := func(bodies ...string) {
		t.Helper()
		for _, body := range bodies {
			if got := reader.next(reader.stdout); got != body {
				t.Errorf("got %s, want %s", got, body)
			}
		}
	}

	ok(t, "", "send", s.urls[0], to, `{"hello":"you"}`)
	want(`{"hello":"you"}`)
	for _, body := range []string{"null", "0", "false", `""`} {
		ok(t, "ignored", "send", s.urls[0], to, body)
		want(body)
	}
	ok(t, "1\n\n  2\r\n[3,\t4]", "send", s.urls[0], to) // the last line has no end
	want("1", "2", "[3,4]")
	ok(t, "", "send", s.urls[0], to)

	fails(t, run(t, "", "send", s.urls[0], to, "hello"), `"hello" is not JSON`, `'"hello"'`)
	fails(t, run(t, "", "send", s.urls[0], to, ""), `"" is not JSON`)
	fails(t, run(t, "1\nhello\n2", "send", s.urls[0], to), `"hello" is not JSON`)
	want("1")
	long := `"` + strings.Repeat("x", 100) + `"`
	fails(t, run(t, "5\n"+long+"\n6\n", "send", s.urls[0], to), "message 2: "+problem.TooLarge.Title, "not every message")
	want("5", "6")
	fails(t, run(t, "", "send", s.urls[0], to, long), problem.TooLarge.Title)
	fails(t, run(t, "", "send", s.urls[0], "gba_x", "1"), "malformed")
	fails(t, run(t, "", "send", "nonsense", to, "1"), "https://example.com")
	fails(t, run(t, "", "open", "nonsense"), "https://example.com")

	reader.stop() // the mailbox ends with it
	fails(t, run(t, "", "send", s.urls[0], to, "1"), problem.Closed.Title)
}

func TestSendAnswersWhileStandardInputStaysOpen(t *testing.T) {
	s := simple(t)
	box := openBox(t, s.client(t))
	cmd := command(t, nil, "send", s.urls[0], box.Address().String())
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	sender := launch(t, cmd)
	io.WriteString(stdin, "1\n")
	for m, err := range box.Messages(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		fmt.Sscan(string(m.Body), &n)
		if n == 3 {
			break
		}
		fmt.Fprintln(stdin, n+1)
	}
	s.Process.Kill() // and nothing more comes from standard input
	sender.ended(1)
	if log := sender.text(); !strings.Contains(log, "no answer") {
		t.Errorf("it complains %q", log)
	}
}

func TestSendTimesOut(t *testing.T) {
	silent, err := net.Listen("tcp4", "127.0.0.1:0") // takes connections, and nothing more
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	s := simple(t)
	box := openBox(t, s.client(t))
	to := box.Address().String()
	late := func(stdin string, args ...string) {
		t.Helper()
		fails(t, run(t, stdin, append([]string{"send", "--timeout=2s", "http://" + silent.Addr().String(), to}, args...)...), "no answer for 2s", "--timeout")
	}

	patient := command(t, nil, "send", "--timeout=2s", s.urls[0], to)
	stdin, err := patient.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	sender := launch(t, patient)
	io.WriteString(stdin, "1\n")
	for _, err := range box.Messages(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	late("", "1")
	late("1\n2\n")
	io.WriteString(stdin, "2\n") // after more than the timeout, in which the server owed nothing
	stdin.Close()
	sender.ended(0)

	for _, short := range []string{"0s", "-1s"} {
		fails(t, run(t, "", "send", "--timeout="+short, s.urls[0], to, "1"), "--timeout: ", "is too little")
	}
}

func TestOpenTellsWhyItEnds(t *testing.T) {
	s := simple(t)
	reader := launch(t, command(t, nil, "open", s.urls[0]))
	to, err := address.Parse(reader.next(reader.stdout))
	if err != nil {
		t.Fatal(err)
	}
	url := strings.TrimPrefix(s.urls[0], "http://")
	s.Process.Kill()
	s.ended(-1)
	again := serve(t, 1, []string{"SECRET=" + secret}, "--listen", "tcp4://"+url)
	reader.ended(1)
	if log := reader.text(); !strings.Contains(log, problem.Gone.Title) {
		t.Errorf("it complains %q", log)
	}
	if err := again.client(t).Send(t.Context(), to, 1); !errors.Is(err, problem.Gone) {
		t.Errorf("Send = %v", err)
	}
}
