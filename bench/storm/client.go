//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"time"

	"github.com/genbrowser/genbrowser/bench/lab"
)

// client is one reader of a mailbox. It checks that each message comes once and in order.
type client struct {
	i       int
	address string
	key     string
	cursor  string // the last event's id
	conn    net.Conn

	sent     [lanes]int // messages that were accepted for it
	got      [lanes]int // the number of the last message
	lost     int
	doubled  int
	resumed  time.Duration // from the moment when all could come back
	upToDate time.Duration
}

// lanes are the independent orders of messages, for messages of two senders have no order.
const (
	paced = iota
	filled
	lanes
)

// message is a body.
type message struct {
	Lane int    `json:"lane"`
	N    int    `json:"n"` // from 1
	Pad  string `json:"p"`
}

// connect opens the stream, of a new mailbox the first time, and reads up to the init event.
func (c *client) connect() (*bufio.Reader, error) {
	conn, err := lab.Dial(*addr, c.i)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(*patience))
	events, err := c.begin(conn)
	conn.SetDeadline(time.Time{})
	if err != nil {
		conn.Close()
		return nil, err
	}
	c.conn = conn
	return events, nil
}

func (c *client) begin(conn net.Conn) (*bufio.Reader, error) {
	path, headers := "/_gb/mailbox?new", "Host: storm\r\nAccept: text/event-stream\r\n"
	if c.key != "" {
		path = "/_gb/mailbox"
		headers += "Authorization: Bearer " + c.key + "\r\nLast-Event-ID: " + c.cursor + "\r\n"
	}
	if _, err := conn.Write(lab.Request("GET", path, headers, nil)); err != nil {
		return nil, err
	}
	events := bufio.NewReader(conn)
	status, err := events.ReadString('\n')
	if err != nil {
		return nil, err
	}
	if status != "HTTP/1.1 200 OK\r\n" {
		return nil, fmt.Errorf("client %d: the server answers %q", c.i, status)
	}
	for line := status; line != "\r\n"; {
		if line, err = events.ReadString('\n'); err != nil {
			return nil, err
		}
	}
	e, err := readEvent(events)
	if err != nil {
		return nil, err
	}
	var init struct {
		Address, Key string
		Gap          int
		Resumed      bool
	}
	if err := json.Unmarshal(e.data, &init); err != nil || e.name != "init" {
		return nil, fmt.Errorf("client %d: the stream begins with %q %s", c.i, e.name, e.data)
	}
	if c.key == "" {
		c.address, c.key = init.Address, init.Key
	} else if !init.Resumed || init.Gap != 0 {
		return nil, fmt.Errorf("client %d: resumed %v with a gap of %d", c.i, init.Resumed, init.Gap)
	}
	c.cursor = e.id
	return events, nil
}

// take checks a message, and reports whether it is a new one.
func (c *client) take(e *event) (m message, isNew bool, err error) {
	if err := json.Unmarshal(e.data, &m); err != nil || e.name != "" {
		return m, false, fmt.Errorf("client %d: an event %q %s", c.i, e.name, e.data)
	}
	c.cursor = e.id
	last := &c.got[m.Lane]
	if m.N <= *last {
		c.doubled++
		return m, false, nil
	}
	c.lost += m.N - *last - 1
	*last = m.N
	return m, true, nil
}

// event is one event of a stream. It is valid until the next one is read.
type event struct {
	name, id string
	data     []byte
}

func readEvent(r *bufio.Reader) (e event, err error) {
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return e, err
		}
		field, value, _ := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte(": "))
		switch string(field) {
		case "event":
			e.name = string(value)
		case "id":
			e.id = string(value)
		case "data":
			e.data = value
		case "":
			if e.data != nil {
				return e, nil
			}
		}
	}
}
