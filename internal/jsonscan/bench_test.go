package jsonscan

import (
	"strings"
	"testing"
)

// BenchmarkValid is a body of 200 bytes that is one long text, and one of many short values.
func BenchmarkValid(b *testing.B) {
	for _, c := range []struct{ name, body string }{
		{"text", `{"t":1732170000000000000,"p":"` + strings.Repeat("x", 168) + `"}`},
		{"values", `{"n":[` + strings.Repeat(`{"a":1,"b":null},`, 11) + `0]}`},
	} {
		body := []byte(c.body)
		b.Run(c.name+"/here", func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if Valid(body, 512) != nil {
					b.Fatal()
				}
			}
		})
		b.Run(c.name+"/encoding-json", func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if !reference(body) {
					b.Fatal()
				}
			}
		})
	}
}
