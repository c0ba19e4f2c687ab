package web

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/server"
)

var update = flag.Bool("update", false, "write the answers into testdata/*.txtar as they are")

// TestConversations plays each testdata/*.txtar: requests, byte for byte, and what is answered. Its sections:
//
//	request     sent on a connection of its own; Host and Content-Length are added
//	stream      the same, and the connection is kept
//	answer      what came: all of it, or of a stream the head and the first event
//	events N    the next N events of the latest stream
//	end         the latest stream's last event, and that nothing follows
//	shutdown    shuts the server down
//
// ADDRESS1, KEY1, EPOCH1 and so on stand for the first, second … such text of the conversation. Lines
// "set: NAME VALUE" above the first section configure the server.
func TestConversations(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no testdata: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			c := &conversation{site: serve(t, configured(t, string(archive.Comment))), names: map[string]string{}, texts: map[string]string{}}
			c.handlers()
			for i := range archive.Files {
				f := &archive.Files[i]
				got := c.play(f.Name, string(f.Data))
				if *update {
					f.Data = []byte(got)
				} else if got != string(f.Data) {
					t.Errorf("section %d, %s:\n%s\nwant:\n%s", i+1, f.Name, got, f.Data)
				}
			}
			if *update {
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func configured(t *testing.T, comment string) setup {
	var s setup
	for line := range strings.Lines(comment) {
		set, ok := strings.CutPrefix(strings.TrimSpace(line), "set: ")
		if !ok {
			continue
		}
		name, value, _ := strings.Cut(set, " ")
		n, _ := strconv.Atoi(value)
		switch name {
		case "backlog":
			s.server.Limits.Backlog = n
		case "drop-oldest":
			s.server.Limits.Overflow = mailbox.DropOldest
		case "mailboxes":
			s.server.MaxMailboxes = n
		case "bytes":
			s.server.MaxBytes = int64(n)
		case "queue":
			s.server.Queue = n
		case "opens":
			s.web.OpenBurst, s.web.OpenRate = n, 0.01
		case "origin":
			s.web.AllowedOrigins = append(s.web.AllowedOrigins, value)
		case "names":
			s.web.Register = func(_ *http.Request, name string) bool { return strings.HasPrefix(name, value) }
		case "registered":
			s.server.MaxRegistered = n
		case "refuse":
			s.web.Open = func(*http.Request) (any, error) { return nil, errors.New(value) }
		default:
			t.Fatalf("set: %q", name)
		}
	}
	return s
}

type conversation struct {
	*site
	names  map[string]string // ADDRESS1 by its text
	texts  map[string]string // its text by ADDRESS1
	answer string
	stream *bufio.Reader
}

// handlers are processes that each conversation may talk to, as PROCESS, HANGING and GONE.
func (c *conversation) handlers() {
	c.t.Helper()
	over := make(chan struct{})
	c.t.Cleanup(func() { close(over) })
	for name, h := range map[string]server.Handler{
		"process": server.Typed(func(context.Context, order, server.Message) error { return nil }),
		"hanging": server.HandlerFunc(func(context.Context, server.Message) error { <-over; return nil }),
		"gone":    server.HandlerFunc(nil),
	} {
		a, err := c.office.Handle(name, h)
		if err != nil {
			c.t.Fatal(err)
		}
		c.names[a.String()], c.texts[strings.ToUpper(name)] = strings.ToUpper(name), a.String()
	}
	c.office.Release("gone")
}

// play plays one section and returns what it should have said.
func (c *conversation) play(section, data string) string {
	c.t.Helper()
	name, arg, _ := strings.Cut(section, " ")
	switch name {
	case "request":
		conn := c.request(data)
		all, err := io.ReadAll(conn)
		if err != nil {
			c.t.Fatal(err)
		}
		c.answer = c.normal(string(all))
	case "stream":
		conn := c.request(data)
		c.answer = c.normal(readHead(c.t, conn))
		c.stream = bufio.NewReader(conn)
		c.answer += c.events(1)
	case "answer":
		return c.answer
	case "events":
		n, err := strconv.Atoi(arg)
		if err != nil {
			c.t.Fatal(err)
		}
		return c.events(n)
	case "end":
		last := c.events(1)
		if rest, err := io.ReadAll(c.stream); err != nil || len(rest) > 0 {
			c.t.Errorf("behind the last event: %q, %v", rest, err)
		}
		return last
	case "shutdown":
		if err := c.gb.Shutdown(ctx); err != nil {
			c.t.Error(err)
		}
	default:
		c.t.Fatalf("section %q", section)
	}
	return data
}

var variable = regexp.MustCompile(`\b(ADDRESS|KEY|EPOCH)\d+\b|\b(PROCESS|HANGING|GONE)\b|\bBYTES\d+\b|\bDEEP\d+\b`)

func (c *conversation) request(data string) net.Conn {
	c.t.Helper()
	data = variable.ReplaceAllStringFunc(data, func(name string) string {
		if n, err := strconv.Atoi(strings.TrimPrefix(name, "BYTES")); err == nil {
			return quoted(n)
		}
		if n, err := strconv.Atoi(strings.TrimPrefix(name, "DEEP")); err == nil {
			return nested(n)
		}
		if c.texts[name] == "" {
			c.t.Fatalf("%s is not known yet", name)
		}
		return c.texts[name]
	})
	data = strings.ReplaceAll(data, `\xff`, "\xff")
	head, body, _ := strings.Cut(data, "\n\n")
	head = strings.TrimSuffix(head, "\n")
	body = strings.TrimSuffix(body, "\n")
	line, headers, _ := strings.Cut(head, "\n")
	request := line + "\nHost: gb.example\n"
	if headers != "" {
		request += headers + "\n"
	}
	if body != "" {
		request += fmt.Sprintf("Content-Length: %d\n", len(body))
	}
	conn := c.dial()
	io.WriteString(conn, strings.ReplaceAll(request+"Connection: close\n\n", "\n", "\r\n")+body)
	return conn
}

func (c *conversation) events(n int) string {
	c.t.Helper()
	if c.stream == nil {
		c.t.Fatal("there is no stream")
	}
	var all strings.Builder
	for range n {
		for line := ""; line != "\n"; {
			var err error
			if line, err = c.stream.ReadString('\n'); err != nil {
				c.t.Fatalf("the stream ended: %v after %q", err, all.String())
			}
			all.WriteString(line)
		}
	}
	return c.normal(all.String())
}

var (
	texts    = regexp.MustCompile(`gb[ak]_[A-Za-z0-9_-]{40,}|\b[0-9a-f]{8}(\.\d)`)
	dates    = regexp.MustCompile(`Date: .*\n`)
	retries  = regexp.MustCompile(`(retry: |"retry":)\d+`)
	tags     = regexp.MustCompile(`(Etag: ).*\n`)
	mentions = regexp.MustCompile(`(Content-Length: )\d{5,}`)
)

// normal puts names in place of what is another each time.
func (c *conversation) normal(text string) string {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	text = dates.ReplaceAllString(text, "")
	text = retries.ReplaceAllString(text, "${1}RETRY")
	text = tags.ReplaceAllString(text, "${1}TAG\n")
	if mentions.MatchString(text) { // a bundle
		head, _, _ := strings.Cut(text, "\n\n")
		text = mentions.ReplaceAllString(head, "${1}MANY") + "\n\nBUNDLE\n"
	}
	text = texts.ReplaceAllStringFunc(text, func(found string) string {
		kind, rest := "EPOCH", ""
		switch {
		case strings.HasPrefix(found, "gba_"):
			kind = "ADDRESS"
		case strings.HasPrefix(found, "gbk_"):
			kind = "KEY"
		default:
			found, rest = found[:8], found[8:]
		}
		name := c.names[found]
		for n := 1; name == ""; n++ {
			if candidate := kind + strconv.Itoa(n); c.texts[candidate] == "" {
				name = candidate
				c.names[found], c.texts[name] = name, found
			}
		}
		return name + rest
	})
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text
}
