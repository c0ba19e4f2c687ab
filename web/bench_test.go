package web

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/genbrowser/genbrowser/mailbox"
	"github.com/genbrowser/genbrowser/server"
)

// connected opens a mailbox whose reader, on a real connection, takes whatever comes.
func (s *site) connected() opened {
	s.t.Helper()
	o := s.open()
	c := s.dial()
	c.SetDeadline(time.Time{})
	fmt.Fprintf(c, "GET /_gb/mailbox HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", o.Key)
	readHead(s.t, c)
	go io.Copy(io.Discard, c)
	return o
}

func benchSite(b *testing.B) *site {
	return serve(b, setup{server: server.Options{Limits: mailbox.Limits{Backlog: 100_000, BacklogBytes: 256 << 20}}})
}

// BenchmarkSend is a POST through ServeHTTP to a mailbox with a connected reader, its event written to the socket.
func BenchmarkSend(b *testing.B) {
	s := benchSite(b)
	o := s.connected()
	body := []byte(`{"type":"ping","from":"` + o.Address + `"}`)
	content := bytes.NewReader(body)
	r := httptest.NewRequest("POST", "/_gb/send/"+o.Address, nil)
	r.Header.Set("Content-Type", "application/json")
	r.ContentLength, r.Body = int64(len(body)), io.NopCloser(content)
	w := &discarding{header: make(http.Header)}
	b.ReportAllocs()
	for b.Loop() {
		content.Reset(body)
		clear(w.header)
		if s.gb.ServeHTTP(w, r); w.status != http.StatusAccepted {
			b.Fatal(w.status)
		}
	}
}

type discarding struct {
	header http.Header
	status int
}

func (d *discarding) Header() http.Header         { return d.header }
func (d *discarding) Write(b []byte) (int, error) { return len(b), nil }
func (d *discarding) WriteHeader(status int)      { d.status = status }
func (d *discarding) FlushError() error           { return nil }

// BenchmarkSendMany is lines through one request to a mailbox with a connected reader.
func BenchmarkSendMany(b *testing.B) {
	s := benchSite(b)
	o := s.connected()
	const lines = 1000
	body := strings.Repeat(`{"to":"`+o.Address+`","body":{"type":"ping"}}`+"\n", lines)
	w := &discarding{header: make(http.Header)}
	b.ReportAllocs()
	b.SetBytes(int64(len(body)) / lines)
	for n := 0; n < b.N; n += lines {
		r := httptest.NewRequest("POST", "/_gb/send", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-ndjson")
		s.gb.ServeHTTP(w, r)
	}
}

// BenchmarkPump is messages from a mailbox to a connected socket, without HTTP.
func BenchmarkPump(b *testing.B) {
	s := benchSite(b)
	o := s.connected()
	l := server.Letter{Body: []byte(`{"type":"ping"}`)}
	b.ReportAllocs()
	for b.Loop() {
		posted, err := s.office.Post(o.Address, &l)
		if err != nil {
			b.Fatal(err)
		}
		if r, _ := posted.Wait(); r != nil {
			r.Wake()
		}
	}
}

// BenchmarkPumpChunk is 32 messages that wait together, in one write to a connected socket.
func BenchmarkPumpChunk(b *testing.B) {
	s := benchSite(b)
	o := s.connected()
	l := server.Letter{Body: []byte(`{"p":"` + strings.Repeat("x", 192) + `"}`)}
	b.ReportAllocs()
	for b.Loop() {
		var reader server.Reader
		for range 32 {
			posted, err := s.office.Post(o.Address, &l)
			if err != nil {
				b.Fatal(err)
			}
			if r, _ := posted.Wait(); r != nil {
				reader = r
			}
		}
		reader.Wake()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*32), "ns/message")
}

// BenchmarkParseLine takes a line of many apart.
func BenchmarkParseLine(b *testing.B) {
	text := []byte(`{"to":"gba_AfoBD4-tW9nLRp-hZXCGdyiVDgEBD1Xls4V6dwkoh4FS4kyqDXY","body":{"p":"` + strings.Repeat("x", 192) + `"}}`)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	var l line
	for b.Loop() {
		if err := parseLine(&l, text, 512); err != nil {
			b.Fatal(err)
		}
	}
}
