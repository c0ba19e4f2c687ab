// Command load loads a one-to-one SSE mailbox service the same way for every server under
// comparison: N clients each hold one event stream, W workers POST ~200-byte JSON messages to random
// mailboxes over keep-alive connections, and each message carries its send time.
//
// It prints, per run: resident memory per idle stream, delivered messages a second, the server's CPU
// time per delivered message, latency percentiles, and how many messages were lost.
package main

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
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

var (
	addr     = flag.String("addr", "127.0.0.1:8080", "server address, or those of several nodes, separated by commas")
	kind     = flag.String("kind", "", "nchan, genbrowser, floor")
	n        = flag.Int("n", 1000, "mailboxes (streams)")
	w        = flag.Int("w", 64, "publishing workers")
	dur      = flag.Duration("d", 8*time.Second, "load time")
	pid      = flag.String("pid", "", "server process ids, separated by commas, for CPU and memory")
	size     = flag.Int("size", 200, "payload bytes")
	idleWait = flag.Duration("idle", 3*time.Second, "wait before reading idle memory")
	warm     = flag.Duration("warm", 2*time.Second, "warm-up load, not counted")
	batch    = flag.Int("batch", 1, "messages a request, where the server takes more than one")
)

func req(method, path, host, headers string, body []byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n%s", method, path, host, headers)
	if body != nil {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(body))
	}
	b.WriteString("\r\n")
	b.Write(body)
	return b.Bytes()
}

type nchan struct{}

func (nchan) subscribe(i int) []byte {
	return req("GET", fmt.Sprintf("/sub?id=m%d", i), *addr, "Accept: text/event-stream\r\n", nil)
}
func (nchan) publish(i int, p []byte) []byte {
	return req("POST", fmt.Sprintf("/pub?id=m%d", i), *addr, "Content-Type: application/json\r\n", p)
}
func (nchan) opened(i int, head []byte) bool { return bytes.Contains(head, []byte("\r\n\r\n")) }

// batcher is a target that takes many messages in one request.
type batcher interface {
	publishMany(to []int, payloads [][]byte) []byte
}

// floor is the hand-written net/http server in ./floor: no signing, no routing, no history.
type floor struct{}

func (floor) subscribe(i int) []byte {
	return req("GET", fmt.Sprintf("/mailbox?id=%d", i), *addr, "Accept: text/event-stream\r\n", nil)
}
func (floor) publish(i int, p []byte) []byte {
	return req("POST", fmt.Sprintf("/send?id=%d", i), *addr, "Content-Type: application/json\r\n", p)
}
func (floor) opened(i int, head []byte) bool { return bytes.Contains(head, []byte("\r\n\r\n")) }

func pick(kind string) target {
	switch kind {
	case "nchan":
		return nchan{}
	case "genbrowser":
		return newGenBrowser(*n)
	case "floor":
		return floor{}
	}
	fmt.Fprintln(os.Stderr, "unknown -kind")
	os.Exit(2)
	return nil
}

var marker = []byte(`"t":1`)

// scan reads stream i and records the latency of every message it carries.
func scan(c net.Conn, i int, t target, ready *sync.WaitGroup, lat func(time.Duration), delivered *atomic.Int64) {
	buf := make([]byte, 0, 4096)
	tmp := make([]byte, 4096)
	opened := false
	for {
		k, err := c.Read(tmp)
		if err != nil {
			if !opened {
				fmt.Fprintf(os.Stderr, "stream %d ended before it opened: %v %q\n", i, err, buf)
				ready.Done()
			}
			return
		}
		buf = append(buf, tmp[:k]...)
		if !opened {
			if !t.opened(i, buf) {
				continue
			}
			opened = true
			ready.Done()
		}
		for {
			at := bytes.Index(buf, marker)
			if at < 0 || len(buf) < at+4+20 {
				break
			}
			ns, err := strconv.ParseInt(string(buf[at+4:at+23]), 10, 64)
			if err == nil {
				delivered.Add(1)
				lat(time.Duration(time.Now().UnixNano() - ns))
			}
			buf = buf[at+23:]
		}
		if keep := 64; opened && len(buf) > 8192 {
			buf = append(buf[:0], buf[len(buf)-keep:]...)
		}
	}
}

func dial(i int) (net.Conn, error) {
	// many source addresses, so that ports do not run out
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, byte(1+i/20000), 1)}}
	all := strings.Split(*addr, ",")
	return d.Dial("tcp", all[i%len(all)])
}

func cpuSeconds() float64 {
	total := 0.0
	for _, p := range servers() {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p))
		if err != nil {
			continue
		}
		f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+2:]))
		u, _ := strconv.ParseFloat(f[11], 64)
		s, _ := strconv.ParseFloat(f[12], 64)
		total += (u + s) / 100
	}
	return total
}

func rss() int64 {
	var total int64
	for _, p := range servers() {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p))
		for _, l := range strings.Split(string(b), "\n") {
			if strings.HasPrefix(l, "Pss:") {
				f := strings.Fields(l)
				k, _ := strconv.ParseInt(f[1], 10, 64)
				total += k * 1024
			}
		}
	}
	return total
}

// servers returns the processes of the servers, with their children.
func servers() (all []int) {
	for text := range strings.SplitSeq(*pid, ",") {
		if id, err := strconv.Atoi(text); err == nil {
			all = append(all, family(id)...)
		}
	}
	return all
}

func family(pid int) []int {
	out := []int{pid}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err == nil {
		for _, f := range strings.Fields(string(b)) {
			c, _ := strconv.Atoi(f)
			out = append(out, family(c)...)
		}
	}
	return out
}

func main() {
	flag.Parse()
	t := pick(*kind)
	before := rss()
	var (
		ready     sync.WaitGroup
		delivered atomic.Int64
		counting  atomic.Bool
		mu        [64]sync.Mutex
		lats      [64][]time.Duration
	)
	conns := make([]net.Conn, *n)
	sem := make(chan struct{}, 128)
	t0 := time.Now()
	for i := 0; i < *n; i++ {
		ready.Add(1)
		sem <- struct{}{}
		go func() {
			c, err := dial(i)
			if err != nil {
				fmt.Fprintln(os.Stderr, "dial:", err)
				os.Exit(1)
			}
			conns[i] = c
			c.Write(t.subscribe(i))
			<-sem
			scan(c, i, t, &ready, func(d time.Duration) {
				if counting.Load() {
					s := i & 63
					mu[s].Lock()
					lats[s] = append(lats[s], d)
					mu[s].Unlock()
				}
			}, &delivered)
		}()
	}
	ready.Wait()
	opened := time.Since(t0)
	time.Sleep(*idleWait)
	idle := rss()

	var sent, bad atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	pad := strings.Repeat("x", max(0, *size-40))
	for k := 0; k < *w; k++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			c, err := dial(k)
			if err != nil {
				bad.Add(1)
				return
			}
			defer c.Close()
			br := bufio.NewReaderSize(c, 4096)
			r := rand.New(rand.NewPCG(uint64(k), 7))
			for {
				select {
				case <-stop:
					return
				default:
				}
				to, payloads := make([]int, *batch), make([][]byte, *batch)
				for j := range to {
					to[j] = r.IntN(*n)
					payloads[j] = fmt.Appendf(nil, `{"t":%d,"p":"%s"}`, time.Now().UnixNano(), pad)
				}
				request := []byte(nil)
				if b, ok := t.(batcher); ok && *batch > 1 {
					request = b.publishMany(to, payloads)
				} else {
					to = to[:1]
					request = t.publish(to[0], payloads[0])
				}
				if _, err := c.Write(request); err != nil {
					bad.Add(1)
					return
				}
				code, err := readResponse(br)
				if err != nil {
					bad.Add(1)
					return
				}
				if code/100 != 2 {
					bad.Add(1)
					continue
				}
				sent.Add(int64(len(to)))
			}
		}()
	}
	time.Sleep(*warm)
	counting.Store(true)
	s0, d0, c0, w0 := sent.Load(), delivered.Load(), cpuSeconds(), time.Now()
	time.Sleep(*dur)
	s1, d1, c1, w1 := sent.Load(), delivered.Load(), cpuSeconds(), time.Now()
	counting.Store(false)
	close(stop)
	wg.Wait()
	time.Sleep(500 * time.Millisecond)
	lost := sent.Load() - delivered.Load()
	var all []time.Duration
	for i := range lats {
		all = append(all, lats[i]...)
	}
	sort.Slice(all, func(a, b int) bool { return all[a] < all[b] })
	q := func(p float64) time.Duration {
		if len(all) == 0 {
			return 0
		}
		return all[min(len(all)-1, int(p*float64(len(all))))]
	}
	sec := w1.Sub(w0).Seconds()
	cpu := c1 - c0
	fmt.Printf("%-11s n=%d w=%d open=%.2fs idle=%.2fKiB/stream sent=%.0f/s delivered=%.0f/s cpu=%.2f cores cpu/msg=%.1fus p50=%v p99=%v lost=%d bad=%d rss=%.0fMiB\n",
		*kind, *n, *w, opened.Seconds(), float64(idle-before)/1024/float64(*n), float64(s1-s0)/sec, float64(d1-d0)/sec, cpu/sec,
		cpu*1e6/float64(max(1, d1-d0)), q(.5).Round(time.Microsecond), q(.99).Round(time.Microsecond), lost, bad.Load(), float64(rss())/1024/1024)
	for _, c := range conns {
		if c != nil {
			c.Close()
		}
	}
}

func readResponse(br *bufio.Reader) (int, error) {
	line, err := br.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	code, _ := strconv.Atoi(string(line[9:12]))
	length, chunked := 0, false
	for {
		l, err := br.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		if len(l) <= 2 {
			break
		}
		if len(l) > 16 && bytes.EqualFold(l[:15], []byte("content-length:")) {
			length, _ = strconv.Atoi(strings.TrimSpace(string(l[15:])))
		}
		if len(l) > 18 && bytes.EqualFold(l[:18], []byte("transfer-encoding:")) {
			chunked = true
		}
	}
	if chunked {
		for {
			l, err := br.ReadSlice('\n')
			if err != nil {
				return 0, err
			}
			k, _ := strconv.ParseInt(strings.TrimSpace(string(l)), 16, 64)
			if _, err := io.CopyN(io.Discard, br, k+2); err != nil {
				return 0, err
			}
			if k == 0 {
				return code, nil
			}
		}
	}
	_, err = io.CopyN(io.Discard, br, int64(length))
	return code, err
}
