//go:build linux

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/genbrowser/genbrowser/bench/lab"
)

// crowd is all clients.
type crowd struct {
	clients  []client
	reading  sync.WaitGroup
	received atomic.Int64 // messages, each counted once
	failed   atomic.Int64 // tries to come back
	accepted int64        // messages, of which each must come
	faults   chan error   // what a client read and must not have

	returned  time.Time      // when all could come back
	waitingTo int            // the number of the last message that waits for each
	behind    sync.WaitGroup // clients that have not got those yet
}

func newCrowd(n int) *crowd {
	c := &crowd{clients: make([]client, n), faults: make(chan error, 1)}
	for i := range c.clients {
		c.clients[i].i = i
	}
	return c
}

// open opens all streams, some at a time.
func (c *crowd) open() error {
	errs := make(chan error, len(c.clients))
	slots := make(chan struct{}, 128)
	for i := range c.clients {
		slots <- struct{}{}
		go func() {
			events, err := c.clients[i].connect()
			if err == nil {
				c.read(&c.clients[i], events)
			}
			<-slots
			errs <- err
		}()
	}
	for range c.clients {
		if err := <-errs; err != nil {
			return err
		}
	}
	return nil
}

// read lets a client read until its stream is cut.
func (c *crowd) read(cl *client, events *bufio.Reader) {
	c.reading.Go(func() {
		for {
			e, err := readEvent(events)
			if err != nil {
				return
			}
			m, isNew, err := cl.take(&e)
			if err != nil {
				select {
				case c.faults <- err:
				default: // the first one is enough
				}
				return
			}
			if !isNew {
				continue
			}
			c.received.Add(1)
			if m.Lane == filled && m.N == c.waitingTo {
				cl.upToDate = time.Since(c.returned)
				c.behind.Done()
			}
		}
	})
}

// cut closes all connections.
func (c *crowd) cut() {
	for i := range c.clients {
		if conn := c.clients[i].conn; conn != nil {
			conn.Close()
		}
	}
	c.reading.Wait()
}

// fill sends messages to each client, which is away.
func (c *crowd) fill(each int) error {
	conn, err := lab.Dial(*addr, 0)
	if err != nil {
		return err
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	for i := range c.clients {
		cl := &c.clients[i]
		var lines bytes.Buffer
		for k := range each {
			fmt.Fprintf(&lines, `{"to":"%s","body":{"lane":%d,"n":%d}}`+"\n", cl.address, filled, k+1)
		}
		if _, err := conn.Write(lab.Request("POST", "/_gb/send", "Host: storm\r\nContent-Type: application/x-ndjson\r\n", lines.Bytes())); err != nil {
			return err
		}
		if code, err := lab.ReadAnswer(answers); err != nil || code != 200 {
			return fmt.Errorf("messages for client %d: status %d, %w", i, code, err)
		}
		cl.sent[filled] = each
		c.accepted += int64(each)
	}
	c.waitingTo = each
	return nil
}

// expect notes how many messages the senders sent to each client.
func (c *crowd) expect(sent []int) {
	for i, n := range sent {
		c.clients[i].sent[paced] = n
		c.accepted += int64(n)
	}
}

// comeBack lets all clients come back at once, and waits until each has what waits for it.
func (c *crowd) comeBack(patience time.Duration) error {
	c.behind.Add(len(c.clients))
	var ready sync.WaitGroup
	start := make(chan struct{})
	for i := range c.clients {
		ready.Add(1)
		go func() {
			ready.Done()
			<-start
			c.resume(&c.clients[i])
		}()
	}
	ready.Wait()
	c.returned = time.Now()
	close(start)
	done := make(chan struct{})
	go func() {
		c.behind.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case err := <-c.faults:
		return err
	case <-time.After(patience):
		return fmt.Errorf("not all clients came back within %v, after %d tries that failed", patience, c.failed.Load())
	}
}

// resume tries until the client's stream is open.
func (c *crowd) resume(cl *client) {
	for most := 500 * time.Millisecond; ; most = min(2*most, 20*time.Second) {
		events, err := cl.connect()
		if err == nil {
			cl.resumed = time.Since(c.returned)
			c.read(cl, events)
			return
		}
		if c.failed.Add(1) == 1 {
			fmt.Println("the first try that failed:", err)
		}
		time.Sleep(rand.N(most))
	}
}

// settle waits until all that was accepted came, or nothing more comes.
func (c *crowd) settle() {
	for before := int64(-1); ; {
		now := c.received.Load()
		if now == c.accepted || now == before {
			return
		}
		before = now
		time.Sleep(time.Second)
	}
}

func (c *crowd) times(of func(*client) time.Duration) (all []time.Duration) {
	for i := range c.clients {
		all = append(all, of(&c.clients[i]))
	}
	return all
}

// verdict says whether each message came once and in order; nobody reads any more.
func (c *crowd) verdict() error {
	lost, doubled := 0, 0
	for i := range c.clients {
		cl := &c.clients[i]
		lost += cl.lost
		doubled += cl.doubled
		for lane := range lanes {
			lost += cl.sent[lane] - cl.got[lane]
		}
	}
	fmt.Printf("%d messages accepted, %d lost, %d doubled\n", c.accepted, lost, doubled)
	if lost != 0 || doubled != 0 {
		return fmt.Errorf("%d messages lost, %d doubled", lost, doubled)
	}
	select {
	case err := <-c.faults:
		return err
	default:
		return nil
	}
}
