//go:build unix

// Command limit measures what the kernel alone takes to write one event of 260 bytes to one of many loopback connections
// at random: no server that writes each event by itself can take less CPU a message.
//
//	taskset -c 0 limit -n 1000 & taskset -c 1 limit -n 1000 -read
package main

import (
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"time"
)

const (
	addr   = "127.0.0.1:8099"
	writes = 300_000
)

func main() {
	n := flag.Int("n", 1000, "connections")
	reads := flag.Bool("read", false, "be the one that reads")
	flag.Parse()
	if *reads {
		read(*n)
		return
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		log.Fatal(err)
	}
	conns := make([]net.Conn, *n)
	for i := range conns {
		if conns[i], err = l.Accept(); err != nil {
			log.Fatal(err)
		}
	}
	event := make([]byte, 260)
	for range 3 {
		before, t0 := cpu(), time.Now()
		for range writes {
			if _, err := conns[rand.IntN(*n)].Write(event); err != nil {
				log.Fatal(err)
			}
		}
		fmt.Printf("%d connections: %.2f us CPU a write, %.0f writes/s\n", *n, float64((cpu()-before).Nanoseconds())/1e3/writes, writes/time.Since(t0).Seconds())
	}
}

func read(n int) {
	var readers sync.WaitGroup
	for range n {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			log.Fatal(err)
		}
		readers.Go(func() {
			b := make([]byte, 4096)
			for {
				if _, err := c.Read(b); err != nil {
					return
				}
			}
		})
	}
	readers.Wait()
}

// cpu is the processor time that this process has taken.
func cpu() time.Duration {
	var r syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
