package main_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestVanishedClient: a stream whose client is gone without a word ends as soon as one that takes nothing.
func TestVanishedClient(t *testing.T) {
	s := simple(t, "--slow-reader", "3s", "--heartbeat", "1s")
	streams := func() string {
		resp, err := http.Get(s.urls[0] + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(body), "\ngenbrowser_streams ")
		n, _, _ := strings.Cut(rest, "\n")
		return n
	}
	c := dialTo(t, s.urls[0])
	fmt.Fprint(c, "GET /_gb/mailbox?new HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n")
	if status, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.Contains(status, " 200 ") {
		t.Fatalf("%q, %v", status, err)
	}
	if n := streams(); n != "1" {
		t.Fatalf("%q streams, want 1", n)
	}
	hearNothing(t, c.(*net.TCPConn))
	for began := time.Now(); streams() != "0"; {
		if time.Since(began) > 30*time.Second {
			t.Fatal("its stream does not end")
		}
	}
}

// hearNothing has the system throw away all that comes for a connection, so that nothing of it is acknowledged.
func hearNothing(t testing.TB, c *net.TCPConn) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	nothing := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
	raw.Control(func(fd uintptr) {
		err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &nothing[0]})
	})
	if err != nil {
		t.Fatal(err)
	}
}
