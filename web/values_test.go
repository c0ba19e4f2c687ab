package web

import (
	"bytes"
	"context"
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/r3labs/sse/v2"

	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/server"
)

// values writes random JSON as no encoder would: every escape, every kind of white space, every depth.
type values struct{ *rand.Rand }

func (v values) space(b *bytes.Buffer) {
	for v.IntN(4) == 0 {
		b.WriteByte(" \t\r\n"[v.IntN(4)])
	}
}

var hardTexts = []string{
	"data: x", "\\r\\n", "id: 1", ": comment", "event: bye", "\u2028", "\u2029", "\\u2028", "é", "\U0001F600", "\\ud83d\\ude00", "\\ud800",
	"\\udc00\\ud800", "\\u0000", "\\\"", "\\\\", "\\/", "\\b\\f\\n\\r\\t", "\x7f", "\u0085", "\ufeff", "\ufffd", "retry: 0", "--", "</script>",
}

func (v values) text(b *bytes.Buffer) {
	b.WriteByte('"')
	for range v.IntN(6) {
		if v.IntN(3) > 0 {
			b.WriteString(hardTexts[v.IntN(len(hardTexts))])
		} else if r := rune(0x20 + v.IntN(0xd7e0)); r != '"' && r != '\\' {
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
}

func (v values) value(b *bytes.Buffer, depth int) {
	v.space(b)
	defer v.space(b)
	kind := v.IntN(8)
	if depth <= 0 {
		kind %= 6
	}
	switch kind {
	case 0:
		b.WriteString([]string{"null", "true", "false", "0", "-0", `""`}[v.IntN(6)])
	case 1, 2:
		b.WriteString([]string{"1", "-12.5e+10", "1E400", "0.000", "123456789012345678901234567890", "1e-7"}[v.IntN(6)])
	case 3, 4, 5:
		v.text(b)
	case 6:
		b.WriteByte('[')
		for i := range v.IntN(5) {
			if i > 0 {
				b.WriteByte(',')
			}
			v.value(b, depth-1)
		}
		v.space(b)
		b.WriteByte(']')
	case 7:
		b.WriteByte('{')
		for i := range v.IntN(5) {
			if i > 0 {
				b.WriteByte(',')
			}
			v.space(b)
			v.text(b)
			v.space(b)
			b.WriteByte(':')
			v.value(b, depth-1)
		}
		v.space(b)
		b.WriteByte('}')
	}
}

func randomValues(n int) []string {
	v := values{rand.New(rand.NewPCG(7, 7))}
	all := []string{quoted(64 << 10), nested(512), "[" + strings.Repeat("\r\n1,", 16000) + "2]", strings.Repeat(" ", 65535) + "1", `"` + strings.Repeat("\u2028", 21844) + `"`}
	for len(all) < n {
		var b bytes.Buffer
		v.value(&b, 6)
		all = append(all, b.String())
	}
	return all
}

// arrived is how a body may arrive: as it is, line ends outside strings apart.
func arrived(t testing.TB, how string, i int, got, sent string) {
	t.Helper()
	want := strings.NewReplacer("\r", " ", "\n", " ").Replace(sent)
	if got != want {
		t.Errorf("%s, value %d: %.200q, want %.200q", how, i, got, want)
		return
	}
	var a, b any
	da, db := json.NewDecoder(strings.NewReader(got)), json.NewDecoder(strings.NewReader(sent))
	da.UseNumber()
	db.UseNumber()
	if da.Decode(&a) != nil || db.Decode(&b) != nil || !reflect.DeepEqual(a, b) {
		t.Errorf("%s, value %d: %.200q is another value than %.200q", how, i, got, sent)
	}
}

func TestEveryValueArrives(t *testing.T) {
	all := randomValues(10_000)
	roomy := server.Options{Limits: mailbox.Limits{Backlog: len(all), BacklogBytes: 64 << 20}}
	send := func(s *site, to string) {
		t.Helper()
		for i, v := range all {
			a, err := s.try("POST", "/_gb/send/"+to, v)
			if err != nil || a.status != 202 {
				t.Fatalf("value %d: %d %s %v: %.200q", i, a.status, a.body, err, v)
			}
		}
	}
	for _, kind := range []string{"http/1.1", "h2"} {
		t.Run(kind, func(t *testing.T) {
			s := serve(t, setup{kind: kind, server: roomy})
			e := s.stream("/_gb/mailbox?new")
			o := e.init()
			var sending sync.WaitGroup
			sending.Go(func() { send(s, o.Address) })
			for i, v := range all {
				arrived(t, kind, i, e.next().data, v)
			}
			sending.Wait()
		})
	}
	t.Run("long-poll and foreign client", func(t *testing.T) {
		s := serve(t, setup{server: roomy})
		o := s.open()
		send(s, o.Address)
		for at, i := o.Cursor, 0; i < len(all); {
			var p struct {
				Cursor   string
				Messages []struct{ Body json.RawMessage }
			}
			if err := json.Unmarshal([]byte(s.poll(o, "ack=manual&cursor="+at).body), &p); err != nil || len(p.Messages) == 0 {
				t.Fatalf("poll: %v, %d messages", err, len(p.Messages))
			}
			at = p.Cursor
			for _, m := range p.Messages {
				arrived(t, "long-poll", i, string(m.Body), strings.TrimSpace(all[i])) // within JSON, what stands around a value is not its own
				i++
			}
		}
		foreign(t, s, o, all)
	})
}

// foreign reads with a client that knows event streams and nothing of ours.
func foreign(t *testing.T, s *site, o opened, all []string) {
	reading, stop := context.WithTimeout(ctx, patience)
	defer stop()
	c := sse.NewClient(s.srv.URL+"/_gb/mailbox", sse.ClientMaxBufferSize(1<<20))
	c.Headers["Last-Event-ID"] = o.Key + "." + o.Cursor
	c.Connection = s.srv.Client()
	got, last := make(chan *sse.Event), make(chan error, 1)
	go func() {
		last <- c.SubscribeWithContext(reading, "", func(ev *sse.Event) {
			select {
			case got <- ev:
			case <-reading.Done():
			}
		})
	}()
	for i := -1; i < len(all); i++ {
		select {
		case ev := <-got:
			if i < 0 {
				if string(ev.Event) != "init" {
					t.Errorf("first event %s", ev.Event)
				}
				continue
			}
			if want := o.Key + "." + cursorOf(o, uint64(i+1)); string(ev.ID) != want {
				t.Errorf("id %s, want %s", ev.ID, want)
			}
			// that client trims what stands around the data
			arrived(t, "r3labs/sse", i, strings.TrimSpace(string(ev.Data)), strings.TrimSpace(all[i]))
		case <-time.After(patience):
			t.Fatal("the foreign client got nothing")
		}
	}
	if id, ok := c.LastEventID.Load().([]byte); !ok || string(id) != o.Key+"."+cursorOf(o, uint64(len(all))) {
		t.Errorf("the foreign client's last id is %s", id)
	}
	stop()
	<-last
}

// What JSON allows around and between values is kept, so that the same text is the same bytes for everybody.
func TestWhiteSpace(t *testing.T) {
	s := serve(t, setup{})
	e := s.stream("/_gb/mailbox?new")
	o := e.init()
	for body, want := range map[string]string{
		"{\r\n\t\"a\" :\n1 }": "{  \t\"a\" : 1 }",
		"\n1\r":               " 1 ",
		`"\r\n"`:              `"\r\n"`,
	} {
		s.mustSend(o.Address, body)
		line, err := e.br.ReadString('\n')
		for err == nil && !strings.HasPrefix(line, "data:") {
			line, err = e.br.ReadString('\n')
		}
		if err != nil || line != "data: "+want+"\n" {
			t.Errorf("%q: got %q, %v", body, line, err)
		}
	}
}
