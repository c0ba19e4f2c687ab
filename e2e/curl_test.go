//go:build linux

package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

// curl is a stream that curl reads.
type curl struct {
	*exec.Cmd
	out *bufio.Reader
}

func startCurl(t *testing.T, p *program, lastID string) *curl {
	t.Helper()
	args := []string{"-sN", p.url + "/_gb/mailbox", "-H", "Accept: text/event-stream"}
	if lastID != "" {
		args = append(args, "-H", "Last-Event-ID: "+lastID)
	}
	cmd := exec.Command("curl", args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal("these tests need curl: ", err)
	}
	c := &curl{cmd, bufio.NewReaderSize(out, 1<<17)}
	t.Cleanup(c.stop)
	return c
}

func (c *curl) stop() {
	c.Process.Kill()
	io.Copy(io.Discard, c.out)
	c.Wait()
}

// open returns the address from init.
func (c *curl) open(t *testing.T) (address, id string) {
	t.Helper()
	s := &stream{r: c.out}
	e, err := s.event()
	var init struct{ Address string }
	if err != nil || e.name != "init" || json.Unmarshal([]byte(e.data), &init) != nil {
		t.Fatalf("init: %+v, %v", e, err)
	}
	return init.Address, e.id
}

// TestCurlGetsEveryValue sends 10,000 random JSON values to a reader that is curl.
func TestCurlGetsEveryValue(t *testing.T) {
	const values = 10_000
	p := start(t, "serve", "--backlog", fmt.Sprint(values), "--backlog-bytes", fmt.Sprint(64<<20), "--open-rate=-1")
	c := startCurl(t, p, "")
	address, _ := c.open(t)

	r := rand.New(rand.NewPCG(7, 7))
	sent := make([]string, values)
	var lines bytes.Buffer
	for i := range sent {
		switch i {
		case 1000:
			sent[i] = strings.Repeat("[", 512) + strings.Repeat("]", 512)
		case 2000:
			sent[i] = `"` + strings.Repeat("é", (64<<10)/2-1) + `"`
		default:
			sent[i] = randomJSON(r, 0)
		}
		fmt.Fprintf(&lines, `{"to":"%s","body":%s}`+"\n", address, sent[i])
	}
	resp, err := http.Post(p.url+"/_gb/send", "application/x-ndjson", &lines)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answers, err := io.ReadAll(resp.Body)
	if err != nil || bytes.Count(answers, []byte(`{"status":202}`)) != values {
		t.Fatalf("%d of %d accepted, %v", bytes.Count(answers, []byte(`{"status":202}`)), values, err)
	}
	s := &stream{r: c.out}
	for i, want := range sent {
		e, err := s.event()
		if err != nil {
			t.Fatal(err)
		}
		if got := e.data; got != strings.ReplaceAll(want, "\r", " ") || !sameValue(got, want) {
			t.Fatalf("value %d: %.200q, want %.200q", i, got, want)
		}
	}
}

// randomJSON writes a value with every kind of escape and of white space but LF, which ends an NDJSON line.
func randomJSON(r *rand.Rand, depth int) string {
	space := func() string { return []string{"", "", "", " ", "\t", "\r", " \r "}[r.IntN(7)] }
	switch n := r.IntN(9); {
	case depth < 5 && n == 0:
		var b strings.Builder
		b.WriteString("[" + space())
		for i := range r.IntN(5) {
			if i > 0 {
				b.WriteString("," + space())
			}
			b.WriteString(randomJSON(r, depth+1) + space())
		}
		return b.String() + "]"
	case depth < 5 && n <= 2:
		var b strings.Builder
		b.WriteString("{" + space())
		for i := range r.IntN(5) {
			if i > 0 {
				b.WriteString("," + space())
			}
			b.WriteString(randomString(r) + space() + ":" + space() + randomJSON(r, depth+1))
		}
		return b.String() + "}"
	case n == 3:
		return []string{"null", "true", "false", "0", "-0", `""`}[r.IntN(6)]
	case n == 4:
		return fmt.Sprintf("%v", r.NormFloat64())
	case n == 5:
		return fmt.Sprintf("%d.%de%d", r.Int64()-1<<62, r.Uint32(), r.IntN(600)-300)
	}
	return randomString(r)
}

func randomString(r *rand.Rand) string {
	pieces := []string{
		`\"`, `\\`, `\/`, `\b`, `\f`, `\n`, `\r`, `\t`, `\u0000`, `\u001f`, `\u2028`, `\ud83d\ude00`, `\ud800`, `\udfff`, `\uFFFF`,
		"\u2028", "\u2029", "\u007f", "\u0085", "\ufeff", "é", "€", "😀", "data: x", "id: 1", "event: bye", ": ", "\u00a0",
	}
	var b strings.Builder
	b.WriteByte('"')
	for range r.IntN(12) {
		switch r.IntN(3) {
		case 0:
			b.WriteString(pieces[r.IntN(len(pieces))])
		case 1:
			b.WriteString(strings.Repeat("plain text ", r.IntN(8)))
		default:
			c := rune(r.IntN(utf8.MaxRune))
			if c < 0x20 || c == '"' || c == '\\' || !utf8.ValidRune(c) {
				c = 'x'
			}
			b.WriteRune(c)
		}
	}
	return b.String() + `"`
}

func sameValue(a, b string) bool {
	decode := func(s string) (v any) {
		d := json.NewDecoder(strings.NewReader(s))
		d.UseNumber()
		if d.Decode(&v) != nil {
			return fmt.Errorf("not JSON: %s", s)
		}
		return v
	}
	return reflect.DeepEqual(decode(a), decode(b))
}

// TestCurlResumes kills curl 100 times at random points under load; with the last id that it printed, every
// message arrives once and in order.
func TestCurlResumes(t *testing.T) {
	const kills, messages = 100, 20_000
	p := start(t, "serve")
	c := startCurl(t, p, "")
	address, lastID := c.open(t)

	done := make(chan error, 1)
	go func() { done <- sendAll(p, address, messages) }()
	r := rand.New(rand.NewPCG(3, 4))
	next, killed := 0, 0
	until := r.IntN(2 * messages / kills)
	for next < messages {
		s := &stream{r: c.out}
		e, err := s.event()
		switch {
		case err != nil: // killed: what was printed of an event without its end does not count
			c = startCurl(t, p, lastID)
			continue
		case e.name == "init":
			if !strings.Contains(e.data, `"gap":0`) {
				t.Fatalf("resumed with a gap: %s", e.data)
			}
			continue
		case e.data != fmt.Sprint(next):
			t.Fatalf("got %s, want %d, after %d kills", e.data, next, killed)
		}
		lastID = e.id
		next++
		if killed < kills && next >= until {
			c.Process.Kill() // what it printed before is still read
			killed++
			until = next + r.IntN(2*messages/kills)
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if killed < kills*3/4 {
		t.Errorf("only %d kills", killed)
	}
}

// sendAll sends the numbers up to n, one a request, and again what a full mailbox refuses.
func sendAll(p *program, address string, n int) error {
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for i := 0; i < n; {
		status, err := post(client, p.url, address, fmt.Sprint(i))
		switch {
		case err != nil:
			return err
		case status == http.StatusAccepted:
			i++
		case status != http.StatusTooManyRequests:
			return fmt.Errorf("message %d: status %d", i, status)
		}
	}
	return nil
}
