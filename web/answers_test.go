package web_test

import (
	"bufio"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/genbrowser/genbrowser/client"
	"github.com/genbrowser/genbrowser/genbrowsertest"
)

// Answers that may be late come 20 ms later, or with one that may not, or when there are 32.
func TestLateAnswers(t *testing.T) {
	const by = 20 * time.Millisecond
	for name, test := range map[string]struct {
		lines string // l is late, s soon, r refused; a space is 5 ms
		took  []time.Duration
	}{
		"soon":               {"s", []time.Duration{0}},
		"late":               {"l", []time.Duration{by}},
		"from the first one": {"l l l", []time.Duration{by, by, by}},
		"with another":       {"ll s", []time.Duration{5 * time.Millisecond, 5 * time.Millisecond, 5 * time.Millisecond}},
		"with a refusal":     {"l r", []time.Duration{5 * time.Millisecond, 5 * time.Millisecond}},
		"again":              {"l     l", []time.Duration{by, 25*time.Millisecond + by}},
		"again, sooner":      {"l s l", []time.Duration{5 * time.Millisecond, 5 * time.Millisecond, 10*time.Millisecond + by}},
		"31":                 {strings.Repeat("l", 31), slices.Repeat([]time.Duration{by}, 31)},
		"32":                 {strings.Repeat("l", 32), slices.Repeat([]time.Duration{0}, 32)},
		"33":                 {strings.Repeat("l", 33), append(slices.Repeat([]time.Duration{0}, 32), by)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				node := genbrowsertest.Start(t, genbrowsertest.Options{})
				box, err := node.Client(client.Options{}).Open(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				body, upload := io.Pipe()
				defer upload.Close()
				began := time.Now()
				go func() {
					for _, c := range test.lines {
						text := map[rune]string{'l': `,"late":true`, 's': "", 'r': `,"late":true,"ttl":-1`}[c]
						if c == ' ' {
							<-time.After(5 * time.Millisecond)
						} else {
							io.WriteString(upload, `{"to":"`+box.Address().String()+`","body":1`+text+"}\n")
						}
					}
				}()
				req, err := http.NewRequest(http.MethodPost, genbrowsertest.Endpoint+"/_gb/send", body)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Content-Type", "application/x-ndjson")
				resp, err := node.HTTP().Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				lines := bufio.NewScanner(resp.Body)
				for i, want := range test.took {
					if !lines.Scan() {
						t.Fatalf("answer %d: %v", i, lines.Err())
					}
					if took := time.Since(began); took != want {
						t.Errorf("answer %d came after %v, want %v", i, took, want)
					}
				}
			})
		})
	}
}
