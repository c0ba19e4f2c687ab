package web

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// event is one event as an EventSource would see it; a comment's name is ":".
type event struct {
	name, id, data string
	retry          string
}

func (e event) String() string {
	if e.name == "" {
		return e.data
	}
	return e.name + " " + e.data
}

// events reads a stream strictly: every event ends with a blank line, or is not given out.
type events struct {
	t      testing.TB
	header http.Header
	br     *bufio.Reader
	close  func()
}

// stream opens a stream over the site's own client.
func (s *site) stream(path string, headers ...string) *events {
	s.t.Helper()
	e, a := s.tryStream(path, headers...)
	if e == nil {
		s.t.Fatalf("GET %s: %d %s", path, a.status, a.body)
	}
	return e
}

func (s *site) tryStream(path string, headers ...string) (*events, answered) {
	s.t.Helper()
	streaming, cancel := context.WithCancel(ctx)
	r, err := http.NewRequestWithContext(streaming, "GET", s.srv.URL+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	setHeaders(r, headers)
	timer := time.AfterFunc(patience, cancel)
	resp, err := s.srv.Client().Do(r)
	timer.Stop()
	if err != nil {
		cancel()
		s.t.Fatalf("GET %s: %v", path, err)
	}
	if resp.StatusCode != 200 {
		defer cancel()
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return nil, answered{resp.StatusCode, resp.Header, string(b)}
	}
	e := &events{t: s.t, header: resp.Header, br: bufio.NewReader(resp.Body)}
	e.close = sync.OnceFunc(func() { cancel(); resp.Body.Close() })
	s.t.Cleanup(e.close)
	return e, answered{}
}

// read returns the next event, or the error that the stream ended with.
func (e *events) read() (event, error) {
	timer := time.AfterFunc(patience, e.close)
	defer timer.Stop()
	return readEvent(e.br)
}

func readEvent(br *bufio.Reader) (event, error) {
	var ev event
	for first := true; ; first = false {
		line, err := br.ReadString('\n')
		if err != nil {
			return event{}, err
		}
		line = line[:len(line)-1]
		if line == "" {
			return ev, nil
		}
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "event":
			ev.name = value
		case "id":
			ev.id = value
		case "retry":
			ev.retry = value
		case "data":
			if ev.data != "" {
				return ev, fmt.Errorf("an event with two lines of data: %q", line)
			}
			ev.data = value
		case "":
			ev.name = ":"
		default:
			return ev, fmt.Errorf("line %q in a stream (first: %v)", line, first)
		}
	}
}

// next returns the next event that is no heartbeat.
func (e *events) next() event {
	e.t.Helper()
	for {
		ev, err := e.read()
		if err != nil {
			e.t.Fatalf("stream ended: %v", err)
		}
		if ev.name != ":" {
			return ev
		}
	}
}

// expect reads one event for each that is wanted, as [event.String] writes them.
func (e *events) expect(want ...string) (last event) {
	e.t.Helper()
	for _, w := range want {
		if last = e.next(); last.String() != w {
			e.t.Fatalf("got %v, want %s", last, w)
		}
	}
	return last
}

// expectEnd reads until the end of the stream, where nothing more may come.
func (e *events) expectEnd() {
	e.t.Helper()
	if ev, err := e.read(); err == nil {
		e.t.Fatalf("got %v, want the end", ev)
	}
}

// begun is what an init event says.
type begun struct {
	opened
	Resumed bool
	Gap     uint64
	event   event
}

func (e *events) init() begun {
	e.t.Helper()
	ev := e.next()
	b := begun{event: ev}
	if err := json.Unmarshal([]byte(ev.data), &b); err != nil || ev.name != "init" {
		e.t.Fatalf("got %v, want init (%v)", ev, err)
	}
	return b
}
