//go:build linux

package main

import (
	"bytes"
	"fmt"

	"github.com/genbrowser/genbrowser/bench/lab"
)

// target knows how one server names mailboxes, subscribes and publishes.
type target interface {
	// subscribe returns the raw HTTP/1.1 request that opens mailbox i's stream.
	subscribe(i int) []byte
	// publish returns the raw HTTP/1.1 request that sends payload to mailbox i.
	publish(i int, payload []byte) []byte
	// opened is called with what the stream of mailbox i printed first; it reports whether i is ready.
	opened(i int, head []byte) bool
}

// batcher is a target that takes many messages in one request.
type batcher interface {
	// lines returns the body that sends payloads[j] to mailbox to[j].
	lines(to []int, payloads [][]byte) []byte
	// publishMany returns the request with such a body, or the head of one that is sent in chunks.
	publishMany(lines []byte) []byte
	publishChunks() []byte
}

func pick(kind string) (target, error) {
	switch kind {
	case "nchan":
		return nchan{}, nil
	case "genbrowser":
		return genBrowser{address: make([][]byte, *n)}, nil
	case "floor":
		return floor{}, nil
	}
	return nil, fmt.Errorf("-kind %q; want nchan, genbrowser or floor", kind)
}

func request(method, path, headers string, body []byte) []byte {
	return lab.Request(method, path, "Host: "+*addr+"\r\n"+headers, body)
}

// nchan is nginx with ../compare/nchan.conf.
type nchan struct{}

func (nchan) subscribe(i int) []byte {
	return request("GET", fmt.Sprintf("/sub?id=m%d", i), "Accept: text/event-stream\r\n", nil)
}
func (nchan) publish(i int, p []byte) []byte {
	return request("POST", fmt.Sprintf("/pub?id=m%d", i), "Content-Type: application/json\r\n", p)
}
func (nchan) opened(_ int, head []byte) bool { return bytes.Contains(head, []byte("\r\n\r\n")) }

// floor is the hand-written net/http server in ../floor: no signing, no routing, no history.
type floor struct{}

func (floor) subscribe(i int) []byte {
	return request("GET", fmt.Sprintf("/mailbox?id=%d", i), "Accept: text/event-stream\r\n", nil)
}
func (floor) publish(i int, p []byte) []byte {
	return request("POST", fmt.Sprintf("/send?id=%d", i), "Content-Type: application/json\r\n", p)
}
func (floor) opened(_ int, head []byte) bool { return bytes.Contains(head, []byte("\r\n\r\n")) }

// genBrowser is this project: the stream's first event carries the mailbox's address.
type genBrowser struct{ address [][]byte }

func (genBrowser) subscribe(int) []byte {
	return request("GET", "/_gb/mailbox", "Accept: text/event-stream\r\n", nil)
}

func (g genBrowser) publish(i int, p []byte) []byte {
	return request("POST", "/_gb/send/"+string(g.address[i]), "Content-Type: application/json\r\n", p)
}

func (g genBrowser) lines(to []int, payloads [][]byte) []byte {
	var b bytes.Buffer
	for j, i := range to {
		fmt.Fprintf(&b, "{\"to\":\"%s\",\"body\":%s}\n", g.address[i], payloads[j])
	}
	return b.Bytes()
}

func (genBrowser) publishMany(lines []byte) []byte {
	return request("POST", "/_gb/send", "Content-Type: application/x-ndjson\r\n", lines)
}

func (genBrowser) publishChunks() []byte {
	return request("POST", "/_gb/send", "Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n", nil)
}

func (g genBrowser) opened(i int, head []byte) bool {
	_, rest, found := bytes.Cut(head, []byte(`"address":"`))
	if !found {
		return false
	}
	address, _, found := bytes.Cut(rest, []byte(`"`))
	g.address[i] = bytes.Clone(address)
	return found
}
