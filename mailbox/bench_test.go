package mailbox

import (
	"fmt"
	"strings"
	"testing"
)

// payload is a body of 200 bytes.
var payload = []byte(`{"p":"` + strings.Repeat("x", 192) + `"}`)

// BenchmarkAppend shows that what waits does not matter.
func BenchmarkAppend(b *testing.B) {
	for _, waiting := range []int{0, 10, 1000, 100_000} {
		b.Run(fmt.Sprintf("waiting=%d", waiting), func(b *testing.B) {
			m := newMailbox(b, Limits{Backlog: waiting + 1, BacklogBytes: 1 << 30})
			for range waiting {
				m.Append(Message{Body: payload}, NameHash{}, start)
			}
			b.ReportAllocs()
			for b.Loop() {
				m.Append(Message{Body: payload}, NameHash{}, start)
				m.Ack(m.floor + 1)
			}
		})
	}
}

// BenchmarkAppendFull is a message to a mailbox that is full of delivered ones, of which the oldest makes room.
func BenchmarkAppendFull(b *testing.B) {
	m := newMailbox(b, Limits{})
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := m.Append(Message{Body: payload}, NameHash{}, start); err != nil {
			b.Fatal(err)
		}
		m.Delivered(m.last)
	}
}

// BenchmarkAfter reads the newest message, behind any number of older ones.
func BenchmarkAfter(b *testing.B) {
	for _, waiting := range []int{1, 1000, 100_000} {
		b.Run(fmt.Sprintf("waiting=%d", waiting), func(b *testing.B) {
			m := newMailbox(b, Limits{Backlog: waiting, BacklogBytes: 1 << 30})
			for range waiting {
				m.Append(Message{Body: payload}, NameHash{}, start)
			}
			b.ReportAllocs()
			for b.Loop() {
				n := 0
				for range m.After(m.last-1, start) {
					n++
				}
				if n != 1 {
					b.Fatal(n)
				}
			}
		})
	}
}

func BenchmarkCheckBody(b *testing.B) {
	l := Limits{}.WithDefaults()
	b.SetBytes(int64(len(payload)))
	b.ReportAllocs()
	for b.Loop() {
		if err := l.CheckBody(payload); err != nil {
			b.Fatal(err)
		}
	}
}
